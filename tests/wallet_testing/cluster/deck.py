"""Faults of a cluster by their names: of nodes, of the Redis, of the paths between them.

Each is an asynchronous generator that yields when the fault is over; once all wallets work again
it goes on, and cleans up.
"""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable, Mapping

from wallet_testing.cable import Cable

from .of_leases import flush
from .stage import Cluster, Member

OUTAGE_S = (0.3, 7.0)
"""How long an outage lasts: on both sides of a lease, and of what a node waits for."""

UNLISTED_AFTER_S = 1.0
"""How soon a balancer sees that a node is silent."""

WOKEN_S = 2.0
"""How long a woken node may try to write late."""

Ends = AsyncGenerator[None, None]
Fault = Callable[[Cluster, random.Random], Ends]


async def _outage(dice: random.Random) -> None:
    """Wait as long as an outage lasts: short ones are as likely as long ones."""
    low, high = map(math.log, OUTAGE_S)
    await asyncio.sleep(math.exp(dice.uniform(low, high)))


def _member(cluster: Cluster, dice: random.Random) -> Member:
    return dice.choice(list(cluster.members))


def _peers(cluster: Cluster, dice: random.Random) -> Cable:
    cable = _member(cluster, dice).peers
    assert cable is not None, "the nodes ask each other through cables"
    return cable


async def killed(cluster: Cluster, dice: random.Random) -> Ends:
    """Kill a node; its wallets must work on the others before it is started again."""
    member = _member(cluster, dice)
    member.node.kill()
    yield
    await member.node.start()


async def killed_and_started(cluster: Cluster, dice: random.Random) -> Ends:
    """Kill a node and start it at once: its leases are still those of its last boot."""
    member = _member(cluster, dice)
    member.node.kill()
    await member.node.start()
    yield


async def woken(cluster: Cluster, dice: random.Random) -> Ends:
    """Stop a node in mid-step for a while, and let it go on."""
    member = _member(cluster, dice)
    member.node.pause()
    try:
        await asyncio.sleep(dice.uniform(0, UNLISTED_AFTER_S))
        member.listed = False
        await _outage(dice)
    finally:
        member.node.resume()
        member.listed = True
    yield


async def replaced(cluster: Cluster, dice: random.Random) -> Ends:
    """Stop a node until others have its wallets and have used them, and wake it too late."""
    member = _member(cluster, dice)
    member.node.pause()
    try:
        await asyncio.sleep(UNLISTED_AFTER_S)
        member.listed = False
        cluster.recorder.hang_up()
        yield
    finally:
        member.node.resume()
        member.listed = True
    await asyncio.sleep(WOKEN_S)
    yield


async def left_and_joined(cluster: Cluster, dice: random.Random) -> Ends:
    """End a node in order, and start it again."""
    member = _member(cluster, dice)
    member.listed = False
    code = await member.node.stop()
    if code:
        cluster.troubles.append(f"{member.name} ended with {code}")
    yield
    await member.node.start()
    member.listed = True
    yield


async def redis_killed(cluster: Cluster, dice: random.Random) -> Ends:
    """Kill the Redis, and start it for a while later; it begins empty."""
    cluster.valkey.kill()
    await _outage(dice)
    await cluster.valkey.start()
    yield


async def redis_frozen(cluster: Cluster, dice: random.Random) -> Ends:
    """Stop the Redis in mid-step for a while, and let it go on."""
    cluster.valkey.pause()
    try:
        await _outage(dice)
    finally:
        cluster.valkey.resume()
    yield


async def redis_flushed(cluster: Cluster, _dice: random.Random) -> Ends:
    """Have the Redis forget everything."""
    await flush(cluster.valkey)
    yield


async def redis_silent(cluster: Cluster, dice: random.Random) -> Ends:
    """Let nothing through between one node and the Redis for a while; it all comes late."""
    cable = _member(cluster, dice).redis
    cable.hold()
    await _outage(dice)
    cable.release()
    yield


async def redis_silent_and_flushed(cluster: Cluster, dice: random.Random) -> Ends:
    """Have the Redis forget everything while one node cannot see it: two feel sure."""
    cable = _member(cluster, dice).redis
    cable.hold()
    await flush(cluster.valkey)
    await _outage(dice)
    cable.release()
    yield


async def killed_without_redis(cluster: Cluster, dice: random.Random) -> Ends:
    """Kill a node while the Redis is away: nobody may take its wallets until it is back."""
    member = _member(cluster, dice)
    cluster.valkey.kill()
    member.node.kill()
    member.listed = False
    await _outage(dice)
    await cluster.valkey.start()
    yield
    await member.node.start()
    member.listed = True


async def peers_cut(cluster: Cluster, dice: random.Random) -> Ends:
    """Cut the channels to one node at once; it is not told."""
    cable = _peers(cluster, dice)
    cable.cut()
    yield
    cable.end_orphans()


async def peers_silent(cluster: Cluster, dice: random.Random) -> Ends:
    """Let nothing through to one node from the others for a while; it all comes late."""
    cable = _peers(cluster, dice)
    cable.hold()
    await _outage(dice)
    cable.heal()
    yield


async def peers_deaf(cluster: Cluster, dice: random.Random) -> Ends:
    """Lose what one node answers the others for a while, and cut them off."""
    cable = _peers(cluster, dice)
    cable.lose_answers = True
    await _outage(dice)
    cable.cut()
    cable.heal()
    yield
    cable.end_orphans()


async def postgres_crashed(cluster: Cluster, dice: random.Random) -> Ends:
    """Kill the whole Postgres, and start it for a while later."""
    cluster.postgres.kill()
    await _outage(dice)
    await cluster.postgres.start()
    yield


KINDS: Mapping[str, Fault] = {
    "node: killed": killed,
    "node: killed and started": killed_and_started,
    "node: killed without redis": killed_without_redis,
    "node: stopped and woken": woken,
    "node: replaced, then woken": replaced,
    "node: left and joined": left_and_joined,
    "redis: killed": redis_killed,
    "redis: frozen": redis_frozen,
    "redis: flushed": redis_flushed,
    "redis path: silent": redis_silent,
    "redis path: silent, and flushed": redis_silent_and_flushed,
    "peers: cut": peers_cut,
    "peers: silent": peers_silent,
    "peers: answers lost": peers_deaf,
    "postgres: crashed": postgres_crashed,
}
