"""Commands about one call: hold, extend, settle, free, end."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import PENCE_MAX
from wallet_engine.texts import check_key, check_text

from .base import (
    CLIENT_SPACE,
    REASON_MAX,
    SECONDS_MAX,
    CallCommand,
    check_integer,
    check_pence,
)


class Proof(IntEnum):
    """How good the evidence for a call's length is; only a better one may correct it."""

    ENDED = 1
    REPORT = 2
    RECONCILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve(CallCommand):
    """Open a hold for a call.

    `managed`: the engine extends the hold and ends the call itself.  `give_back`: a caller
    who stopped waiting was told no, so the hold must not stay.  `attempt` tells one asking from
    its repeats; 0: nobody will say that this one was not heard.
    """

    verb: ClassVar[str] = "reserve"
    estimated_minutes: int | None = None
    amount_pence: int | None = None
    managed: bool = False
    give_back: bool = False
    attempt: int = 0

    def __post_init__(self) -> None:
        CallCommand.__post_init__(self)
        if self.estimated_minutes is not None and self.amount_pence is not None:
            raise InvalidCommand("amount_pence", "give it or estimated_minutes, not both")
        if self.estimated_minutes is not None:
            check_integer("estimated_minutes", self.estimated_minutes, 1, 1440)
        if self.amount_pence is not None:
            check_pence(self.amount_pence)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"estimated_minutes": self.estimated_minutes, "amount_pence": self.amount_pence}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend(CallCommand):
    """Enlarge a live hold by `seconds` of talk or by `amount_pence`.

    `client_key` makes repeats harmless; without one each request enlarges the hold again.
    """

    verb: ClassVar[str] = "extend"
    seconds: int | None = None
    amount_pence: int | None = None
    client_key: str | None = None

    def __post_init__(self) -> None:
        CallCommand.__post_init__(self)
        if (self.seconds is None) == (self.amount_pence is None):
            raise InvalidCommand("seconds", "give either seconds or amount_pence")
        if self.seconds is not None:
            check_integer("seconds", self.seconds, 1, SECONDS_MAX)
        if self.amount_pence is not None:
            check_pence(self.amount_pence)
        if self.client_key is not None:
            check_key(self.client_key)

    @property
    def key(self) -> str:
        """The caller's key, or none yet: the rules derive `extend:{call}:{n}`."""
        return f"{CLIENT_SPACE}{self.client_key}" if self.client_key is not None else ""

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {
            "call_id": self.call_id,
            "seconds": self.seconds,
            "amount_pence": self.amount_pence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prolong(CallCommand):
    """The engine's own extension of a managed hold whose paid time runs out."""

    verb: ClassVar[str] = "prolong"
    strict: bool = False

    @property
    def key(self) -> str:
        """None yet: the rules derive `extend:{call}:{n}`."""
        return ""

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"call_id": self.call_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(CallCommand):
    """Charge what a call really cost: its length in `actual_ms`, or `amount_pence` outright."""

    verb: ClassVar[str] = "commit"
    actual_ms: int | None = None
    amount_pence: int | None = None
    proof: Proof = Proof.REPORT

    def __post_init__(self) -> None:
        CallCommand.__post_init__(self)
        if (self.actual_ms is None) == (self.amount_pence is None):
            raise InvalidCommand("actual_seconds", "give either actual_seconds or amount_pence")
        if self.actual_ms is not None:
            check_integer("actual_seconds", self.actual_ms, 0, SECONDS_MAX * 1000)
        if self.amount_pence is not None:
            check_integer("amount_pence", self.amount_pence, 0, PENCE_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"actual_ms": self.actual_ms, "amount_pence": self.amount_pence}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(CallCommand):
    """Free the hold of a call that never connected, or is known to cost nothing.

    `unheard`: the engine's own, for an attempt to reserve whose caller was told no.  It frees
    nothing if another attempt was told yes.  0: whoever asked here was told no.
    """

    verb: ClassVar[str] = "release"
    reason: str
    unheard: int | None = None

    def __post_init__(self) -> None:
        CallCommand.__post_init__(self)
        check_text("reason", self.reason, low=1, high=REASON_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(CallCommand):
    """Free the hold of a call that nobody has heard of for too long."""

    verb: ClassVar[str] = "expire"
    strict: bool = False

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(CallCommand):
    """Decide that a call must end now.  Without `client_key` the engine itself asks."""

    verb: ClassVar[str] = "kill"
    reason: str
    client_key: str | None = None

    def __post_init__(self) -> None:
        CallCommand.__post_init__(self)
        check_text("reason", self.reason, low=1, high=REASON_MAX)
        if self.client_key is not None:
            check_key(self.client_key)

    @property
    def key(self) -> str:
        """The caller's key, else `kill:{call}`."""
        if self.client_key is not None:
            return f"{CLIENT_SPACE}{self.client_key}"
        return f"{self.verb}:{self.call_id}"

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"call_id": self.call_id, "reason": self.reason}
