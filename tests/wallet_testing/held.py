"""Shards that are held, or not, as a test decides."""

from collections.abc import Collection

from wallet_engine.sharding import SHARD_COUNT


class Held:
    """Implements `Owning`: everything is ours, by a lease of which a test decides.

    `lapsed`: how long ago it ran out, in seconds.  `known`: the other nodes that live, as far as
    we see; `rivals`: those that lived once; `heir`: whose the shards are that are not ours.
    """

    def __init__(
        self,
        *,
        shards: Collection[int] = range(SHARD_COUNT),
        lapsed: float = 0.0,
        heir: str = "",
    ) -> None:
        self.shards = shards
        self.lapsed = lapsed
        self.heir = heir
        self.number = 0
        self.known: set[str] = set()
        self.rivals: set[str] = set()

    def owns(self, shard: int) -> bool:
        return shard in self.shards

    def fresh(self, shard: int) -> bool:
        return self.owns(shard) and not self.lapsed

    def term(self, shard: int) -> int:
        assert self.owns(shard)
        return self.number

    def lapsed_s(self, shard: int) -> float:
        assert self.owns(shard)
        return self.lapsed

    def holder(self, shard: int) -> str:
        return "" if self.owns(shard) else self.heir

    def live_owner(self, boot: str) -> str:
        return f"node-2:{boot}" if boot in self.known else ""

    def rival(self, boot: str) -> str:
        return f"node-2:{boot}" if boot in self.rivals else ""
