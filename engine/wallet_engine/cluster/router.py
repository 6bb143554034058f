"""The router: an ask goes to whoever owns its wallet, and callers need not know where that is.

Who is asked first is a hint.  A node that is not the owner says who is, as far as it knows; so
every wrong turn teaches this node.
"""

import asyncio
import logging
import math
from collections.abc import Collection, Mapping

from wallet_engine.commands import Ask, Reserve
from wallet_engine.errors import (
    DeadlinePassed,
    NotMine,
    OwnerUnreachable,
    PeerLost,
    PeerUnreachable,
)
from wallet_engine.journal import Answer, Outcome
from wallet_engine.node import Node
from wallet_engine.ports import Peers
from wallet_engine.sharding import shard_of
from wallet_engine.unwanted import release_of

from .ownership import Ownership

log = logging.getLogger(__name__)

HOPS_MAX = 2
"""After so many wrong turns in a row the leases are looked at before the next."""

PASSING_MAX = 1000
"""So many asks of other nodes are passed on at a time: were two nodes to pass one to and fro, it
would end here."""

PAUSE_S = 0.025
"""How long to wait where nobody owns the wallet just now: a hand-over takes some milliseconds."""

QUANTUM_S = 0.25
"""Time-outs from other nodes are rounded up to this: the engine watches equal ones in one line."""


class Router:
    """Asks this node or another one, for as long as the asker waits."""

    def __init__(self, *, node: Node, ownership: Ownership, peers: Peers) -> None:
        self._node = node
        self._ownership = ownership
        self._peers = peers
        self._unreachable: set[str] = set()
        self._passing = 0

    async def ask(self, ask: Ask, *, timeout_s: float) -> Answer:
        """See `Node.ask`."""
        node = self._node
        until_s = node.loop_time() + timeout_s
        try:
            return await node.decide(ask, timeout_s=timeout_s)
        except NotMine as error:
            owner = error.owner
        return await self._elsewhere(ask, owner, until_s)

    async def serve(self, ask: Ask, timeout_s: float) -> Answer:
        """Answer another node's ask.  A wallet of ours that a rival has is asked of that one.

        Raises:
            NotMine: the wallet is not here.
            WalletError: as `Node.decide`.
        """
        until_s = self._node.loop_time() + timeout_s
        quanta_s = math.ceil(timeout_s / QUANTUM_S) * QUANTUM_S
        try:
            return await self._node.decide(ask, timeout_s=quanta_s)
        except NotMine as error:
            ours = self._ownership.owns(shard_of(ask.org_id))
            if not ours or not error.owner or self._passing >= PASSING_MAX:
                raise
            owner = error.owner
        self._passing += 1
        try:
            return await self._elsewhere(ask, owner, until_s)
        finally:
            self._passing -= 1

    def unheard(self, ask: Ask, answer: Answer | None) -> None:
        """Whoever asked another node has stopped waiting, and may be answered yes: see `Peers`."""
        if answer is None or answer.outcome in (Outcome.CREATED, Outcome.REPEATED):
            self._give_back(ask)

    def _give_back(self, ask: Ask) -> None:
        """Whoever asked was told no: the hold that there may be is given back."""
        if isinstance(ask, Reserve) and ask.give_back:
            self._node.shards.errand(release_of(ask.org_id, ask.call_id, unheard=ask.attempt))

    async def _elsewhere(self, ask: Ask, owner: str, until_s: float) -> Answer:
        """Find out who owns the wallet, and ask there, until the time is up."""
        node, ownership = self._node, self._ownership
        shard = shard_of(ask.org_id)
        hops = 0
        while (left_s := until_s - node.loop_time()) > 0:
            address = ownership.address(owner)
            try:
                if owner == ownership.token:
                    return await node.decide(ask, timeout_s=left_s)
                if address:
                    answer = await self._peers.ask(address, ask, timeout_s=left_s)
                    node.stats.forwarded("answered")
                    self._unreachable.discard(owner)
                    return answer
            except NotMine as error:
                node.stats.forwarded("not_mine")
                node.residents.not_elsewhere(ask.org_id)
                hops += 1
                owner = error.owner if error.owner != owner else ""
                if owner and hops < HOPS_MAX:
                    continue
            except PeerUnreachable as error:
                node.stats.forwarded("unreachable")
                node.residents.not_elsewhere(ask.org_id)
                if owner not in self._unreachable:
                    self._unreachable = {owner} | self._unreachable & ownership.nodes.keys()
                    log.warning("%s cannot be asked: %s", owner, error)
            except PeerLost:
                node.stats.forwarded("lost")
                node.residents.not_elsewhere(ask.org_id)
                self._give_back(ask)
                raise DeadlinePassed("The wallet's node gave no answer; a retry tells.") from None
            ownership.look_now()
            await asyncio.sleep(min(PAUSE_S, left_s))
            owner, hops = ownership.holder(shard), 0
            if ownership.owns(shard):
                owner = ownership.token
        raise OwnerUnreachable("The node that owns this wallet cannot be asked now.")


class Neighbours:
    """Tells the node which shards come and go, and other nodes that they shall look."""

    def __init__(self, *, node: Node, peers: Peers) -> None:
        self._node = node
        self._peers = peers
        self.ownership: Ownership

    def gained(self, shards: Collection[int]) -> None:
        """See `ownership.Neighbourhood`."""
        self._node.shards.gained(shards)

    def lost(self, shards: Mapping[int, str]) -> None:
        """See `ownership.Neighbourhood`."""
        self._node.shards.lost(shards)

    def poke(self, token: str) -> None:
        """See `ownership.Neighbourhood`."""
        if address := self.ownership.nodes.get(token):
            self._peers.poke(address)
