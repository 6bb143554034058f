"""What becomes of each statement, by the seed: how long it takes, and whether it goes wrong."""

import random
from typing import NamedTuple

from .faults import STATEMENT, Fault
from .plan import Plan
from .tally import Tally

NEVER_S = float("inf")
LONG_AFTER_S = 1000.0
"""An answer that is sent so late is not heard."""


class Fate(NamedTuple):
    """What becomes of one statement: its fault, and four stretches of time in seconds.

    On its way there, at work while it holds its locks, the answer's way back; and after
    `resets_s` from the beginning the connection breaks.
    """

    fault: Fault | None
    arrives_s: float
    works_s: float
    answers_s: float
    resets_s: float


class Weather:
    """Draws fates.  When the storm is `over`, nothing goes wrong any more."""

    def __init__(self, plan: Plan, rng: random.Random, tally: Tally) -> None:
        self._rng = rng
        self._tally = tally
        self._faults = list(plan.statement_faults.items())
        self._base_s = rng.choice((0.0002, 0.001, 0.005))
        self._lag_s = 0.0 if plan.calm else rng.choice((0.0, min(0.3, plan.vapi_deadline_s / 2)))
        self.over = False
        self.busy = False
        self.poisoned_probes: set[str] = set()

    def fate_of(self, role: str, *, writes: bool) -> Fate:
        """Draw what becomes of a statement."""
        rng = self._rng
        arrives, works, answers = (self._base_s * rng.uniform(0.1, 1.0) for _ in range(3))
        if role == "probes":
            answers += self._lag_s * rng.random()
        fault = None if self.over else self._drawn(writes=writes)
        if self.busy and writes:
            fault = Fault.REFUSED
        if fault is None:
            return Fate(None, arrives, works, answers, NEVER_S)
        resets = rng.uniform(0.005, 0.3)
        match fault:
            case Fault.SLOW:
                arrives, works, answers = (rng.uniform(0.01, 0.4) for _ in range(3))
                resets = NEVER_S
            case Fault.LOST_REQUEST:
                resets = rng.choice((resets, NEVER_S))
            case Fault.LOST_ANSWER:
                resets = rng.choice((arrives + 2 * works + resets / 10, NEVER_S))
                answers = LONG_AFTER_S
            case Fault.LATE_COMMIT:
                works = resets + rng.uniform(0.0, 1.5)
            case Fault.LATE_ARRIVAL:
                arrives = resets + rng.uniform(0.0, 1.5)
            case _:
                pass
        if role == "claims" and fault is Fault.ERROR:
            fault = Fault.REFUSED
        return Fate(fault, arrives, works, answers, resets)

    def _drawn(self, *, writes: bool) -> Fault | None:
        luck = self._rng.random()
        for fault, share in self._faults:
            luck -= share
            if luck < 0:
                if not writes and fault not in READS:
                    return None
                self._tally.faults[fault.value] += 1
                return fault
        return None


READS = frozenset(STATEMENT) - {Fault.HUNG, Fault.LATE_COMMIT, Fault.ERROR}
"""What may become of a statement that only reads."""
