"""Nodes that share the shards of one store of leases, and nothing else of a node."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from wallet_engine.cluster.memory_leases import InMemoryLeases
from wallet_engine.cluster.ownership import Ownership
from wallet_engine.ports import Leases
from wallet_engine.sharding import SHARD_COUNT

ALL = set(range(SHARD_COUNT))
ROUNDS = 6
"""So many looks after a node came, every shard is where it belongs."""


class Seen:
    """Implements `Neighbourhood` by remembering what it was told."""

    def __init__(self) -> None:
        self.poked: list[str] = []
        self.lost_to: dict[int, str] = {}

    def gained(self, shards: Collection[int]) -> None:
        assert shards

    def lost(self, shards: Mapping[int, str]) -> None:
        self.lost_to.update(shards)

    def poke(self, token: str) -> None:
        self.poked.append(token)


class Town:
    """Nodes that share the shards of one store of leases."""

    def __init__(self) -> None:
        self.now_s: Callable[[], float] = asyncio.get_running_loop().time
        self.leases = InMemoryLeases(self.now_s)
        self.seen: dict[str, Seen] = {}

    def node(self, token: str, leases: Leases | None = None) -> Ownership:
        seen = self.seen[token] = Seen()
        return Ownership(
            token=token,
            address=f"at {token}",
            leases=leases or self.leases,
            neighbourhood=seen,
            now_s=self.now_s,
        )

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # virtual

    def held(self, node: Ownership) -> set[int]:
        """Return which shards a node has by the leases."""
        return {shard for shard in ALL if self.leases.holder(shard) == node.token}


async def settled(*nodes: Ownership) -> None:
    """Have nodes look at the leases until each has its shards."""
    for _ in range(ROUNDS):
        for node in nodes:
            await node._round()
    assert all(0 < len(node.shards) < SHARD_COUNT for node in nodes)
