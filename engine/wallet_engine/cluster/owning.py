"""What the engine asks about the ownership of shards, and the answers of a node that is alone."""

from collections.abc import Collection
from typing import Protocol

from wallet_engine.sharding import SHARD_COUNT


class Owning(Protocol):
    """Who owns what, as far as this node knows."""

    @property
    def shards(self) -> Collection[int]:
        """All shards that are ours."""

    def owns(self, shard: int) -> bool:
        """Whether a shard is ours, as far as we know."""

    def fresh(self, shard: int) -> bool:
        """Whether a shard is ours and nobody else can hold it."""

    def term(self, shard: int) -> int:
        """Return a number that is another one whenever somebody else may have held a shard."""

    def lapsed_s(self, shard: int) -> float:
        """How long ago somebody else may have begun to hold a shard: 0 if nobody can."""

    def holder(self, shard: int) -> str:
        """Return whose a shard is, by token; empty: nobody's."""

    def live_owner(self, boot: str) -> str:
        """Return the token of another live node by its boot; empty: there is none."""

    def rival(self, boot: str) -> str:
        """Return the token of a node that lived once and can be asked; empty: never heard of."""


class Alone:
    """Everything is ours: there is no other node.  See `Owning`."""

    shards: Collection[int] = range(SHARD_COUNT)

    def owns(self, shard: int) -> bool:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return True

    def fresh(self, shard: int) -> bool:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return True

    def term(self, shard: int) -> int:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return 0

    def lapsed_s(self, shard: int) -> float:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return 0.0

    def holder(self, shard: int) -> str:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return ""

    def live_owner(self, boot: str) -> str:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return ""

    def rival(self, boot: str) -> str:  # noqa: ARG002  # whichever
        """See `Owning`."""
        return ""


ALONE = Alone()
