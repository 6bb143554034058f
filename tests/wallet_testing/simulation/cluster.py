"""Leases and the ways between nodes, simulated: they expire, freeze, forget, lose, repeat."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from wallet_engine.cluster.memory_leases import InMemoryLeases
from wallet_engine.commands import Ask
from wallet_engine.errors import DeadlinePassed, LeasesUnavailable, PeerLost, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_engine.ports import LeaseView, Unheard

from .faults import Fault
from .processes import SimLoop, SimProcess

if TYPE_CHECKING:
    from .node import SimNode
    from .universe import Universe

T = TypeVar("T")

LEASES_TIMEOUT_S = 1.0
DEAD_S = 2.5
"""After so long without a sign of life a peer is taken for dead."""

LATE_S = 1.0


class SimRedis:
    """The server of the leases: a process that may be stopped, be away, or forget everything."""

    def __init__(self, loop: SimLoop) -> None:
        self.process = SimProcess("redis", loop)
        self.leases = InMemoryLeases(loop.time)
        self.up = True
        self.unreachable_for: set[str] = set()


class SimLeases:
    """One node's way to the leases.  Implements `ports.Leases`."""

    def __init__(self, boot: str, redis: SimRedis, loop: SimLoop) -> None:
        self._boot = boot
        self._redis = redis
        self._loop = loop

    async def renew(
        self,
        *,
        token: str,
        address: str,
        ttl_ms: int,
        want: Sequence[int],
        give: Mapping[int, str],
        call: int,
    ) -> LeaseView:
        """See `ports.Leases`."""

        async def work() -> LeaseView:
            return await self._redis.leases.renew(
                token=token, address=address, ttl_ms=ttl_ms, want=want, give=give, call=call
            )

        return await self._ask(work)

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        """See `ports.Leases`."""

        async def work() -> None:
            await self._redis.leases.leave(token=token, give=give)

        await self._ask(work)

    async def _ask(self, work: Callable[[], "asyncio.Future[T]"] | Callable[[], object]) -> T:
        """Have the server do it; if it is stopped, it will when it is woken."""
        await asyncio.sleep(0.0005)
        if not self._redis.up or self._boot in self._redis.unreachable_for:
            raise LeasesUnavailable("nobody listens")
        doing = self._redis.process.spawn(work())  # type: ignore[arg-type,var-annotated]
        reply: asyncio.Future[T] = self._loop.create_future()

        def answered(done: "asyncio.Task[T]") -> None:
            if not reply.done() and not done.cancelled():
                reply.set_result(done.result())

        doing.add_done_callback(answered)
        try:
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                return await reply
        except TimeoutError:
            raise LeasesUnavailable("no answer in time") from None


class SimPeers:
    """One node's way to the others.  Implements `ports.Peers`."""

    def __init__(self, universe: "Universe", boot: str) -> None:
        self._universe = universe
        self._rng = random.Random(f"peers {boot} {universe.plan.seed}")
        self.unheard: Unheard

    async def ask(self, address: str, ask: Ask, *, timeout_s: float) -> Answer:
        """See `ports.Peers`."""
        universe, rng = self._universe, self._rng
        fault = self._fault()
        await asyncio.sleep(
            rng.uniform(0.0001, 0.002) + (LATE_S if fault is Fault.PEER_SLOW else 0)
        )
        node = universe.at(address)
        if node is None or fault is Fault.PEER_LOST:
            raise PeerUnreachable(f"{address} is not there")
        copies = 2 if fault is Fault.PEER_TWICE else 1
        served = [universe.start(node, node.serve(ask, timeout_s)) for _ in range(copies)]
        reply = served[-1][1]
        try:
            if fault is Fault.PEER_ANSWER_LOST:
                await self._lost(ask, min(timeout_s, LATE_S))
            return await self._heard(node, reply, timeout_s)
        except (asyncio.CancelledError, DeadlinePassed):
            for serving, unheard in served:
                unheard.add_done_callback(lambda done: self._unheard(ask, done))
                node.process.call_later(rng.uniform(0.0001, 0.002), serving.cancel)
            raise

    async def _lost(self, ask: Ask, after_s: float) -> None:
        """The channel breaks before an answer comes."""
        try:
            await asyncio.sleep(after_s)
        except asyncio.CancelledError:
            self._universe.loop.call_later(after_s, self.unheard, ask, None)
            raise
        raise PeerLost("no answer")

    def _unheard(self, ask: Ask, reply: "asyncio.Future[Answer]") -> None:
        if not reply.cancelled() and reply.exception() is None:
            self.unheard(ask, reply.result())

    async def _heard(
        self, node: "SimNode", reply: "asyncio.Future[Answer]", timeout_s: float
    ) -> Answer:
        until_s = self._universe.loop.time() + timeout_s
        while True:
            left_s = until_s - self._universe.loop.time()
            try:
                async with asyncio.timeout(max(0.0, min(left_s, DEAD_S))):
                    return await asyncio.shield(reply)
            except TimeoutError:
                if not node.process.running:
                    raise PeerLost(f"{node.boot} is dead or stopped") from None
                if left_s <= DEAD_S:
                    raise DeadlinePassed("No answer from another node in time.") from None

    def poke(self, address: str) -> None:
        """See `ports.Peers`."""
        node = self._universe.at(address)
        if node is not None and node.ownership is not None and self._fault() is None:
            node.process.call_later(self._rng.uniform(0.0001, 0.002), node.ownership.look_now)

    def _fault(self) -> Fault | None:
        universe = self._universe
        if universe.weather.over:
            return None
        luck = self._rng.random()
        for fault, share in universe.plan.peer_faults.items():
            luck -= share
            if luck < 0:
                universe.tally.faults[fault.value] += 1
                return fault
        return None
