"""Where a shard belongs: rendezvous hashing, which needs no coordination.  Pure.

Every node ranks all nodes for each shard by a fixed hash; the first is preferred.  A node that
joins or leaves moves only the shards that it gains or had.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

from wallet_engine.sharding import SHARD_COUNT

PLACEMENTS_CACHED = 16
"""Placements remembered: nodes come and go seldom, and each look asks for the same two."""

CACHED = 256 * 64
"""Weights remembered: those of 64 nodes."""


def node_of(token: str) -> str:
    """Return the node's own name in `node_id:boot_id`."""
    return token.rpartition(":")[0]


def boot_of(token: str) -> str:
    """Return the boot in `node_id:boot_id`: what the ledger calls the owner."""
    return token.rpartition(":")[2]


@lru_cache(CACHED)
def weight(shard: int, node_id: str) -> bytes:
    """Return how much `node_id` is preferred for `shard`."""
    return blake2b(f"{shard}/{node_id}".encode(), digest_size=8).digest()


def preferred(shard: int, tokens: Collection[str]) -> str:
    """Return which of `tokens` a shard belongs to; empty if there are none.

    Of two boots of one node the later name wins, on every node alike.
    """
    return max(tokens, key=lambda token: (weight(shard, node_of(token)), token), default="")


def placement(tokens: Collection[str]) -> Sequence[str]:
    """Return to whom each shard belongs."""
    return _placement(tuple(sorted(tokens)))


@lru_cache(PLACEMENTS_CACHED)
def _placement(tokens: tuple[str, ...]) -> Sequence[str]:
    return tuple(preferred(shard, tokens) for shard in range(SHARD_COUNT))


def successors(shards: Collection[int], others: Collection[str]) -> Mapping[int, str]:
    """Return to whom each of `shards` goes when its owner leaves; nobody, if nobody is left."""
    return {shard: preferred(shard, others) for shard in shards} if others else {}
