"""The answering end: asks of other nodes are decided here, and their answers go back together.

If whoever asked says that it has stopped waiting, the one who serves the ask here is cancelled, as
the caller of a node would be; what that means for the decision is not known here.  An ask whose
connection broke is served to its end.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from wallet_engine.commands import Ask
from wallet_engine.errors import Overloaded, PeerLost, PeerUnreachable, WalletError
from wallet_engine.journal import Answer

from .asks import AskReader
from .codec import (
    Item,
    Unreadable,
    answer_item,
    cancelled_item,
    error_item,
    items_of,
    value_of,
)
from .connection import Connection, PeerLimits
from .frames import FRAME_BYTES_MAX, HEARS_CANCELS, BadFrame, Kind
from .handshake import NONCE_BYTES, Credentials, HandshakeFailed, ServerHandshake

Serve = Callable[[Ask, float], Awaitable[Answer]]
"""Decides an ask within so many seconds.  A future that it returns is spared a task.  Either is
cancelled when nobody waits for it any more."""

UNPROVEN_MAX = 64
"""Connections that have not proven anything yet; each has a second for it."""

UNSENT_BYTES_MAX = 4 * FRAME_BYTES_MAX
"""What a node does not read of its answers is kept up to this size; then it is cut off."""

BACKLOG = 128

log = logging.getLogger(__name__)


class PeerServer:
    """Takes the asks of other nodes.  `start`, then `close`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        serve: Serve,
        poked: Callable[[], None],
        host: str,
        port: int,
        limits: PeerLimits | None = None,
    ) -> None:
        self.credentials = credentials
        self.serve = serve
        self.poked = poked
        self.limits = limits or PeerLimits()
        self.sessions: set[Session] = set()
        self.unfinished: set[Session] = set()
        """Those whose other side is gone, but not yet what it asked: nobody else may hold it."""
        self._host = host
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Begin to take asks.

        Raises:
            OSError: the port is in use, or the address is not ours.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Session(self), self._host, self._wanted_port, backlog=BACKLOG
        )

    async def close(self, *, grace_s: float) -> None:
        """Take no more asks, answer those that were taken, for as long as the grace allows."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for session in tuple(self.sessions):
            session.leave()
        try:
            async with asyncio.timeout(grace_s):
                await self._until_empty()
        except TimeoutError:
            for session in tuple(self.sessions):
                session.abort("this node leaves, and has waited long enough")
            await self._until_empty()

    def is_too_crowded(self) -> bool:
        """Whether no more connections are taken."""
        unproven = sum(not session.token for session in self.sessions)
        return unproven >= UNPROVEN_MAX or len(self.sessions) >= self.limits.channels_max

    def gone(self, session: "Session") -> None:
        """Forget a connection that has ended."""
        self.sessions.discard(session)
        if session.is_working:
            self.unfinished.add(session)
        if not self.sessions:
            self._empty.set()

    async def _until_empty(self) -> None:
        while self.sessions:
            self._empty.clear()
            await self._empty.wait()


class Session(Connection):
    """One connection of another node, which asks."""

    def __init__(self, server: PeerServer) -> None:
        super().__init__(server.limits)
        self.token = ""
        """Who asks, once that is proven."""
        self._server = server
        self._handshake = ServerHandshake(server.credentials, secrets.token_bytes(NONCE_BYTES))
        self._hurry: asyncio.TimerHandle | None = None
        self._asks: AskReader | None = None
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._unwanted: set[int] = set()
        """The open ones that were cancelled because nobody waits for them."""
        self._answers: list[Item] = []
        self._is_leaving = False
        self._has_complained = False

    @property
    def is_working(self) -> bool:
        """Whether asks of it are being decided."""
        return bool(self._open)

    def begun(self) -> None:
        """Challenge whoever connected."""
        crowded = self._server.is_too_crowded()
        self._server.sessions.add(self)
        if crowded:
            self.abort("too many connections")
            return
        self.send(Kind.CHALLENGE, self._handshake.challenge())
        self._hurry = self.loop.call_later(
            self.limits.connect_s, self.abort, "it has not proven anything in time"
        )

    def received(self, kind: Kind, payload: bytes) -> None:
        """See `Connection`."""
        if not self.token:
            self._prove(kind, payload)
            return
        match kind:
            case Kind.ASKS:
                self._take(payload)
            case Kind.CANCELS:
                self._cancel(payload)
            case Kind.PING:
                self.send(Kind.PONG)
            case Kind.POKE:
                self._server.poked()
            case Kind.TABLE:
                self._asks = AskReader(value_of(payload))
            case _:
                raise BadFrame(f"{kind.name} is not said to a server")

    def leave(self) -> None:
        """Take no more asks; the other side closes once it has all its answers."""
        if not self.token:
            self.abort("this node leaves")
        self._is_leaving = True
        self.send(Kind.LEAVING)

    def pause_writing(self) -> None:
        """Take no more asks while answers pile up."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Take asks again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def ended(self, reason: str) -> None:
        """See `Connection`; what was taken is decided all the same."""
        if self._hurry is not None:
            self._hurry.cancel()
        self._server.gone(self)
        who = self.token or f"{self.transport.get_extra_info('peername')}, unproven"
        if reason:
            log.warning("The connection from node %s was closed: %s", who, reason)
        elif self.token:
            log.info("Node %s does not ask any more", who)

    def _prove(self, kind: Kind, payload: bytes) -> None:
        if kind is not Kind.PROOF:
            raise HandshakeFailed(f"{kind.name} is said without a proof")
        token, welcome = self._handshake.welcome(payload)
        if self._hurry is not None:
            self._hurry.cancel()
        self.token = token
        self.reader.payload_bytes_max = FRAME_BYTES_MAX
        self.send(Kind.WELCOME, welcome)
        self.send(Kind.PONG, HEARS_CANCELS)
        log.info("Node %s is connected, and may ask", token)

    # --- asks and answers ---------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        if self._asks is None:
            raise BadFrame("asks come before their table")
        for item in items_of(payload):
            number = item[0]
            if number in self._open:
                raise BadFrame(f"ask {number} is open already")
            try:
                if self._is_leaving:
                    raise PeerUnreachable("The other node leaves.")  # noqa: TRY301  # one way of saying no
                if len(self._open) >= self.limits.in_flight_max:
                    raise Overloaded("Too much waits to be decided there.")  # noqa: TRY301  # one way of saying no
                left_s, ask = self._asks.ask(item)
                work = asyncio.ensure_future(self._server.serve(ask, left_s))
            except Unreadable as error:
                self._complain(error)
                self._say(error_item(number, PeerUnreachable("The other node knows no such ask.")))
            except Exception as error:  # noqa: BLE001  # of one ask, which must not hurt the others
                self._say(self._error_item(number, error))
            else:
                self._open[number] = work
                work.add_done_callback(partial(self._decided, number))

    def _cancel(self, payload: bytes) -> None:
        for number, *_ in items_of(payload):
            work = self._open.get(number)
            if work is None or number in self._unwanted:
                continue  # the answer is on its way, or will be
            self._unwanted.add(number)
            work.cancel()

    def _decided(self, number: int, work: "asyncio.Future[Answer]") -> None:
        del self._open[number]
        is_unwanted = number in self._unwanted
        if is_unwanted:
            self._unwanted.remove(number)
        if work.cancelled() and is_unwanted:
            self._say(cancelled_item(number))
        elif work.cancelled():
            self._say(error_item(number, PeerLost("The other node stopped.")))
        elif (error := work.exception()) is not None:
            self._say(self._error_item(number, error))
        else:
            self._say(answer_item(number, work.result()))
        if not self._open:
            self._server.unfinished.discard(self)

    def _error_item(self, number: int, error: BaseException) -> Item:
        if not isinstance(error, WalletError):
            log.error("An ask of node %s failed", self.token, exc_info=error)
        return error_item(number, error)

    def _complain(self, error: Unreadable) -> None:
        if not self._has_complained:  # once for each connection: the nodes' versions differ
            self._has_complained = True
            log.warning("Node %s asks what this node does not know: %s", self.token, error)

    def _say(self, item: Item) -> None:
        """Have an answer go out with all the others of this turn of the event loop."""
        if not self._answers:
            self.loop.call_soon(self._flush)
        self._answers.append(item)

    def _flush(self) -> None:
        items, self._answers = self._answers, []
        if self.is_over:
            return
        self.send_items(Kind.ANSWERS, items, self._not_said)
        if self.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self.abort("it does not read its answers")

    def _not_said(self, item: Item, problem: str) -> None:
        log.error("An answer to node %s cannot be sent: %s", self.token, problem)
        lost = error_item(item[0], PeerLost("Its answer cannot be sent."))
        self.send_items(Kind.ANSWERS, [lost], self._not_said)
