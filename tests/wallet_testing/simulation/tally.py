"""What a simulation went through: faults by kind, and how often the nasty paths ran."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

SOMETIMES = (
    "fenced",
    "lost answer that had committed",
    "lost answer that had not",
    "late commit",
    "late statement turned away",
    "duplicate in flight",
    "refusal after probe found a success",
    "batch of many wallets",
    "poison isolated",
    "re-decided refusal",
    "hold given back",
    "adjustment",
    "call ended by the engine",
    "hold expired",
    "restart with live holds",
    "woken owner turned away",
)
"""What must have happened now and then over many seeds, else they prove little."""


@dataclass
class Tally:
    """Counts of one run, or of many: `+=` adds."""

    faults: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    work: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> Self:
        self.faults += other.faults
        self.sometimes += other.sometimes
        self.work += other.work
        return self
