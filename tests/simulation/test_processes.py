"""Simulated processes: killed, stopped and woken as real ones are."""

import asyncio
import random
from collections.abc import Callable, Coroutine

from wallet_testing.simulation.processes import SimLoop, SimProcess


def on_a_loop(work: Callable[[SimLoop], Coroutine[None, None, None]], *, in_order: bool) -> None:
    """Run `work` on a loop of its own."""
    loop = SimLoop(random.Random(1), in_order=in_order)
    loop.set_exception_handler(lambda *_: None)  # the dead leave tasks behind
    loop.run_until_complete(work(loop))
    loop.close()


def test_what_is_killed_never_runs_again() -> None:
    """Not its timers, not its tasks, not even their `finally`."""
    ran: list[str] = []

    async def work() -> None:
        try:
            ran.append("begun")
            await asyncio.sleep(1.0)
            ran.append("went on")
        finally:
            ran.append("cleaned up")

    async def main(loop: SimLoop) -> None:
        process = SimProcess("p", loop)
        tasks = [process.spawn(work())]
        process.call_later(1.0, ran.append, "timer")
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(5.0)

        assert ran == ["begun"]
        assert not tasks[0].done()
        tasks[0].get_coro().close()

    on_a_loop(main, in_order=False)


def test_what_is_stopped_goes_on_when_it_is_woken() -> None:
    """Time has passed meanwhile, and everything that fell due runs then."""
    ran: list[float] = []

    async def main(loop: SimLoop) -> None:
        async def work() -> None:
            await asyncio.sleep(1.0)
            ran.append(loop.time())

        process = SimProcess("p", loop)
        began_s = loop.time()
        task = process.spawn(work())
        await asyncio.sleep(0.5)
        process.stop()
        await asyncio.sleep(9.5)
        assert ran == []
        process.wake()
        await task

        assert ran == [began_s + 10.0]

    on_a_loop(main, in_order=False)


def test_children_belong_to_the_process_of_their_parent() -> None:
    """A task made by a task dies with it."""
    ran: list[str] = []

    async def child() -> None:
        await asyncio.sleep(1.0)
        ran.append("child")

    async def main(loop: SimLoop) -> None:
        kept: list[asyncio.Task[None]] = []

        async def parent() -> None:
            kept.append(asyncio.create_task(child()))

        process = SimProcess("p", loop)
        await process.spawn(parent())
        process.kill()
        await asyncio.sleep(5.0)

        assert ran == []
        kept[0].get_coro().close()

    on_a_loop(main, in_order=False)


def orders(*, in_order: bool) -> set[tuple[int, ...]]:
    """Return the orders in which four callbacks run, over many loops."""
    found = set()
    for seed in range(50):
        ran: list[int] = []
        loop = SimLoop(random.Random(seed), in_order=in_order)
        for number in range(4):
            loop.call_soon(ran.append, number)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        found.add(tuple(ran))
    return found


def test_the_seed_chooses_among_what_is_ready() -> None:
    """Any order may come, or only the usual one."""
    assert len(orders(in_order=False)) > 10
    assert orders(in_order=True) == {(0, 1, 2, 3)}
