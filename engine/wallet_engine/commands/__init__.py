"""What may be asked of one wallet: commands, which may change it, and queries, which do not.

A command that exists is well-formed: its fields were checked when it was made.  Money is
integer pence, durations are integer milliseconds or seconds as named.
"""

from typing import TypeGuard

from .base import (
    CLIENT_SPACE,
    REASON_MAX,
    SECONDS_MAX,
    CallCommand,
    Command,
    KeyedCommand,
)
from .calls import (
    Commit,
    Expire,
    Extend,
    Kill,
    Prolong,
    Proof,
    Release,
    Reserve,
)
from .money import (
    CALL_DEDUCTION,
    AssetType,
    ChangeSettings,
    Credit,
    CreditType,
    Deduct,
    Resume,
    SpendClass,
    Suspend,
)
from .queries import (
    Check,
    Look,
    NoteStart,
    Query,
    Welcome,
)

Ask = Command | Query
"""Whatever may be posted to a wallet."""


def gives_back(ask: Ask) -> TypeGuard[Release]:
    """Whether `ask` is the engine's own, for a hold whose caller was told no."""
    return isinstance(ask, Release) and ask.unheard is not None


__all__ = [
    "CALL_DEDUCTION",
    "CLIENT_SPACE",
    "REASON_MAX",
    "SECONDS_MAX",
    "Ask",
    "AssetType",
    "CallCommand",
    "ChangeSettings",
    "Check",
    "Command",
    "Commit",
    "Credit",
    "CreditType",
    "Deduct",
    "Expire",
    "Extend",
    "KeyedCommand",
    "Kill",
    "Look",
    "NoteStart",
    "Prolong",
    "Proof",
    "Query",
    "Release",
    "Reserve",
    "Resume",
    "SpendClass",
    "Suspend",
    "Welcome",
    "gives_back",
]
