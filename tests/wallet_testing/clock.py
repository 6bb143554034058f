"""Clocks of tests: one that moves when told to, one that follows a loop of virtual time."""

from .builders import T0_MS
from .virtual_time import START_US, VirtualLoop


class ManualClock:
    """Stands still until it is told to go on."""

    def __init__(self, now_ms: int = T0_MS) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, *, seconds: int = 0, ms: int = 0) -> None:
        self._now_ms += seconds * 1000 + ms


class LoopClock:
    """Tells the time of a virtual loop, to the millisecond: the tests begin at `T0_MS`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return T0_MS + (self._loop.now_us - START_US) // 1000

    @property
    def elapsed_s(self) -> float:
        """How long the test runs already."""
        return (self._loop.now_us - START_US) / 1_000_000
