"""One simulation from its seed to the oracle's word: a storm, then calm, then the books."""

import asyncio
import gc
import logging
import random
from collections.abc import Coroutine, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from wallet_testing import builders

from .backends import Backend
from .oracle import books
from .plan import plan_of
from .processes import SimLoop
from .spies import spying
from .storm import Storm
from .tally import Tally
from .universe import Universe

HEAL_S = 60.0
"""After the storm everyone must have an answer within this time."""

QUIET_S = 15.0
"""How long after that a hold of a caller who was told no may take to be given back."""

TIMERS_S = 5.0
"""How long a timer may outlive its call: it is dropped when it fires next, or with its wallet."""

DRAIN_S = 3600.0
"""In the end every call is over or expired within this time: some holds are extended far ahead."""


@dataclass
class Report:
    """What came of one seed: whatever is wrong, what it went through, and if wanted, the trace."""

    seed: int
    wrong: list[str]
    tally: Tally
    virtual_s: float = 0.0
    trace: list[str] = field(default_factory=list)


def simulate(seed: int, *, traced: bool = False) -> Report:
    """Run the simulation of `seed`.  The same seed always goes the same way."""
    plan = plan_of(seed)
    luck = random.getstate()
    random.seed(seed)  # the engine's waits have jitter
    loop = SimLoop(random.Random(f"loop {seed}"), in_order=plan.in_order)
    universe = Universe(plan, loop, traced=traced)
    complaints = _Complaints(universe)
    loop.set_exception_handler(complaints.of_loop)
    garbage_was_collected = gc.isenabled()
    gc.disable()  # so that what is thrown away is finalised when it is, and always then
    try:
        with complaints.listening(), spying(universe.tally):
            loop.run_until_complete(_run(universe))
    except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to this seed
        universe.wrong.append(f"the simulation came to a stop: {error!r}")
    finally:
        _bury(loop)
        loop.close()
        random.setstate(luck)
        if garbage_was_collected:
            gc.enable()
    virtual_s = (loop.now_us - 1_000_000_000) / 1e6
    return Report(seed, universe.wrong, universe.tally, virtual_s, universe.trace)


