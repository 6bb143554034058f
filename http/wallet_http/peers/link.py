"""The asking end of one connection: what was asked on it, and who waits for the answer."""

import asyncio
import secrets
from collections.abc import Callable, Sequence

from wallet_engine.errors import DeadlinePassed, InvalidCommand, PeerLost, PeerUnreachable
from wallet_engine.journal import Answer

from .asks import LEFT_MS_MAX, table
from .codec import Item, Unreadable, answer_of, items_of
from .connection import Connection, PeerLimits
from .frames import FRAME_BYTES_MAX, BadFrame, Kind
from .handshake import NONCE_BYTES, ClientHandshake, Credentials

Reply = asyncio.Future[Answer]
Waiting = tuple[str, tuple[object, ...], float, Reply]
"""An ask that is not yet sent: verb, values, deadline in seconds of the event loop, reply."""


class Link(Connection):
    """One connection to another node, on which this node asks.

    `ready` tells when asks may be sent, or that they never may; `over` when all has ended.  `left`
    hears once that no more may be sent: the other node leaves, or is gone; the reason is empty
    where all is in order.
    """

    def __init__(
        self, credentials: Credentials, limits: PeerLimits, left: "Callable[[Link, str], None]"
    ) -> None:
        super().__init__(limits)
        self.ready: asyncio.Future[str] = self.loop.create_future()
        self.over: asyncio.Future[None] = self.loop.create_future()
        self._handshake = ClientHandshake(credentials, secrets.token_bytes(NONCE_BYTES))
        self._token = ""
        self._left: Callable[[Link, str], None] | None = left
        self._number = 0
        self._pending: dict[int, tuple[Reply, float]] = {}
        self._is_begun = False
        self._is_closing = False

    @property
    def in_flight(self) -> int:
        """How many asks were sent, and may still be answered."""
        return len(self._pending)

    @property
    def can_send(self) -> bool:
        """Whether asks may be sent now."""
        return self._left is not None and not self._is_closing and not self.transport.is_closing()

    def ask(self, waiting: Sequence[Waiting]) -> None:
        """Send asks in one frame; of those whose caller has left or is late, none."""
        now_s = self.loop.time()
        items: list[Item] = []
        number = self._number
        for verb, values, deadline_s, reply in waiting:
            if reply.done():
                continue
            left_ms = int((deadline_s - now_s) * 1000)
            if left_ms <= 0:
                reply.set_exception(PeerUnreachable("No time is left to ask another node."))
                continue
            number += 1
            self._pending[number] = (reply, deadline_s)
            items.append((number, min(left_ms, LEFT_MS_MAX), verb, values))
        self._number = number
        if items:
            self.send_items(Kind.ASKS, items, self._not_said)

    def close_when_done(self) -> None:
        """Send no more, and close once all is answered."""
        self._is_closing = True
        self._close_if_done()

    def expire(self, now_s: float) -> None:
        """Give up what has had no answer in time."""
        late = [number for number, (_, due_s) in self._pending.items() if due_s <= now_s]
        for number in late:
            reply, _ = self._pending.pop(number)
            if not reply.done():
                reply.set_exception(DeadlinePassed("Another node has not answered in time."))
        if late:
            self._close_if_done()

    def give_up(self) -> None:
        """End what is not ready."""
        if self._is_begun:
            self.abort("it did not answer in time")

    def begun(self) -> None:
        """Wait for the challenge."""
        self._is_begun = True

    def received(self, kind: Kind, payload: bytes) -> None:
        """See `Connection`."""
        match kind:
            case Kind.ANSWERS if self.ready.done():
                self._hear(payload)
            case Kind.PONG:
                pass
            case Kind.LEAVING if self.ready.done():
                self._leave("")
                self.close_when_done()
            case Kind.CHALLENGE if not self._token:
                self._token, proof = self._handshake.proof(payload)
                self.send(Kind.PROOF, proof)
            case Kind.WELCOME if self._token and not self.ready.done():
                self._handshake.check(payload)
                self.reader.payload_bytes_max = FRAME_BYTES_MAX
                self.send(Kind.TABLE, table())
                self.ready.set_result(self._token)
            case _:
                raise BadFrame(f"{kind.name} is not said to a client, or not now")

    def ticked(self) -> None:
        """Ask for a sign of life."""
        if self.ready.done():
            self.send(Kind.PING)

    def ended(self, reason: str) -> None:
        """See `Connection`; what has no answer now may have been decided."""
        if not self.ready.done():
            told = reason or "it hung up during the handshake: is its secret another one?"
            self.ready.set_exception(PeerUnreachable(told))
            self.ready.exception()  # who connects may have stopped waiting
        pending, self._pending = self._pending, {}
        if not pending and self._is_closing:
            reason = ""
        elif pending and not reason:
            reason = "it hung up"
        for reply, _ in pending.values():
            if not reply.done():
                reply.set_exception(PeerLost(f"Another node was lost: {reason}"))
        self._leave(reason)
        self.over.set_result(None)

    def _hear(self, payload: bytes) -> None:
        for item in items_of(payload):
            found = self._pending.pop(item[0], None)
            if found is None:
                continue  # it came too late
            reply, _ = found
            if reply.done():
                continue  # its caller has left
            try:
                answer = answer_of(item)
            except Unreadable as error:  # a newer node may have words for what only it knows
                reply.set_exception(PeerLost(f"Another node's answer means nothing here: {error}"))
                continue
            if isinstance(answer, Answer):
                reply.set_result(answer)
            else:
                reply.set_exception(answer)
        if self._is_closing:
            self._close_if_done()

    def _not_said(self, item: Item, problem: str) -> None:
        reply, _ = self._pending.pop(item[0])
        reply.set_exception(InvalidCommand("body", f"cannot be sent to another node: {problem}"))

    def _leave(self, reason: str) -> None:
        if self._left is not None:
            left, self._left = self._left, None
            left(self, reason)

    def _close_if_done(self) -> None:
        if self._is_closing and not self._pending:
            self.close()
