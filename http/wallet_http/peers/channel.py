"""The way to one other node: a connection once there is something to ask, a new one if it broke."""

import asyncio
import logging

from wallet_engine.backoff import Backoff
from wallet_engine.commands import Ask
from wallet_engine.errors import PeerUnreachable
from wallet_engine.journal import Answer
from wallet_engine.ports import Unheard

from .asks import AskWriter
from .connection import PeerLimits
from .frames import Kind
from .handshake import Credentials
from .link import Asked, Link

PORT_MAX = 65_535

log = logging.getLogger(__name__)


class Channel:
    """Sends asks to one address.  Those of one turn of the event loop travel together."""

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        limits: PeerLimits,
        *,
        writer: AskWriter,
        unheard: Unheard,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._limits = limits
        self._writer = writer
        self._unheard = unheard
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._leaving: set[Link] = set()
        self._opening: asyncio.Task[None] | None = None
        self._outbox: list[Asked] = []
        self._is_poking = False
        self._is_closed = False
        self._backoff = Backoff()
        self._not_before_s = 0.0
        self._used_s = self._loop.time()
        self._problem = ""

    def post(self, ask: Ask, timeout_s: float) -> Asked:
        """Take an ask, and return it with the reply where its answer will be.

        Raises:
            PeerUnreachable: it is not sent: the bound is reached, or nobody is there.
        """
        link = self._link
        sent = 0 if link is None else link.in_flight
        if sent + len(self._outbox) >= self._limits.in_flight_max:
            raise PeerUnreachable(f"Too much waits for the node at {self._address}.")
        if link is not None and link.is_full:
            raise PeerUnreachable(f"The node at {self._address} does not read what it is asked.")
        if link is None:
            self._connect()
        elif not self._outbox:
            self._loop.call_soon(self._flush)
        now_s = self._used_s = self._loop.time()
        reply: asyncio.Future[Answer] = self._loop.create_future()
        asked = Asked(ask, self._writer.values(ask), now_s + timeout_s, reply)
        self._outbox.append(asked)
        return asked

    def poke(self) -> None:
        """Say that leases have changed, once there is a connection."""
        self._used_s = self._loop.time()
        if self._link is not None:
            self._link.send(Kind.POKE)
            return
        try:
            self._connect()
        except PeerUnreachable:
            return
        self._is_poking = True

    def look(self, now_s: float) -> bool:
        """Give up what is late; return whether the channel is of no more use."""
        for asked in self._outbox:
            if asked.due_s <= now_s and not asked.reply.done():
                asked.reply.set_exception(PeerUnreachable("Another node was not reached in time."))
        links = self._links()
        for link in links:
            link.expire(now_s)
        if self._opening is not None or any(link.in_flight for link in links):
            return False
        return now_s - self._used_s > self._limits.idle_s

    async def close(self, *, grace_s: float) -> None:
        """Take no more asks, hear the answers of those that were sent, and close."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        self._fail("This node stops.")
        links = self._links()
        for link in links:
            link.close_when_done()
        if not links:
            return
        _, late = await asyncio.wait([link.over for link in links], timeout=grace_s)
        if late:
            for link in links:
                link.abort("this node stops, and has waited long enough")
            await asyncio.wait(late)

    def _links(self) -> list[Link]:
        return [*self._leaving, *([] if self._link is None else [self._link])]

    def _flush(self) -> None:
        """Send all that was posted in this turn."""
        link = self._link
        if link is None:
            return  # lost since; whatever waits, waits for the next connection
        if not link.can_send:
            self._fail(f"The node at {self._address} is gone.")
            return
        outbox, self._outbox = self._outbox, []
        link.ask(outbox)

    def _fail(self, text: str) -> None:
        """Tell those whose asks were not sent."""
        outbox, self._outbox = self._outbox, []
        for asked in outbox:
            if not asked.reply.done():
                asked.reply.set_exception(PeerUnreachable(text))

    # --- connecting ---------------------------------------------------------------------------

    def _connect(self) -> None:
        """Begin to connect, unless that is under way.

        Raises:
            PeerUnreachable: it was in vain a moment ago.
        """
        if self._is_closed:
            raise PeerUnreachable("This node stops.")
        if self._opening is not None:
            return
        now_s = self._loop.time()
        if now_s < self._not_before_s:
            raise PeerUnreachable(f"The node at {self._address} cannot be reached.")
        self._not_before_s = now_s + self._limits.reconnect_s
        self._opening = self._loop.create_task(self._open(), name=f"wallet-peer-{self._address}")

    async def _open(self) -> None:
        link = Link(self._credentials, self._limits, left=self._left, unheard=self._unheard)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                host, port = _host_and_port(self._address)
                await self._loop.create_connection(lambda: link, host, port)
                token = await link.ready
        except (OSError, ValueError, PeerUnreachable) as error:  # a time-out is an OSError
            link.give_up()
            self._report(str(error) or "it did not answer in time")
            self._fail(f"The node at {self._address} cannot be reached.")
        except asyncio.CancelledError:
            link.give_up()
            raise
        else:
            if link.can_send:
                log.info("Node %s at %s can be asked", token, self._address)
                self._use(link)
            else:
                self._fail(f"The node at {self._address} is gone.")
        finally:
            self._opening = None

    def _use(self, link: Link) -> None:
        self._problem = ""
        self._link = link
        self._backoff.reset()
        if self._is_poking:
            self._is_poking = False
            link.send(Kind.POKE)
        self._flush()

    def _left(self, link: Link, reason: str) -> None:
        """Use `link` no more: its node leaves, or is gone."""
        if link is not self._link:
            return
        self._link = None
        if not link.is_over:
            self._leaving.add(link)
            link.over.add_done_callback(lambda _: self._leaving.discard(link))
        if reason:
            log.warning("The node at %s was lost: %s", self._address, reason)
        self._fail(f"The node at {self._address} is gone.")

    def _report(self, problem: str) -> None:
        """Log why there is no way, once until there is one or the reason is another."""
        wait_s = max(self._limits.reconnect_s, self._backoff.wait_s())
        self._not_before_s = self._loop.time() + wait_s
        self._is_poking = False
        if problem != self._problem:
            self._problem = problem
            log.warning("The node at %s cannot be asked: %s", self._address, problem)


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise ValueError(f"{address!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
