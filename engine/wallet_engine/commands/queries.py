"""Questions to one wallet: answered from durable state, changing nothing that is money."""

from dataclasses import dataclass
from typing import ClassVar

from wallet_engine.texts import check_call_id, check_org_id

from .base import SECONDS_MAX, check_integer

HEARD_MS_MAX = 10**14
"""Past any time that a clock may show: the year 5138."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question to one wallet, answered from durable state only."""

    verb: ClassVar[str]
    org_id: str

    def __post_init__(self) -> None:
        check_org_id(self.org_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Query):
    """May this call go on?  `elapsed_ms` if the asker knows it, else the engine's clock."""

    verb: ClassVar[str] = "check"
    call_id: str
    elapsed_ms: int | None = None

    def __post_init__(self) -> None:
        check_org_id(self.org_id)
        check_call_id(self.call_id)
        if self.elapsed_ms is not None:
            check_integer("elapsed_seconds", self.elapsed_ms, 0, SECONDS_MAX * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Query):
    """What is in this wallet?"""

    verb: ClassVar[str] = "look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Query):
    """This org exists by now: whoever owns its wallet may remember otherwise."""

    verb: ClassVar[str] = "welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteStart(Query):
    """A call was heard to be in progress at `heard_ms`: its clock starts.

    Not money and not journaled: lost with the process, the clock falls back to admission.
    """

    verb: ClassVar[str] = "start"
    call_id: str
    heard_ms: int

    def __post_init__(self) -> None:
        check_org_id(self.org_id)
        check_call_id(self.call_id)
        check_integer("heard_ms", self.heard_ms, 0, HEARD_MS_MAX)
