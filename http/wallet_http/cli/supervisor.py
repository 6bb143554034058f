"""Several nodes as children of one process: started, listened to, started again, ended in order.

A child says by a pipe that it takes requests.  What it prints is passed on in whole lines.  It
dies with its parent, but in order: a parent that was killed leaves no node behind, and no wallet
half written.
"""

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from wallet_http.running import SIGNALS, ended
from wallet_persistence.embedded import launch

from .local import CommandError

PROGRAM = (sys.executable, "-m", "wallet_http", "serve")

WAIT_S, WAIT_S_MAX = 0.5, 30.0
"""How long to wait before a child that died is started again; doubled each time, up to this."""

WELL_S = 60.0
"""Whoever has lived so long had a bad moment, and not a fault that comes back at once."""

CHUNK_BYTES = 65_536
LINE_BYTES_MAX = 1_048_576
"""A line that is longer is passed on in pieces."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One node: its name, what is special about its settings, and how it is started."""

    name: str
    variables: Mapping[str, str]
    arguments: Sequence[str] = ()


class Supervisor:
    """Keeps nodes alive until it is told to stop."""

    def __init__(
        self, plans: Sequence[Plan], *, write: Callable[[str], None], named: bool, stop_s: float
    ) -> None:
        """Prepare it.

        Args:
            plans: the nodes, in the order in which they are started and ended.
            write: takes what they print, in whole lines.
            named: whether each line begins with the name of its node.
            stop_s: how long a node may take to end in order; then it is killed.
        """
        self._write = write
        self._named = named
        self._stop_s = stop_s
        self._width = max(len(plan.name) for plan in plans)
        self._children = [_Child(plan) for plan in plans]
        self._stop = asyncio.Event()
        self._has_worked = False
        self._failed = ""

    @property
    def pids(self) -> Mapping[str, int]:
        """The process of each node that runs."""
        return {
            child.plan.name: child.process.pid
            for child in self._children
            if child.process is not None
        }

    async def run(self, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run the nodes until SIGTERM or SIGINT; `ready` is awaited once all take requests.

        A second signal ends this process at once, and the nodes in order.

        Raises:
            CommandError: a node ended before any of them worked; nothing is left running.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        keeping = [
            asyncio.create_task(self._keep(child), name=child.plan.name) for child in self._children
        ]
        announcing = asyncio.create_task(self._announce(ready), name="announce")
        try:
            await self._stop.wait()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            await ended(announcing)
            await self._end_all(keeping)
        if self._failed:
            raise CommandError(self._failed)

    async def _announce(self, ready: Callable[[], Awaitable[None]] | None) -> None:
        for child in self._children:
            await child.ready.wait()
        log.info("All %d nodes take requests", len(self._children))
        if ready is not None:
            await ready()

    async def _keep(self, child: "_Child") -> None:
        """Have one node run, again and again."""
        loop = asyncio.get_running_loop()
        wait_s = WAIT_S
        while not self._stop.is_set():
            began_s = loop.time()
            code = await self._run_once(child)
            if self._stop.is_set():
                return
            if not self._has_worked:
                self._failed = f"{child.plan.name} {_told(code)} before it took requests, see above"
                self._stop.set()
                return
            if loop.time() - began_s >= WELL_S:
                wait_s = WAIT_S
            log.warning(
                "%s %s; it is started again in %.1f s", child.plan.name, _told(code), wait_s
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stop.wait()
            wait_s = min(2 * wait_s, WAIT_S_MAX)

    async def _run_once(self, child: "_Child") -> int:
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        loop.add_reader(reading, self._heard, child, reading)
        try:
            try:
                process = child.process = await _launched(child.plan, writing)
            finally:
                os.close(writing)
            log.info("%s is started, pid %d", child.plan.name, process.pid)
            if self._stop.is_set():  # meanwhile
                process.terminate()
            await self._pass_on(child.plan.name, process)
            return await process.wait()
        finally:
            loop.remove_reader(reading)
            os.close(reading)
            child.process = None

    def _heard(self, child: "_Child", reading: int) -> None:
        """A node says that it takes requests, or has ended."""
        asyncio.get_running_loop().remove_reader(reading)
        if os.read(reading, 1):
            self._has_worked = True
            child.ready.set()

    async def _pass_on(self, name: str, process: Process) -> None:
        """Write what a node prints, until it ends."""
        assert process.stdout is not None
        head = f"{name:<{self._width}} | " if self._named else ""
        rest = b""
        while chunk := await process.stdout.read(CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            if lines:
                told = (f"{head}{line.decode(errors='replace')}\n" for line in lines)
                self._write("".join(told))
        if rest:
            self._write(f"{head}{rest.decode(errors='replace')}\n")

    async def _end_all(self, keeping: Sequence["asyncio.Task[None]"]) -> None:
        """End one node after the other: the next ones take over what it had."""
        for child, task in zip(self._children, keeping, strict=True):
            if (process := child.process) is not None:
                with suppress(ProcessLookupError):
                    process.terminate()
                try:
                    async with asyncio.timeout(self._stop_s):
                        await process.wait()
                except TimeoutError:
                    log.error("%s does not end, and is killed", child.plan.name)  # noqa: TRY400
                    process.kill()
            await asyncio.gather(task, return_exceptions=True)


class _Child:
    """A node, and the process that is it at the moment."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.process: Process | None = None
        self.ready = asyncio.Event()


async def _launched(plan: Plan, ready_fd: int) -> Process:
    tied = (str(os.getpid()), str(int(signal.SIGTERM)), "-1", "-1")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", launch.__file__, *tied),
        *(*PROGRAM, "--ready-fd", str(ready_fd), *plan.arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, **plan.variables},
        pass_fds=(ready_fd,),
        start_new_session=True,  # Ctrl-C is for this process, which then ends the nodes
    )


def _told(code: int) -> str:
    """Say how a process ended."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
