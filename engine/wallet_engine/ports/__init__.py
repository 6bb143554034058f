"""What the engine needs from outside, in its own words.  Adapters live in other packages."""

from .cluster import Leases, LeaseView, Peers, Unheard
from .ledger import (
    Claim,
    DueHold,
    Found,
    Ledger,
    Loaded,
    Probe,
    Taken,
    WalletBatch,
)
from .signals import (
    CallControl,
    Clock,
    Effects,
    Stats,
)
from .stores import (
    Assistant,
    CallFacts,
    Delivery,
    DirectoryStore,
    FleetStore,
    FleetSwitch,
    History,
    HistoryQuery,
    Org,
    PhoneNumber,
    Recorder,
    UnsettledCall,
)

__all__ = [
    "Assistant",
    "CallControl",
    "CallFacts",
    "Claim",
    "Clock",
    "Delivery",
    "DirectoryStore",
    "DueHold",
    "Effects",
    "FleetStore",
    "FleetSwitch",
    "Found",
    "History",
    "HistoryQuery",
    "LeaseView",
    "Leases",
    "Ledger",
    "Loaded",
    "Org",
    "Peers",
    "PhoneNumber",
    "Probe",
    "Recorder",
    "Stats",
    "Taken",
    "Unheard",
    "UnsettledCall",
    "WalletBatch",
]
