"""An event loop whose time jumps: whoever sleeps wakes at once, in the right order.

    @in_virtual_time
    async def test_…() -> None: …

What the test awaits costs no real time, so it is quick and always runs the same way.  There
is nothing outside this loop: no sockets, no threads, no signals.
"""

import asyncio
import functools
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

START_US = 1_000_000_000
"""Loop time at the start, in microseconds: not 0, which is easily taken for nothing."""

LONGEST_US = 6 * 3_600_000_000
"""A test that runs for longer than this, virtually, waits for what never comes."""


TURNS_MAX = 300_000
"""A loop that turns this often while no time passes goes round in circles: some seconds."""


class _JumpingSelector:
    """Instead of waiting it lets the time pass.

    What it complains of it forgets, so that the loop can still be closed.
    """

    def __init__(self) -> None:
        self.now_us = START_US
        self._latest_us = START_US + LONGEST_US
        self._turns = 0

    def select(self, timeout: float | None) -> tuple[()]:
        """Wait for `timeout` seconds, None for ever, in no time; nothing ever happens meanwhile."""
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > TURNS_MAX:
                self._turns = 0
                raise AssertionError("the loop turns and turns, and no time passes")
            return ()
        self._turns = 0
        if timeout is None:
            raise AssertionError("everything waits for something that never comes")
        self.now_us += max(1, math.ceil(timeout * 1_000_000))
        if self.now_us > self._latest_us:
            self._latest_us += LONGEST_US
            raise AssertionError("the test waits for something that never comes")
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self._jumping = _JumpingSelector()
        self._clock_resolution = 1e-9  # a timer is due at its time, and not a moment before

    @property
    def now_us(self) -> int:
        """The time of this loop, in whole microseconds."""
        return self._jumping.now_us

    def time(self) -> float:
        return self._jumping.now_us / 1_000_000

    def _process_events(self, event_list: tuple[()]) -> None:
        """Handle what the selector saw, which is nothing."""

    def _write_to_self(self) -> None:
        """Wake the selector, which never sleeps."""


def virtual_loop() -> VirtualLoop:
    """Return the running loop, which must be a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "decorate the test with in_virtual_time"
    return loop


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a virtual loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        luck = random.getstate()
        random.seed(0)  # waits have jitter: let it be the same one every time
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(test(*args, **kwargs))
        finally:
            random.setstate(luck)

    return run
