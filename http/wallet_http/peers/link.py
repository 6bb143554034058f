"""The asking end of one connection: what was asked on it, and who waits for the answer."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wallet_engine.commands import Ask
from wallet_engine.errors import DeadlinePassed, InvalidCommand, PeerLost, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_engine.ports import Unheard

from .asks import LEFT_MS_MAX, table
from .codec import CANCELLED, Item, Unreadable, answer_of, document_of, items_of
from .connection import Connection, PeerLimits
from .frames import FRAME_BYTES_MAX, HEARS_CANCELS, BadFrame, Kind
from .handshake import NONCE_BYTES, ClientHandshake, Credentials

Reply = asyncio.Future[Answer]


@dataclass(slots=True, eq=False)
class Asked:
    """An ask on its way, the values that are sent of it, and who waits for it until when.

    Once it is sent it has a `link` and a `number` there.  One whose `reply` is done before the
    answer is there has nobody any more who waits.
    """

    ask: Ask
    values: tuple[object, ...]
    due_s: float
    reply: Reply
    link: "Link | None" = None
    number: int = 0


class Link(Connection):
    """One connection to another node, on which this node asks.

    `ready` tells when asks may be sent, or that they never may; `over` when all has ended.  `left`
    hears once that no more may be sent: the other node leaves, or is gone; the reason is empty
    where all is in order.  `unheard` hears of each answer that comes after its asker has stopped
    waiting, or, without an answer, of the end of the connection before it came; it must not raise.
    """

    def __init__(
        self,
        credentials: Credentials,
        limits: PeerLimits,
        *,
        left: "Callable[[Link, str], None]",
        unheard: Unheard,
    ) -> None:
        super().__init__(limits)
        self.ready: asyncio.Future[str] = self.loop.create_future()
        self.over: asyncio.Future[None] = self.loop.create_future()
        self._handshake = ClientHandshake(credentials, secrets.token_bytes(NONCE_BYTES))
        self._token = ""
        self._left: Callable[[Link, str], None] | None = left
        self._unheard = unheard
        self._number = 0
        self._pending: dict[int, Asked] = {}
        self._cancels: list[int] = []
        self._hears_cancels = False
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

    def ask(self, waiting: Sequence[Asked]) -> None:
        """Send asks in one frame; of those whose caller has left or is late, none."""
        now_s = self.loop.time()
        items: list[Item] = []
        number = self._number
        for asked in waiting:
            if asked.reply.done():
                continue
            left_ms = int((asked.due_s - now_s) * 1000)
            if left_ms <= 0:
                asked.reply.set_exception(PeerUnreachable("No time is left to ask another node."))
                continue
            number += 1
            asked.link, asked.number = self, number
            self._pending[number] = asked
            items.append((number, min(left_ms, LEFT_MS_MAX), asked.ask.verb, asked.values))
        self._number = number
        if items:
            self.send_items(Kind.ASKS, items, self._not_said)

    def call_off(self, number: int) -> None:
        """Tell the other node, with all others of this turn, that nobody waits for this answer.

        The ask stays in mind until it is heard what became of it, or the connection ends.
        """
        if not self._hears_cancels or number not in self._pending:
            return
        if not self._cancels:
            self.loop.call_soon(self._flush_cancels)
        self._cancels.append(number)

    def close_when_done(self) -> None:
        """Send no more, and close once all is answered."""
        self._is_closing = True
        self._close_if_done()

    def expire(self, now_s: float) -> None:
        """Call off what has had no answer in time."""
        for number, asked in self._pending.items():
            if asked.due_s <= now_s and not asked.reply.done():
                asked.reply.set_exception(DeadlinePassed("Another node has not answered in time."))
                self.call_off(number)

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
                self._hears_cancels |= payload.startswith(HEARS_CANCELS)
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
        asked, self._pending = self._pending, {}
        replies = [it.reply for it in asked.values() if not it.reply.done()]
        for it in asked.values():
            if it.reply.done():
                self._unheard(it.ask, None)  # called off, and nobody can know any more
        if not replies and self._is_closing:
            reason = ""
        elif replies and not reason:
            reason = "it hung up"
        for reply in replies:
            reply.set_exception(PeerLost(f"Another node was lost: {reason}"))
        self._leave(reason)
        self.over.set_result(None)

    def _hear(self, payload: bytes) -> None:
        for item in items_of(payload):
            asked = self._pending.pop(item[0], None)
            if asked is None:
                continue  # nobody has asked by this number
            try:
                answer = answer_of(item)
            except Unreadable as error:  # a newer node may have words for what only it knows
                answer = PeerLost(f"Another node's answer means nothing here: {error}")
            if asked.reply.done():  # whoever asked has stopped waiting
                if isinstance(answer, Answer):
                    self._unheard(asked.ask, answer)
                elif isinstance(answer, PeerLost) and item[1] != CANCELLED:
                    self._unheard(asked.ask, None)
            elif isinstance(answer, Answer):
                asked.reply.set_result(answer)
            else:
                asked.reply.set_exception(answer)
        if self._is_closing:
            self._close_if_done()

    def _not_said(self, item: Item, problem: str) -> None:
        reply = self._pending.pop(item[0]).reply
        reply.set_exception(InvalidCommand("body", f"cannot be sent to another node: {problem}"))

    def _flush_cancels(self) -> None:
        """Call off all of this turn; what has been answered since means nothing there."""
        items = [(number,) for number in self._cancels]
        self._cancels.clear()
        self.send(Kind.CANCELS, document_of(items))

    def _leave(self, reason: str) -> None:
        if self._left is not None:
            left, self._left = self._left, None
            left(self, reason)

    def _close_if_done(self) -> None:
        if self._is_closing and not self._pending:
            self.close()
