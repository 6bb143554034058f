"""Simulated processes on one virtual loop: a seed chooses who runs next, and who is stopped.

Every callback belongs to the process in whose context it was scheduled, tasks and timers
included.  So a process is killed as by `kill -9`: nothing of it ever runs again, no `finally`,
no `except`.  And it is stopped as by SIGSTOP: all that would run waits until it is woken.
"""

import asyncio
import random
from asyncio import Handle
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from wallet_testing.virtual_time import VirtualLoop

T = TypeVar("T")

_PROCESS: ContextVar["SimProcess"] = ContextVar("_PROCESS")


class SimProcess:
    """Something that can be killed and stopped, with all that it ever scheduled."""

    def __init__(self, name: str, loop: "SimLoop") -> None:
        self.name = name
        self.alive = True
        self.stopped: list[Handle] | None = None
        self._loop = loop
        self._context: Context = copy_context()
        self._context.run(_PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` in this process."""
        return self._loop.create_task(work, context=self._context.copy())

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Have this process do something after a while, if it lives by then."""
        self._loop.call_later(delay_s, callback, *args, context=self._context)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.alive = False
        self.stopped = None

    def stop(self) -> None:
        """Let nothing of it run until it is woken."""
        if self.alive and self.stopped is None:
            self.stopped = []

    def wake(self) -> None:
        """Let all that waited run, in whatever order."""
        waiting, self.stopped = self.stopped, None
        if waiting:
            self._loop.ready.extend(waiting)

    @property
    def running(self) -> bool:
        """Whether it is alive and not stopped."""
        return self.alive and self.stopped is None


class _Ready(list[Handle]):
    """What is ready to run, of which the loop is handed one by one."""

    def __init__(self, rng: random.Random, nothing: Handle, *, in_order: bool) -> None:
        self._random = rng.random
        self._nothing = nothing
        self._in_order = in_order

    def popleft(self) -> Handle:
        """Return the next handle to run: any one, or, with `in_order`, the oldest."""
        if self._in_order:
            handle = self.pop(0)
        else:
            at = int(self._random() * len(self))
            handle = self[at]
            last = self.pop()
            if last is not handle:
                self[at] = last
        process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]  # has no getter
        if process is None or process.running:
            return handle
        if process.stopped is not None:
            process.stopped.append(handle)
        return self._nothing


class SimLoop(VirtualLoop):
    """A virtual loop on which `rng` chooses among all that is ready.

    With `in_order` it runs what is ready in the order of asyncio: no order that a real loop
    would not have, but far fewer of them.
    """

    def __init__(self, rng: random.Random, *, in_order: bool) -> None:
        super().__init__()
        nothing = Handle(lambda: None, (), self)
        nothing.cancel()
        self.ready = self._ready = _Ready(rng, nothing, in_order=in_order)
