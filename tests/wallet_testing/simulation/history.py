"""What clients sent and heard, with the ticks at which they did: the oracle's evidence.

A tick counts changes of the durable truth.  `known_seq` is the last row of the org that anybody
had heard of when something was sent.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wallet_engine.commands import Ask
from wallet_engine.journal import Answer


class NoAnswer(Exception):
    """Nothing came back; what was asked may be done, or may still be."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One ask of the engine, and what came of it; `error` names what did not become an answer.

    `unwritten`: the error promised that nothing was written.  `stale`: whoever answered did
    not own the wallet any more.
    """

    client: str
    ask: Ask
    known_seq: int
    sent_tick: int
    done_tick: int = 0
    answer: Answer | None = None
    error: str = ""
    unwritten: bool = False
    stale: bool = False


@dataclass(slots=True, kw_only=True)
class Posted:
    """One message of Vapi, and what it was answered; `status` 0: nothing came back.

    `heard_s` is when it was; `ms` the duration that a report told, or the elapsed time of a
    status-check.
    """

    kind: str
    org_id: str
    call_id: str
    spoken: bool
    ms: int
    known_seq: int
    sent_tick: int
    done_tick: int = 0
    status: int = 0
    heard_s: float = 0.0
    stale: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def admitted(self) -> bool:
        """Whether an assistant-request was told yes."""
        return self.status == 200 and "assistantId" in self.body

    @property
    def told_no(self) -> bool:
        """Whether an assistant-request was told no, and heard it."""
        return self.status != 0 and not self.admitted


class History:
    """All that was sent, and the newest row that anybody heard of, by org."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.posted: list[Posted] = []
        self.known: defaultdict[str, int] = defaultdict(int)

    def heard(self, org_id: str, seq: int) -> None:
        """Note that somebody has heard of a row."""
        self.known[org_id] = max(self.known[org_id], seq)
