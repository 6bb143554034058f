"""Everything of one simulation: the server, the nodes, the network between them and clients."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from wallet_engine.errors import PeerLost, WalletError

from .backends import Backend
from .cluster import SimPeers, SimRedis
from .faults import Fault
from .history import History, NoAnswer
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
FORGETFUL_S = 5.0
"""How long after the leases were forgotten reads may lag: until each node has looked."""

RESTART_S = 0.5


class Universe:
    """The parts, and the way of a request through them.

    `nodes` are those that take requests.  `wrong` gathers what must not happen.
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
        self.backend = Backend("backend", self)
        self.redis = SimRedis(loop) if plan.nodes > 1 else None
        self.leases_lost_s = float("-inf")
        self.died_s: list[float] = []
        self.nodes: list[SimNode] = []
        self._connected: list[SimNode] = []
        self._outside = copy_context()
        self._boots = 0
        self._connections: dict[asyncio.Future[Any], SimNode] = {}
        for org_id in (*plan.orgs, *plan.quiet_orgs):
            self.server.truth.create(org_id)

    def say(self, text: str) -> None:
        """Write a line of the trace."""
        if self._traced:
            self.trace.append(f"{self.loop.now_us / 1e6 - 1000:12.6f}  {text}")

    # --- nodes --------------------------------------------------------------------------------

    async def start_node(self, place: int = 1) -> SimNode:
        """Start a node, again and again until it can reach the server; then it takes requests."""
        while True:
            self._boots += 1
            node = SimNode(
                self._boots,
                place,
                plan=self.plan,
                loop=self.loop,
                server=self.server,
                weather=self.weather,
                control=self.phones,
                redis=self.redis,
                peers=SimPeers(self, f"boot-{self._boots}"),
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
            self.nodes.append(node)
            self._connected.append(node)
            self.say(f"{node.boot} takes requests")
            return node

    def kill(self, node: SimNode) -> None:
        """End a node in the middle of whatever it does; its connections break."""
        self.say(f"{node.boot} is killed")
        node.process.kill()
        self.withdraw(node)
        self.died_s.append(self.loop.time())
        for reply, holder in list(self._connections.items()):
            if holder is node and not reply.done():
                reply.set_exception(PeerLost("the node died"))

    def withdraw(self, node: SimNode) -> None:
        """Let no more clients come to a node."""
        if node in self.nodes:
            self.nodes.remove(node)

    def at(self, address: str) -> SimNode | None:
        """Return the node at an address, if it lives; one that is leaving still answers."""
        found = (node for node in self._connected if node.boot == address and node.process.alive)
        return next(found, None)

    def owner(self, org_id: str) -> SimNode | None:
        """Return the node that has a wallet in memory and owns it in the ledger."""
        row = self.server.truth.rows[org_id]
        for node in self.nodes:
            if node.boot == row.owner and node.node.residents.get(org_id) is not None:
                return node
        return None

    def is_stale(self, node: SimNode, org_id: str) -> bool:
        """Whether an answer of `node` may be out of date, and nobody promised that it is not.

        Without leases nothing but the ledger tells two nodes apart.  And when the leases forget
        everything, the next owner may begin before the last one has looked again.
        """
        row = self.server.truth.rows.get(org_id)
        if self.redis is None:
            actor = node.node.residents.get(org_id)
            known = None if actor is None or actor.wallet is None else actor.wallet.epoch
            # A claim of its own that came late takes the wallet for it, and it never hears.
            return (
                known is not None
                and row is not None
                and (row.owner, row.epoch) != (node.boot, known)
            )
        return self.loop.time() - self.leases_lost_s < FORGETFUL_S

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
        if not self.nodes:
            await asyncio.sleep(0.01)
            raise NoAnswer("nobody listens")
        node = rng.choice(self.nodes)
        task, reply = self._started(node, work(node), lambda: answered(node))
        if not self.weather.over and rng.random() < plan.cancel_share:
            self.tally.faults[Fault.CANCELLED.value] += 1
            delay_s = rng.choice((0.0, 0.001, 0.003, 0.01, 0.3)) * rng.random()
            node.process.call_later(delay_s, task.cancel)
        if not self.weather.over and rng.random() < plan.hang_up_share:
            self.tally.faults[Fault.HANG_UP.value] += 1
            timeout_s = rng.choice((0.001, 0.01, 0.1)) * rng.random()
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise NoAnswer("the client gave up") from None
        except PeerLost as error:
            raise NoAnswer(*error.args) from None

    def start(
        self, node: SimNode, work: Coroutine[Any, Any, T]
    ) -> "tuple[asyncio.Task[T], asyncio.Future[T]]":
        """Have a node do something for another one; the future is how that one hears of it."""
        return self._started(node, work, lambda: None)

    def _closed(self, reply: "asyncio.Future[Any]") -> None:
        del self._connections[reply]
        if not reply.cancelled():
            reply.exception()  # whoever asked may have gone

    def _started(
        self, node: SimNode, work: Coroutine[Any, Any, T], answered: Callable[[], None]
    ) -> "tuple[asyncio.Task[T], asyncio.Future[T]]":
        reply: asyncio.Future[T] = self.loop.create_future()
        task = node.process.spawn(work)

        def leaves(done: "asyncio.Task[T]") -> None:
            answered()
            delay_s = self._rng.uniform(0.0001, 0.003)
            self.loop.call_later(delay_s, self._hand_over, done, reply)

        task.add_done_callback(leaves, context=self._outside)
        self._connections[reply] = node
        reply.add_done_callback(self._closed, context=self._outside)
        return task, reply

    def _hand_over(self, done: "asyncio.Task[T]", reply: "asyncio.Future[T]") -> None:
        error: BaseException | None
        error = PeerLost("cancelled") if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, WalletError):
            self.wrong.append(f"a request met a bug: {error!r}")
            error = PeerLost("a bug")
        if reply.done():
            return
        if error is None:
            reply.set_result(done.result())
        else:
            reply.set_exception(error)
