"""What waits in a wallet: envelopes before their decision, held answers after it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from .commands import Ask, Query, Reserve, gives_back
from .journal import Answer, Outcome, Refusal, Replay, entry_answer, refusal_answer
from .ports import Found, Probe
from .wallet import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Due(Query):
    """The engine's own question: what does this hold need now?"""

    verb = "due"
    call_id: str


def _looked_up(ask: Ask) -> str:
    """Return the key that must be known before `ask` is decided.

    Of a hold that is to be given back, who opened it; it is live, so nobody has released it yet.
    """
    if isinstance(ask, Query):
        return ""
    if gives_back(ask):
        return f"{Reserve.verb}:{ask.call_id}"
    return ask.key


Decided = Entry | Replay | Refusal | Answer
"""What a held answer rests on: a decision, or a read that is already an answer."""


class Envelope:
    """One ask on its way: who waits for it, until when, and what was looked up for it.

    `reply` is None for what the engine asks of itself; `then` hears the outcome instead.
    A caller who gives up only sets `reply`; what was decided stays decided.
    """

    __slots__ = (
        "ask", "call_id", "deadline_s", "epoch_at_probe",
        "found", "key", "posted_s", "reply", "then",
    )  # fmt: skip

    def __init__(
        self,
        ask: Ask,
        *,
        posted_s: float,
        deadline_s: float,
        reply: asyncio.Future[Answer] | None,
        then: Callable[[Decided], None] | None = None,
    ) -> None:
        self.ask = ask
        self.key = _looked_up(ask)
        self.call_id: str = getattr(ask, "call_id", "")
        self.posted_s = posted_s
        self.deadline_s = deadline_s
        self.reply = reply
        self.then = then
        self.found: Found | None = None
        self.epoch_at_probe = 0

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the reply any more."""
        return self.reply is not None and self.reply.done()

    def fail(self, error: Exception) -> None:
        """Tell the caller what went wrong, if one still waits."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)

    def probe(self) -> Probe:
        """Return what must be looked up before this can be decided."""
        return Probe(self.ask.org_id, self.key, self.call_id, self.epoch_at_probe)


@dataclass(slots=True)
class Held:
    """A decision whose answer waits until journal row `seq`, the last it saw, is durable."""

    envelope: Envelope
    decided: Decided
    seq: int

    def answer(self) -> Answer:
        """Return what the asker hears."""
        match self.decided:
            case Entry() as entry:
                return entry_answer(entry, outcome=Outcome.CREATED)
            case Replay(entry):
                return entry_answer(entry, outcome=Outcome.REPEATED)
            case Refusal() as refusal:
                return refusal_answer(refusal)
            case answer:
                return answer


class Phase(IntEnum):
    """Where an actor is in its life."""

    LOADING = 0
    ACTIVE = 1
    SUSPECT = 2
    LEAVING = 3
    GONE = 4
