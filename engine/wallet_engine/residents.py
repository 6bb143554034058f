"""The wallets in memory: who is here, who is known not to exist, who must leave.

The least recently used leave first, and only those that are idle and hold nothing: a live
call needs its wallet.  What a resting wallet remembers of its journal is dropped.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from .actor import WalletActor
from .errors import NotMine, Overloaded, UnknownOrg
from .mailbox import Phase
from .sharding import shard_of

if TYPE_CHECKING:
    from .node import Node

REST_BATCH = 500
"""How many wallets a tick looks at, whether they may forget what the journal knows."""

EVICT_LOOKS = 100
"""How many wallets are looked at for one that may leave."""

WELCOME_S = -1.0
"""Marks an org that was just created, where others have the end of being unknown."""


NOBODY = ("", 0.0)


class Residents:
    """The actors of one node, by org."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._actors: OrderedDict[str, WalletActor] = OrderedDict()
        self._unknown: dict[str, float] = {}
        self._elsewhere: dict[str, tuple[str, float]] = {}
        self._remembering: dict[WalletActor, None] = {}

    def __len__(self) -> int:
        """How many wallets are in memory."""
        return len(self._actors)

    def __iter__(self) -> Iterator[WalletActor]:
        """Go through a copy: wallets may come and go meanwhile."""
        return iter(list(self._actors.values()))

    def get(self, org_id: str) -> WalletActor | None:
        """Return the actor of a wallet that is in memory."""
        return self._actors.get(org_id)

    def use(self, org_id: str, now_s: float) -> WalletActor:
        """Return the actor of a wallet, loading it if need be.

        Raises:
            NotMine: the wallet is another node's.
            UnknownOrg: there is no such wallet, as was found a moment ago.
            Overloaded: too many wallets are in use, or too much waits in this one.
        """
        actor = self._actors.get(org_id)
        if actor is None:
            if not (ownership := self._node.ownership).owns(shard := shard_of(org_id)):
                raise NotMine(ownership.holder(shard))
            boot, until_s = self._elsewhere.get(org_id, NOBODY)
            if now_s < until_s and (rival := ownership.rival(boot)):
                raise NotMine(rival)
            if now_s < self._unknown.get(org_id, 0.0):
                raise UnknownOrg(org_id)
            actor = self.awake(org_id, urgent=True)
            if actor is None:
                raise Overloaded("Too many wallets are in use on this node.")
        else:
            limits = self._node.limits
            self._actors.move_to_end(org_id)
            if (
                actor.waiting >= limits.mailbox_per_wallet
                or len(actor.pending) >= limits.undurable_per_wallet
            ):
                raise Overloaded("Too much waits in this wallet already.")
            if actor.phase is Phase.LOADING:
                self._node.activator.request(actor, urgent=True)
        actor.used_s = now_s
        return actor

    def awake(self, org_id: str, *, urgent: bool) -> WalletActor | None:
        """Return the actor of a wallet, new if need be; None: there is no room."""
        actor = self._actors.get(org_id)
        if actor is not None:
            return actor
        if len(self._actors) >= self._node.limits.wallets_max and not self._evict():
            return None
        actor = self._actors[org_id] = WalletActor(org_id, self._node)
        self._node.activator.request(actor, urgent=urgent)
        return actor

    def leave(self, actor: WalletActor) -> None:
        """Let an actor leave memory."""
        actor.phase = Phase.GONE
        if self._actors.get(actor.org_id) is actor:
            del self._actors[actor.org_id]

    def clear(self) -> dict[str, int]:
        """Let all leave; return whose wallets they were, and the epoch of each."""
        loaded = {it.org_id: it.wallet.epoch for it in self._actors.values() if it.wallet}
        self._actors.clear()
        return loaded

    def elsewhere(self, org_id: str, boot: str, until_s: float) -> None:
        """Another node has a wallet of ours until then: whoever asks is sent there."""
        if len(self._elsewhere) >= self._node.limits.unknown_max:
            self._elsewhere.clear()
        self._elsewhere[org_id] = boot, until_s

    def not_elsewhere(self, org_id: str) -> None:
        """Whoever was asked in our stead does not have the wallet, or cannot be asked."""
        self._elsewhere.pop(org_id, None)

    def unknown(self, org_id: str, now_s: float) -> None:
        """Remember briefly that there is no such org, so that asking again costs nothing."""
        if self._unknown.get(org_id) != WELCOME_S:
            self._mark(org_id, now_s + self._node.limits.unknown_s)

    def welcome(self, org_id: str) -> None:
        """An org was created: whoever is being told otherwise just now must not be believed."""
        self._mark(org_id, WELCOME_S)

    def _mark(self, org_id: str, until_s: float) -> None:
        if len(self._unknown) >= self._node.limits.unknown_max:
            self._unknown.clear()
        self._unknown[org_id] = until_s

    def remembers(self, actor: WalletActor) -> None:
        """Note that `actor` remembers something that it may forget when it rests."""
        self._remembering[actor] = None

    @property
    def any_remembers(self) -> bool:
        """Whether a wallet remembers something that it may forget when it rests."""
        return bool(self._remembering)

    def rest(self, now_s: float) -> None:
        """Let wallets that are not used just now forget what the journal knows."""
        for actor in list(islice(self._remembering, REST_BATCH)):
            del self._remembering[actor]
            if actor.phase is Phase.GONE:
                continue
            if actor.idle and now_s - actor.used_s >= self._node.limits.idle_s:
                actor.memory.shrink()
            else:
                self._remembering[actor] = None

    def _evict(self) -> bool:
        """Make room; those in the way go to the end of the queue: their live calls use them."""
        for org_id in list(islice(self._actors, EVICT_LOOKS)):
            actor = self._actors[org_id]
            if actor.idle and not actor.holds_anything:
                self.leave(actor)
                return True
            self._actors.move_to_end(org_id)
        return False
