"""What nodes need to share the wallets: leases that say who owns what, and a way to each other.

A node's `token` is `node_id:boot_id`, so a node that was restarted is not taken for its former
self.  Leases are hints for routing; what keeps the money safe is the fence in the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from wallet_engine.commands import Ask
from wallet_engine.journal import Answer

LEAVING = ""
"""The address of a node that is about to leave: it lives no longer, whatever it still holds."""


class LeaseView(NamedTuple):
    """Who holds which shard, and which nodes live, as of one call.

    `holders` has a token for each shard, empty where nobody holds it.  `nodes` has the address
    of each live node by its token.  `since`: the number of the call with which the caller came to
    be among them.  As long as it stays the same, nothing that the caller renewed was anybody
    else's meanwhile.
    """

    holders: Sequence[str]
    nodes: Mapping[str, str]
    since: int


class Leases(Protocol):
    """Leases of shards, with an expiry.

    Every method raises `LeasesUnavailable` when no answer comes within a second; it may have
    happened all the same, and may be done again.
    """

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
        """Say that this node lives, renew what it holds, take and hand over; one call.

        `call` numbers the calls of a token.  One that is carried out after a later one of its
        token changes nothing: its node has long decided otherwise.
        `want`: renewed if it is ours, taken if it is free.  `give`, which goes first: set to
        another node's token if it is ours, freed if that node does not live.  Whatever else is
        ours runs out.  `address` LEAVING says that this node lives no longer.
        """

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        """Hand over `give` to who lives, free whatever else is ours; this node lives no longer.

        What is carried out after it, of calls that its token made before, changes nothing.
        """


Unheard = Callable[[Ask, Answer | None], None]
"""Hears of an answer that nobody waits for any more; None: there may be one, and none will come."""


class Peers(Protocol):
    """The way to other nodes: one authenticated channel each, on which asks travel together."""

    async def ask(self, address: str, ask: Ask, *, timeout_s: float) -> Answer:
        """Have another node decide `ask`, and return its answer.

        A caller who stops waiting is made known to that node, which goes on as it does for
        callers of its own.  An answer that was on its way by then goes to `Unheard`, and so
        does the end of the channel, if it comes before that node has said what it did.

        Raises:
            NotMine: that node does not own the wallet; nothing was decided.
            PeerUnreachable: it was not asked, so nothing was decided.
            PeerLost: it may have decided; a retry with the same key tells.
            WalletError: as that node raised it.
        """

    def poke(self, address: str) -> None:
        """Tell another node that leases have changed: it shall look now.  May get lost."""