def _bury(loop: SimLoop) -> None:
    """End what the dead left behind, while their loop is still there: it is nobody's any more."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # as `gather` does
        with suppress(BaseException):
            coroutine = task.get_coro()
            assert isinstance(coroutine, Coroutine)
            coroutine.close()


async def _run(universe: Universe) -> None:
    plan = universe.plan
    for place in range(1, plan.nodes + 1):
        await universe.start_node(place)
    backends = [Backend(f"backend-{number}", universe) for number in range(plan.backends)]
    if plan.opening_pence:
        for org_id in plan.orgs:
            opening = builders.credit(plan.opening_pence, key="opening", org_id=org_id)
            await backends[0].insist(opening)
    rng = random.Random(f"calls {plan.seed}")
    work = [backend.work(plan.asks_per_backend) for backend in backends]
    work.append(Backend("customer", universe).watch())
    for number in range(plan.calls):
        org_id = rng.choice(plan.orgs)
        begins_in_s = rng.uniform(0.0, plan.storm_s)
        work.append(universe.phones.call(org_id, f"phone-{number}", begins_in_s))
    tasks = [universe.loop.create_task(one) for one in work]
    await Storm(universe).rage()
    await _calm(universe)
    await _answered(universe, tasks)
    await _timed(universe)
    await _drained(universe)
    await asyncio.sleep(TIMERS_S)
    _left_timers(universe)
    await _healthy(universe, backends[0])
    if not universe.wrong:
        universe.wrong += books(universe)


async def _calm(universe: Universe) -> None:
    """The storm is over: nothing goes wrong from here on."""
    universe.say("the storm is over")
    universe.weather.over = True
    universe.weather.poisoned_probes.clear()
    universe.server.poison.clear()


async def _answered(universe: Universe, tasks: list["asyncio.Task[None]"]) -> None:
    """Wait for all clients: the longest call, and then some."""
    longest_s = universe.plan.settings.max_call_seconds + HEAL_S
    _, waiting = await asyncio.wait(tasks, timeout=longest_s)
    for task in tasks:
        if task in waiting:
            universe.wrong.append(f"somebody still waits after {longest_s} s: {task.get_coro()}")
            task.cancel()
        elif (error := task.exception()) is not None:
            universe.wrong.append(f"a client met {error!r}")


async def _timed(universe: Universe) -> None:
    """Every live hold of a wallet in memory has a timer."""
    await asyncio.sleep(QUIET_S)
    for org_id, row in universe.server.truth.rows.items():
        owner = universe.owner(org_id)
        armed = owner.node.timers._armed if owner is not None else {}
        for hold in row.holds.values():
            if hold.active and owner is not None and (org_id, hold.call_id) not in armed:
                universe.wrong.append(f"{org_id}: the live hold of {hold.call_id} has no timer")


async def _drained(universe: Universe) -> None:
    """In the end no money is set aside: every call was settled, released or expired."""
    rows = universe.server.truth.rows
    until_s = universe.loop.time() + DRAIN_S
    while any(row.held_pence for row in rows.values()):
        if universe.loop.time() > until_s:
            left = [
                f"{org_id} {hold.call_id}"
                for org_id, row in rows.items()
                for hold in row.holds.values()
                if hold.active
            ]
            universe.wrong.append(f"still held after {DRAIN_S} s: {', '.join(left)}")
            return
        await asyncio.sleep(5.0)


def _left_timers(universe: Universe) -> None:
    """Nobody watches a call that is over, but whoever has not heard yet that another one wrote."""
    rows = universe.server.truth.rows
    for node in universe.nodes:
        for org_id, call_id in node.node.timers._armed:
            if node.node.residents.get(org_id) and rows[org_id].owner != node.boot:
                continue
            hold = rows[org_id].holds.get(call_id)
            if hold is None or not hold.active:
                universe.wrong.append(f"{node.boot}: a timer is left for {org_id} {call_id}")


async def _healthy(universe: Universe, backend: Backend) -> None:
    """Every wallet works, and the node ends in order."""
    for org_id in (*universe.plan.orgs, *universe.plan.quiet_orgs):
        asked = await backend.ask(builders.credit(1, key="at-last", org_id=org_id))
        if asked.answer is None:
            universe.wrong.append(f"{org_id} does not work: {asked.error}")
    while universe.nodes:
        node = universe.nodes.pop()
        loaded = [actor.org_id for actor in node.node.residents]
        await node.process.spawn(node.stop())
        rows = universe.server.truth.rows
        owned = [org_id for org_id in loaded if rows[org_id].owner == node.boot]
        if owned:
            universe.wrong.append(f"a node that ended in order still owns {owned}")


class _Complaints:
    """Hears what the engine and the loop complain of: bugs, and exceptions nobody looked at."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe

    def of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Note what the loop could tell nobody; the tasks of the dead are as they must be."""
        told = str(context["message"])
        if "was destroyed but it is pending" not in told:
            self._universe.wrong.append(f"{told}: {context.get('exception')!r}")

    def listening(self) -> "_Listening":
        return _Listening(self._universe)


class _Listening(logging.Handler):
    """Hears the log: an exception in it is a bug, whatever became of it."""

    def __init__(self, universe: Universe) -> None:
        super().__init__(logging.WARNING)
        self._universe = universe

    def __enter__(self) -> None:
        logger = logging.getLogger("wallet_engine")
        self._was = (logger.propagate, logger.level)
        logger.propagate = False
        logger.addHandler(self)
        self._structlog = structlog.get_config()
        structlog.configure(processors=[self._heard])

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("wallet_engine")
        logger.removeHandler(self)
        logger.propagate = self._was[0]
        structlog.configure(**self._structlog)

    def emit(self, record: logging.LogRecord) -> None:
        self._universe.say(f"log: {record.getMessage()}")
        if record.exc_info:
            self._universe.wrong.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    def _heard(self, _: object, method: str, event: MutableMapping[str, Any]) -> str:
        if method in {"exception", "error"}:
            self._universe.wrong.append(f"logged: {event}")
        raise structlog.DropEvent
