"""Everything of one simulation: the server, the nodes, the network between them and clients."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from wallet_engine.errors import WalletError

from .faults import Fault
from .history import History
from .node import SimNode
from .phones import Phones
from .plan import Plan
from .postgres import SimPostgres
from .processes import SimLoop
from .signals import SimClock
from .tally import Tally
from .weather import Weather

T = TypeVar("T")

SKEW_MS = 1500
RESTART_S = 0.5


class NoAnswer(Exception):
    """Nothing came back; what was asked may be done, or may still be."""


class Universe:
    """The parts, and the way of a request through them.

    `front` is the node that takes requests.  `wrong` gathers what must not happen.
    """

    def __init__(self, plan: Plan, loop: SimLoop, *, traced: bool) -> None:
        self.plan = plan
        self.loop = loop
        self.tally = Tally()
        self.history = History()
        self.wrong: list[str] = []
        self.trace: list[str] = []
        self._traced = traced
        self._rng = random.Random(f"universe {plan.seed}")
        self.server = SimPostgres(loop, SimClock(loop, 0), self.tally, self.wrong)
        self.weather = Weather(plan, random.Random(f"weather {plan.seed}"), self.tally)
        self.phones = Phones(self)
        self.front: SimNode | None = None
        self._nodes = 0
        self._connections: dict[asyncio.Future[Any], SimNode] = {}
        for org_id in (*plan.orgs, *plan.quiet_orgs):
            self.server.truth.create(org_id)

    def say(self, text: str) -> None:
        """Write a line of the trace."""
        if self._traced:
            self.trace.append(f"{self.loop.now_us / 1e6 - 1000:12.6f}  {text}")

    # --- nodes --------------------------------------------------------------------------------

    async def start_node(self) -> SimNode:
        """Start a node, again and again until it can reach the server; then it takes requests."""
        while True:
            self._nodes += 1
            node = SimNode(
                self._nodes,
                plan=self.plan,
                loop=self.loop,
                server=self.server,
                weather=self.weather,
                control=self.phones,
                skew_ms=self._rng.randint(-SKEW_MS, SKEW_MS),
                early=self.wrong,
                tally=self.tally,
            )
            starting = node.process.spawn(node.start())
            try:
                await starting
            except WalletError as error:
                self.say(f"{node.boot} cannot start: {error}")
                node.process.kill()
                await asyncio.sleep(RESTART_S)
                continue
            if any(h.active for row in self.server.truth.rows.values() for h in row.holds.values()):
                self.tally.sometimes["restart with live holds"] += 1
            self.front = node
            self.say(f"{node.boot} takes requests")
            return node

    def kill(self, node: SimNode) -> None:
        """End a node in the middle of whatever it does; its connections break."""
        self.say(f"{node.boot} is killed")
        node.process.kill()
        if self.front is node:
            self.front = None
        for reply, holder in list(self._connections.items()):
            if holder is node and not reply.done():
                reply.set_exception(NoAnswer("the node died"))

    def is_stale(self, node: SimNode, org_id: str) -> bool:
        """Whether another node owns a wallet that `node` has in memory."""
        row = self.server.truth.rows.get(org_id)
        loaded = node.node.residents.get(org_id) is not None
        return loaded and row is not None and row.owner != node.boot

    # --- the network --------------------------------------------------------------------------

    async def send(
        self,
        work: Callable[[SimNode], Coroutine[Any, Any, T]],
        *,
        timeout_s: float,
        answered: Callable[[SimNode], None],
    ) -> T:
        """Have the node in front do `work` for a client, who waits for so long.

        `answered` is called when the answer leaves the node.

        Raises:
            NoAnswer: none came.
            WalletError: as the node raised it.
        """
        rng, plan = self._rng, self.plan
        await asyncio.sleep(rng.uniform(0.0001, 0.003))
        node = self.front
        if node is None:
            await asyncio.sleep(0.01)
            raise NoAnswer("nobody listens")
        reply: asyncio.Future[T] = self.loop.create_future()
        task = node.process.spawn(work(node))

        def leaves(done: "asyncio.Task[T]") -> None:
            answered(node)
            self.loop.call_later(rng.uniform(0.0001, 0.003), self._hand_over, done, reply)

        task.add_done_callback(leaves, context=copy_context())
        if not self.weather.over and rng.random() < plan.cancel_share:
            self.tally.faults[Fault.CANCELLED.value] += 1
            node.process.call_later(rng.choice((0.0, 0.001, 0.01, 0.3)) * rng.random(), task.cancel)
        if not self.weather.over and rng.random() < plan.hang_up_share:
            self.tally.faults[Fault.HANG_UP.value] += 1
            timeout_s = rng.choice((0.001, 0.01, 0.1)) * rng.random()
        self._connections[reply] = node
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise NoAnswer("the client gave up") from None
        finally:
            del self._connections[reply]

    def _hand_over(self, done: "asyncio.Task[T]", reply: "asyncio.Future[T]") -> None:
        error: BaseException | None
        error = NoAnswer("cancelled") if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, WalletError | NoAnswer):
            self.wrong.append(f"a request met a bug: {error!r}")
            error = NoAnswer("a bug")
        if reply.done():
            return
        if error is None:
            reply.set_result(done.result())
        else:
            reply.set_exception(error)
