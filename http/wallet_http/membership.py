"""A node's place among others: it listens for their asks, keeps its leases, and leaves in order.

A node that starts while the leases cannot be reached takes part in nothing: it owns no wallet,
knows no other node, and is not ready.  It listens all the same, so that `/health` says why, and
joins by itself once they answer.  Were it ready, a deployment during an outage of Redis would go
on, and replace nodes that work by nodes that cannot.  A node that has joined stays ready.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from wallet_engine.cluster.ownership import Ownership
from wallet_engine.cluster.router import Neighbours, Router
from wallet_engine.commands import Ask
from wallet_engine.errors import LeasesUnavailable
from wallet_engine.journal import Answer
from wallet_engine.node import Node
from wallet_engine.ports import Leases, LeaseView

from .peers import Credentials, PeerServer, TcpPeers

JOIN_S = 2.0
"""How long a start waits for the first look at the leases; after that they are looked at again and
again, but the node listens, so that it can be asked what it lacks."""

LINGER_S = 0.3
"""How long a node that has handed everything over still answers, and passes on, what comes late:
others were told, and look at the leases within milliseconds."""

PEERS_GRACE_S = 3.0
"""How long what other nodes asked may take to be answered when this node ends."""

LEASE_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux has two: its CLOCK_MONOTONIC stands still while the machine is suspended."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a node listens for others, and what they need to know; an empty address: the same."""

    host: str
    port: int
    address: str
    secret: bytes = field(repr=False)


class Membership:
    """One node among others.  `listen`, `join`, `hand_over`, `leave`, `close`, in this order.

    Made within a running event loop.  What was not begun need not be ended.
    """

    def __init__(self, *, node: Node, leases: Leases, where: Where) -> None:
        self.token = f"{node.node_id}:{node.boot_id}"
        self.address = where.address
        self.ownership: Ownership
        self._node = node
        self._leases = _Watched(leases)
        self._where = where
        credentials = Credentials(token=self.token, secret=where.secret)
        self._peers = TcpPeers(credentials)
        self._neighbours = Neighbours(node=node, peers=self._peers)
        self._server = PeerServer(
            credentials,
            serve=self._serve,
            poked=self._poked,
            host=where.host,
            port=where.port,
        )
        self._router: Router
        self._keeping: asyncio.Task[None] | None = None
        self._has_left = False

    # --- questions ----------------------------------------------------------------------------

    @property
    def has_joined(self) -> bool:
        """Whether this node has ever seen the leases."""
        return self._leases.seen.is_set()

    @property
    def problem(self) -> str:
        """Why the leases cannot be reached; empty: they can."""
        return self._leases.problem

    # --- living -------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Listen for other nodes, and take the wallets out of the hands of a node that is alone.

        Raises:
            OSError: the port is in use, or the address is not ours.
        """
        await self._server.start()
        if not self.address:
            host = f"[{self._where.host}]" if ":" in self._where.host else self._where.host
            self.address = f"{host}:{self._server.port}"
        node = self._node
        self.ownership = self._neighbours.ownership = Ownership(
            token=self.token,
            address=self.address,
            leases=self._leases,
            neighbourhood=self._neighbours,
            now_s=_lease_time_s,
        )
        self._router = Router(node=node, ownership=self.ownership, peers=self._peers)
        self._peers.unheard = self._router.unheard
        node.ownership, node.reach = self.ownership, self._router.ask

    async def join(self) -> None:
        """Begin to keep leases, and wait until they were seen, but not for ever."""
        self._keeping = asyncio.create_task(self.ownership.run(), name="wallet-leases")
        try:
            async with asyncio.timeout(JOIN_S):
                await self._leases.seen.wait()
        except TimeoutError:
            log.warning(
                "The leases cannot be reached, so this node owns nothing and is not ready: %s",
                self.problem or "no answer yet",
            )
        else:
            log.info("Joined as %s, found at %s", self.token, self.address)

    async def hand_over(self) -> None:
        """Give the wallets to other nodes, and pass on for a moment what still comes for them.

        Where no other node stays, nothing happens: what is open is decided here to the end.
        """
        if self._keeping is None or len(self.ownership.nodes) <= 1:
            return
        if await self._leave(alone_too=False):
            await asyncio.sleep(LINGER_S)

    async def leave(self) -> None:
        """Take part no longer: what was not handed over is free, and nobody may ask any more.

        What others asked before is answered.
        """
        if self._keeping is not None:
            await self._leave(alone_too=True)
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._server.close(grace_s=PEERS_GRACE_S)

    async def close(self) -> None:
        """Ask other nodes nothing more, once the wallets of this one are at rest."""
        await self._server.close(grace_s=0)  # it is closed, unless the start failed
        await self._peers.close(grace_s=PEERS_GRACE_S)

    def _serve(self, ask: Ask, timeout_s: float) -> Coroutine[None, None, Answer]:
        return self._router.serve(ask, timeout_s)

    def _poked(self) -> None:
        self.ownership.look_now()

    async def _leave(self, *, alone_too: bool) -> bool:
        """Leave, once.  False: nobody else stays, so nothing was handed over."""
        if not self._has_left:
            log.info("This node leaves, and hands over %d shards", len(self.ownership.shards))
            self._has_left = await self.ownership.leave(alone_too=alone_too)
        return self._has_left


def _lease_time_s() -> float:
    """Read a clock that goes on while the machine is suspended, as those of others do."""
    return time.clock_gettime(LEASE_CLOCK)


class _Watched:
    """Leases that remember how the last look at them went.  Implements `ports.Leases`."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.seen = asyncio.Event()
        self.problem = ""

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
        """See `ports.Leases`."""
        try:
            view = await self._leases.renew(
                token=token, address=address, ttl_ms=ttl_ms, want=want, give=give, call=call
            )
        except LeasesUnavailable as error:
            self.problem = str(error)
            raise
        self.problem = ""
        self.seen.set()
        return view

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        """See `ports.Leases`."""
        await self._leases.leave(token=token, give=give)
