"""How a program runs: its event loop and logs, its signals, its clock, its memory."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import uvloop

from wallet_engine.backoff import Backoff
from wallet_engine.clock import SystemClock
from wallet_engine.errors import LedgerBusy, LedgerError, LedgerUnavailable, OutcomeUnknown
from wallet_engine.ports import Ledger

from .logs import DecisionLog, LineSink, configure_logs

CLOCK_S = 30.0
"""How often the clock is compared with the ledger's: crystals drift a millisecond a minute."""

GC_THRESHOLDS = (50_000, 20, 100)
"""Requests leave no cycles behind, so looking for them seldom is enough."""

AWAY = (LedgerBusy, LedgerUnavailable, OutcomeUnknown)
"""What says that the database is away, and not that something is wrong with it."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Runnable(Protocol):
    """What can be started and stopped, in order."""

    @property
    def port(self) -> int:
        """Where requests are taken."""

    async def start(self) -> None:
        """Start; what fails leaves nothing running."""

    async def stop(self) -> None:
        """End in order."""


def run(
    work: Callable[[DecisionLog], Coroutine[None, None, None]],
    *,
    form: Literal["json", "text"],
    level: str,
) -> None:
    """Run `work` on a fast event loop, with logs on the standard output."""
    with logs(form=form, level=level) as (_, decisions):
        run_fast(work(decisions))


@contextmanager
def logs(
    *, form: Literal["json", "text"], level: str
) -> Iterator[tuple[Callable[[str], None], DecisionLog]]:
    """Have logs on the standard output; give what writes lines between theirs, and decisions."""
    sink = LineSink(sys.stdout.fileno())
    try:
        yield sink.write, configure_logs(sink, form=form, level=level)
    finally:
        sink.close()


def run_fast(work: Coroutine[None, None, None]) -> None:
    """Run `work` on a fast event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def serve(program: Runnable, *, ready: Callable[[], Awaitable[None]] | None = None) -> None:
    """Run a program until SIGTERM or SIGINT; `ready` is awaited once it takes requests.

    A signal before that ends it too.  A second signal ends the process at once.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        if not await _started(program, stop):
            return
        try:
            log.info("The node takes requests on port %d", program.port)
            if ready is not None:
                await ready()
            await stop.wait()
            log.info("The node stops")
        finally:
            _restore_signals()
            await program.stop()
    finally:
        _restore_signals()


async def _started(program: Runnable, stop: asyncio.Event) -> bool:
    """Start the program, unless it is told to stop before: its database may be away for long."""
    starting = asyncio.create_task(program.start(), name="wallet-start")
    stopping = asyncio.create_task(stop.wait(), name="wallet-stop")
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        log.info("The node stops before it has started")
        _restore_signals()
        await ended(starting)
        return False
    stopping.cancel()
    await starting
    return True


async def patiently(
    work: Callable[[], Awaitable[None]], undo: Callable[[], Awaitable[None]], patience_s: float
) -> None:
    """Do `work`, again and again for so long while the database is away; failed, `undo` it."""
    loop, backoff = asyncio.get_running_loop(), Backoff()
    until_s = loop.time() + patience_s
    while True:
        try:
            await work()
        except BaseException as error:
            await undo()
            if not isinstance(error, AWAY) or loop.time() >= until_s:
                raise
            log.warning("The node waits for its database: %s", error)
        else:
            return
        await asyncio.sleep(backoff.wait_s())


def _restore_signals() -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.remove_signal_handler(number)


def settle_memory() -> None:
    """Keep what lives as long as the program out of the way of the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def follow_once(clock: SystemClock, ledger: Ledger) -> None:
    """Set the clock by the ledger's, half a round trip ago."""
    before_ns = time.monotonic_ns()
    ledger_ms = await ledger.now_ms()
    clock.follow(ledger_ms + (time.monotonic_ns() - before_ns) // 2_000_000)


async def follow(clock: SystemClock, ledger: Ledger) -> None:
    """Keep the clock with the ledger's, for ever."""
    while True:
        await asyncio.sleep(CLOCK_S)
        try:
            await follow_once(clock, ledger)
        except LedgerError as error:
            log.warning("the ledger's clock cannot be read: %s", error)


async def ended(task: "asyncio.Task[None]") -> None:
    """End a task that runs for ever."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
