"""What befalls whole processes, one thing after the other, until the storm is over."""

import asyncio
import random
from collections.abc import Sequence

from wallet_engine.ports import FleetSwitch

from .cluster import SimRedis
from .faults import Fault
from .node import SimNode
from .universe import Universe

EXTRA_PLACE = 9
"""Where a node stands that only comes for a while."""


class Storm:
    """Brings the large faults of a plan.  Whatever it broke is mended when `rage` returns.

    Those of the cluster come beside the others, so that what is broken is never only one thing.
    """

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._rng = random.Random(f"storm {universe.plan.seed}")

    async def rage(self) -> None:
        """Bring both kinds of faults until the time is up."""
        plan = self._universe.plan
        await asyncio.gather(
            self._bring_some(plan.large_faults), self._bring_some(plan.cluster_faults)
        )

    async def _bring_some(self, faults: Sequence[Fault]) -> None:
        """Bring one of `faults` after the other."""
        universe, rng = self._universe, self._rng
        plan = universe.plan
        until_s = universe.loop.time() + plan.storm_s
        while faults:
            await asyncio.sleep(rng.expovariate(1 / plan.large_every_s))
            if universe.loop.time() >= until_s:
                return
            fault = rng.choice(faults)
            universe.tally.faults[fault.value] += 1
            universe.say(f"FAULT: {fault.value}")
            await self._bring(fault)
            universe.say(f"over: {fault.value}")
        await asyncio.sleep(max(0.0, until_s - universe.loop.time()))

    async def _bring(self, fault: Fault) -> None:  # noqa: C901  # a table
        rng, universe = self._rng, self._universe
        server, weather = universe.server, universe.weather
        match fault:
            case Fault.SERVER_CRASH:
                server.crash()
                await asyncio.sleep(rng.uniform(0.1, 4.0))
                server.up = True
            case Fault.SERVER_STOPPED:
                server.process.stop()
                await asyncio.sleep(rng.uniform(0.1, 5.0))
                server.process.wake()
            case Fault.SERVER_BUSY:
                weather.busy = True
                await asyncio.sleep(rng.uniform(0.1, 3.0))
                weather.busy = False
            case Fault.ROW_LOCKED:
                org_id, seconds = rng.choice(universe.plan.orgs), rng.uniform(0.05, 4.0)
                await server.process.spawn(server.lock_for(org_id, seconds))
            case Fault.FLEET_SWITCH:
                self._throw(engaged=True, end_live_calls=rng.random() < 0.5)
                await asyncio.sleep(rng.uniform(0.5, 6.0))
                self._throw(engaged=False, end_live_calls=False)
            case Fault.CLOCK_JUMP:
                if universe.nodes:
                    rng.choice(universe.nodes).clock.jump(round(1000 * rng.choice((0.5, 5, 60))))
            case Fault.LEASES_FROZEN | Fault.LEASES_LOST | Fault.LEASES_DOWN | Fault.LEASES_CUT:
                assert universe.redis is not None
                await self._trouble(universe.redis, fault)
            case Fault.NODE_JOINED:
                node = await universe.start_node(EXTRA_PLACE)
                await asyncio.sleep(rng.uniform(0.5, 8.0))
                if node in universe.nodes:  # the other storm may have had it
                    await self._leave(node)
            case _:
                if universe.nodes:
                    await self._befall(rng.choice(universe.nodes), fault)

    async def _trouble(self, redis: SimRedis, fault: Fault) -> None:
        """Bring one of the faults of the leases."""
        rng, universe = self._rng, self._universe
        match fault:
            case Fault.LEASES_FROZEN:
                redis.process.stop()
                await asyncio.sleep(rng.uniform(0.2, 8.0))
                redis.process.wake()
            case Fault.LEASES_DOWN:
                redis.up = False
                await asyncio.sleep(rng.uniform(0.2, 8.0))
                redis.up = True
            case Fault.LEASES_CUT:
                boot = rng.choice(universe.nodes).boot if universe.nodes else ""
                redis.unreachable_for.add(boot)
                await asyncio.sleep(rng.choice((rng.uniform(0.5, 3.0), rng.uniform(4.0, 12.0))))
                redis.unreachable_for.discard(boot)
            case _:
                redis.leases.flush()
                universe.leases_lost_s = universe.loop.time()

    async def _befall(self, node: SimNode, fault: Fault) -> None:
        rng, universe = self._rng, self._universe
        alone = universe.redis is None
        match fault:
            case Fault.NODE_KILLED:
                universe.kill(node)
                await asyncio.sleep(rng.uniform(0.0, 2.0 if alone else 6.0))
                await universe.start_node(node.place)
            case Fault.NODE_REPLACED if alone:
                node.process.stop()
                universe.withdraw(node)
                await universe.start_node(node.place)
                await self._wake(node, rng.uniform(0.0, 5.0))
                await asyncio.sleep(rng.uniform(0.1, 2.0))
                universe.kill(node)
            case Fault.NODE_STOPPED | Fault.NODE_REPLACED:
                node.process.stop()
                await self._wake(node, rng.uniform(0.05, rng.choice((1.0, 6.0, 12.0))))
            case _ if alone:
                await universe.start_node(node.place)
                await self._leave(node)
            case _:
                await self._leave(node)
                await universe.start_node(node.place)

    async def _wake(self, node: SimNode, after_s: float) -> None:
        await asyncio.sleep(after_s)
        fences = node.stats.fences
        node.process.wake()
        await asyncio.sleep(0.1)
        self._universe.tally.sometimes["woken owner turned away"] += node.stats.fences - fences

    async def _leave(self, node: SimNode) -> None:
        """Have a node end in order."""
        self._universe.withdraw(node)
        await node.process.spawn(node.stop())
        self._universe.kill(node)

    def _throw(self, *, engaged: bool, end_live_calls: bool) -> None:
        switches = self._universe.server.switches
        switches.append(
            FleetSwitch(
                switch_id=len(switches) + 1,
                engaged=engaged,
                end_live_calls=end_live_calls,
                reason="the storm",
                actor="storm",
                at_ms=0,
            )
        )
