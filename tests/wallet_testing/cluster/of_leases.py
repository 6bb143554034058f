"""A Redis that is away, empty, frozen, or two: what clients see, and when owners agree again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from redis.asyncio import Redis

from wallet_engine.cluster.placement import node_of
from wallet_engine.sharding import shard_of
from wallet_persistence.embedded import EmbeddedValkey

from .of_nodes import MS, WORKERS, traffic_on
from .stage import Cluster
from .staleness import lags
from .timings import Timings, failures, figures

REFLUSH_S = 2.0
"""How long a node is kept away from a Redis that was emptied: its leases feel fresh meanwhile."""

AFTER_S = 4.0
"""Longer than a lease lasts."""

WATCH_S = 0.05
"""How often nodes are asked who holds what."""

HASTE_S = 0.0
"""How long clients think when it is about throughput."""

Hurt = Callable[[], Awaitable[None]]


async def hurts(
    cluster: Cluster,
    org_ids: Sequence[str],
    stopped_s: float,
    frozen_s: float,
    rounds: int,
    *,
    after_s: float = AFTER_S,
) -> list[str]:
    """Stop, empty, restart and freeze the Redis, under load; what takes no time is left out.

    `after_s`: how long it is looked, after each, whether shards move after all.
    """

    async def stopped() -> None:
        await cluster.valkey.stop()
        await asyncio.sleep(stopped_s)
        await cluster.valkey.start()

    async def restarted() -> None:
        cluster.valkey.kill()
        await cluster.valkey.start()

    async def frozen() -> None:
        cluster.valkey.pause()
        try:
            await asyncio.sleep(frozen_s)
        finally:
            cluster.valkey.resume()

    async def emptied() -> None:
        await flush(cluster.valkey)

    lines: list[str] = []
    async with traffic_on(cluster, org_ids).running(WORKERS):
        for name, hurt, times in (
            (f"stopped for {stopped_s:g} s", stopped, 1),
            ("emptied", emptied, rounds),
            ("killed and started", restarted, rounds),
            (f"frozen for {frozen_s:g} s", frozen, int(frozen_s > 0)),
        ):
            for _ in range(times):
                lines += await _suffered(cluster, name, hurt, after_s)
    return lines


async def _suffered(cluster: Cluster, name: str, hurt: Hurt, after_s: float) -> list[str]:
    """Do one thing to the Redis; tell what clients saw, and when all was well again."""
    await cluster.until_settled()
    timings, loop = Timings(), asyncio.get_running_loop()
    cluster.recorder.listeners.append(timings)
    watch = Watch(cluster, await cluster.holders())
    watching = asyncio.create_task(watch.run())
    began_s = loop.time()
    await hurt()
    ended_s = loop.time()
    await asyncio.sleep(after_s)  # they cannot have noticed yet
    await cluster.until_settled()
    watching.cancel()
    cluster.recorder.listeners.remove(timings)
    seen = timings.within(began_s, loop.time())
    failed = [it for it in seen if it.failed]
    still = sum(shard_of(it.org_id) not in watch.moved for it in failed)
    return [
        f"Redis {name} ({ended_s - began_s:.1f} s): {failures(seen)}",
        f"    {still} of them of shards that had not moved; {len(watch.moved)} shards moved",
        f"    s after its end until all agreed for good: {max(0.0, watch.apart_s - ended_s):.2f}",
        f"    ms: {figures([it.took_s for it in seen], unit_s=MS)}",
    ]


@dataclass(slots=True)
class Watch:
    """Looks again and again who holds what, as each node says, from `before` on.

    `moved`: shards that anybody said to have another holder.  `apart_s`: when nodes last disagreed.
    """

    cluster: Cluster
    before: Mapping[int, str]
    moved: set[int] = field(default_factory=set)
    apart_s: float = 0.0

    async def run(self) -> None:
        """Look, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            views = [view["holders"] for view in await self.cluster.views() if view]
            for holders in views:
                self.moved |= {
                    shard
                    for shard, token in enumerate(holders)
                    if node_of(token or "") != self.before[shard]
                }
            if any(None in holders or holders != views[0] for holders in views):
                self.apart_s = loop.time()
            await asyncio.sleep(WATCH_S)


