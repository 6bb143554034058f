"""The port `Peers` over TCP: a channel for each node that is asked."""

import asyncio
import logging

from wallet_engine.commands import Ask
from wallet_engine.errors import PeerUnreachable
from wallet_engine.journal import Answer
from wallet_engine.ports import Unheard

from .asks import AskWriter
from .channel import Channel
from .connection import PeerLimits
from .handshake import Credentials
from .link import Asked

LOOK_S = 0.1
"""How often is looked for asks whose deadline has passed: their owners answer them on time, so
this is only for those who do not."""

log = logging.getLogger(__name__)


def nobody(_ask: Ask, _answer: Answer | None) -> None:
    """Let an answer that nobody waits for be."""


class TcpPeers:
    """Asks other nodes, on one connection each.  Made within a running event loop.

    It is `wallet_engine.ports.cluster.Peers`.  `unheard` may also be set later, by whoever needs
    these peers first.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        limits: PeerLimits | None = None,
        unheard: Unheard = nobody,
    ) -> None:
        self.unheard = unheard
        """Hears once of each answer that came after its asker had stopped waiting."""
        self._credentials = credentials
        self._limits = limits or PeerLimits()
        self._loop = asyncio.get_running_loop()
        self._writer = AskWriter()
        self._channels: dict[str, Channel] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def ask(self, address: str, ask: Ask, *, timeout_s: float) -> Answer:
        """See `Peers.ask`.

        If the caller is cancelled, or its time is up, whoever serves the ask there is cancelled;
        an answer that comes in spite of it goes to `unheard`.  What was not sent yet is not sent.

        Raises:
            DeadlinePassed: it was sent, and has no answer within `timeout_s`.
        """
        asked = self._channel(address).post(ask, timeout_s)
        try:
            return await asked.reply
        except asyncio.CancelledError:
            self._stopped_waiting(asked)
            raise

    def poke(self, address: str) -> None:
        """See `Peers.poke`."""
        try:
            self._channel(address).poke()
        except PeerUnreachable:
            return

    async def close(self, *, grace_s: float) -> None:
        """Take no more asks, hear the answers of those that were sent, and close."""
        self._is_closed = True
        closing = [channel.close(grace_s=grace_s) for channel in self._channels.values()]
        await asyncio.gather(*closing, *self._retired)
        self._channels.clear()
        if self._looking is not None:
            self._looking.cancel()

    def _channel(self, address: str) -> Channel:
        channel = self._channels.get(address)
        if channel is not None:
            return channel
        if self._is_closed:
            raise PeerUnreachable("This node stops.")
        if len(self._channels) >= self._limits.channels_max:
            raise PeerUnreachable("Too many other nodes.")
        channel = Channel(
            address, self._credentials, self._limits, writer=self._writer, unheard=self._unheard
        )
        self._channels[address] = channel
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)
        return channel

    def _stopped_waiting(self, asked: Asked) -> None:
        """Its caller was cancelled, perhaps in the very turn in which it was answered."""
        reply = asked.reply
        if reply.cancelled():
            if asked.link is not None:
                asked.link.call_off(asked.number)
        elif reply.exception() is None:
            self._unheard(asked.ask, reply.result())

    def _unheard(self, ask: Ask, answer: Answer | None) -> None:
        try:
            self.unheard(ask, answer)
        except Exception:  # of one ask, which must not hurt the others
            log.exception("An answer to %s that nobody waits for met a bug", ask.verb)

    def _look(self) -> None:
        now_s = self._loop.time()
        idle = [address for address, channel in self._channels.items() if channel.look(now_s)]
        if self._is_closed:
            idle = []  # they are closing already
        for address in idle:
            channel = self._channels.pop(address)
            task = self._loop.create_task(channel.close(grace_s=self._limits.connect_s))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        self._looking = self._loop.call_later(LOOK_S, self._look) if self._channels else None
