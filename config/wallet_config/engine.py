"""Settings of the engine: this node, the defaults of every wallet, and the bounds of everything."""

import re
import socket
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .group import Group

PENCE_MAX = 10**12
"""The most that a limit or a price may be, in pence.  Source: the specification, Words."""

Pence = Annotated[int, Field(ge=0, le=PENCE_MAX)]


def host_name() -> str:
    """Return the name of this machine, as far as a node's id may hold it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64] or "node"


class NodeSettings(Group):
    """Who this node is."""

    id: str = Field(
        default_factory=host_name,
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Name of this node in journal, logs and leases; unique in a cluster.",
    )


class DefaultsSettings(Group):
    """What a wallet inherits where its org sets nothing.  Source: the specification, Settings."""

    rate_pence_per_minute: int = Field(
        default=56, ge=0, le=1_000_000, description="Pence a minute of call; about $0.70."
    )
    first_increment_seconds: int = Field(
        default=60, ge=1, le=3600, description="Seconds billed at least: telecom style."
    )
    increment_seconds: int = Field(
        default=60, ge=1, le=3600, description="Seconds billed at a time after that."
    )
    hold_minutes: int = Field(
        default=5, ge=1, le=1440, description="Minutes of call set aside at admission."
    )
    min_call_balance_pence: Pence = Field(
        default=79, description="Pence that a new call needs; about $1.00."
    )
    debt_limit_pence: Pence = Field(
        default=500, description="Pence below zero that calls, and only calls, may reach."
    )
    hold_expiry_minutes: int = Field(
        default=30, ge=1, le=10_080, description="Minutes until a hold is taken for abandoned."
    )
    low_balance_pence: Pence = Field(
        default=500, description="Pence below which the org is alerted and should recharge."
    )
    asset_prices: dict[str, Pence] = Field(
        default={"phone_number": 1000, "toll_free_number": 1000},
        description="Pence of an asset by type, or by type and country as in phone_number:GB.",
    )
    max_call_seconds: int = Field(
        default=600, ge=10, le=43_200, description="Seconds of the longest call; Vapi's default."
    )
    cap_policy: Literal["affordable", "max_call"] = Field(
        default="affordable",
        description="What caps a call at Vapi: the money at its start, or max_call_seconds alone.",
    )
    max_concurrent_calls: int = Field(
        default=0, ge=0, le=1_000_000, description="Most live calls of one org; 0 is no limit."
    )
    prepaid_billing: bool = Field(default=True, description="Off: no call is admitted.")
    managed_telephony: bool = Field(default=True, description="Off: no number is bought.")
    on_unavailable: Literal["refuse", "allow"] = Field(
        default="refuse", description="What a caller gets when no decision is possible in time."
    )


class EngineSettings(Group):
    """The bounds of the engine: what is full is refused at once with 503."""

    mailbox_per_wallet: int = Field(
        default=1024, ge=1, le=1_000_000, description="Commands that may wait for one wallet."
    )
    undurable_per_wallet: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Entries of one wallet that may wait for the disk: seconds of a stalled one.",
    )
    undurable_per_node: int = Field(
        default=65_536,
        ge=1,
        le=10_000_000,
        description="Entries of all wallets that may wait for the disk: tens of megabytes.",
    )
    wallets_max: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Wallets in memory; the least recently used one without a call leaves first.",
    )
    remembered_keys_per_wallet: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="Keys kept in memory per wallet; an older one costs one look into the journal.",
    )
    activation_batch: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Wallets loaded by one statement; a longer one would block requested ones.",
    )
    tenure_ms: int = Field(
        default=1000,
        ge=0,
        le=60_000,
        description="Milliseconds a wallet stays with an owner: two nodes must not play ping-pong.",
    )
    sweep_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds between looks for deadlines of wallets that are not in memory.",
    )
    batch_wallets: int = Field(
        default=128, ge=1, le=10_000, description="Wallets in one commit; bounds its locks."
    )
    batch_entries: int = Field(
        default=512, ge=1, le=100_000, description="Entries in one commit; bounds its time."
    )
    batch_entries_per_wallet: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Entries of one wallet in one commit: a hot wallet must not starve others.",
    )

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.batch_entries_per_wallet > self.batch_entries:
            raise ValueError("batch_entries_per_wallet must not be above batch_entries")
        if self.undurable_per_wallet > self.undurable_per_node:
            raise ValueError("undurable_per_wallet must not be above undurable_per_node")
        if self.batch_entries > self.undurable_per_node:
            raise ValueError("batch_entries must not be above undurable_per_node")
        return self