async def splits(
    cluster: Cluster, org_ids: Sequence[str], rounds: int, seconds: float, clients: int
) -> list[str]:
    """Have two sides feel sure of the same shards, for real, in turn with undisturbed times.

    `flushed`: the Redis is emptied while one node cannot see it, again and again: it feels sure
    until its leases run out on its own clock, and the others have taken its shards meanwhile.
    `two`: one node's path leads to another, empty Redis: it and the others feel sure for good.
    """
    timings, loop = Timings(), asyncio.get_running_loop()
    cluster.recorder.listeners.append(timings)
    rates: dict[str, list[float]] = {"calm": [], "flushed": [], "two": []}
    sure: list[str] = []
    agreed_s: list[float] = []
    lonely = cluster.members[0]
    async with EmbeddedValkey() as other, traffic_on(cluster, org_ids, HASTE_S).running(clients):
        await speak_as(other, cluster.valkey)
        for _ in range(rounds):
            await cluster.until_settled()
            began_s = loop.time()
            await asyncio.sleep(seconds)
            rates["calm"].append(timings.rate(began_s, loop.time()))

            began_s = loop.time()
            while loop.time() < began_s + seconds:
                lonely.redis.hold()
                await flush(cluster.valkey)
                await asyncio.sleep(REFLUSH_S)
                sure.append(await _sure(cluster))
                lonely.redis.release()
                await asyncio.sleep(REFLUSH_S / 4)
            rates["flushed"].append(timings.rate(began_s, loop.time()))
            agreed_s.append(await cluster.until_agreed())
            await cluster.until_settled()

            async with elsewhere(cluster, other):
                await asyncio.sleep(1.0)  # until it has seen that nobody else is there
                began_s = loop.time()
                await asyncio.sleep(seconds)
                rates["two"].append(timings.rate(began_s, loop.time()))
                sure.append(await _sure(cluster))
            agreed_s.append(await cluster.until_agreed())
    cluster.recorder.listeners.remove(timings)
    ratios = {
        name: [it / calm for it, calm in zip(rates[name], rates["calm"], strict=True)]
        for name in ("flushed", "two")
    }
    return [
        f"{clients} clients without a pause, {rounds} rounds of {seconds:g} s each",
        *(
            f"decisions/s, {name}: {', '.join(f'{it:.0f}' for it in its)}"
            for name, its in rates.items()
        ),
        *(
            f"{name} against calm, in each round: {', '.join(f'{it:.2f}' for it in its)};"
            f" median {median(its):.2f}"
            for name, its in ratios.items()
        ),
        f"shards that each node was sure of: {'; '.join(dict.fromkeys(sure))}",
        f"all of them: {failures(timings.all)}",
        f"ms: {figures([it.took_s for it in timings.all], unit_s=MS)}",
        f"s until all agree again: {figures(agreed_s)}",
        f"s that reads lagged, of those that did: {figures(await lags(cluster))}",
    ]


async def _sure(cluster: Cluster) -> str:
    """Return of how many shards each node feels sure."""
    views = await cluster.views()
    return " + ".join(str(view["node"]["fresh_shards"]) if view else "?" for view in views)


async def flush(server: EmbeddedValkey) -> None:
    """Have a server forget everything."""
    async with Redis.from_url(server.url) as client:
        await client.flushall()


async def speak_as(server: EmbeddedValkey, model: EmbeddedValkey) -> None:
    """Have a server take the password of another one, so that it can stand in for it."""
    password = model.url.partition("://:")[2].rpartition("@")[0]
    async with Redis.from_url(server.url) as client:
        await client.config_set("requirepass", password)


@asynccontextmanager
async def elsewhere(cluster: Cluster, other: EmbeddedValkey) -> AsyncIterator[None]:
    """Have the first node's path lead to another Redis for a while."""
    cable, home = cluster.members[0].redis, cluster.valkey.port
    cable.lead_to(other.port)
    cable.cut()
    try:
        yield
    finally:
        cable.lead_to(home)
        cable.cut()
