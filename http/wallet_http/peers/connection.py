"""What both ends of a connection between nodes do: frames, signs of life, an end with a reason."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from .codec import Item, Unreadable, Unsayable, document_of
from .frames import FRAME_BYTES_MAX, BadFrame, FrameReader, Kind, frame
from .handshake import HandshakeFailed

SILENT_TICKS = 2
"""So many ticks in a row without a sign of life, and the other node is dead or frozen."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """The bounds of the way between nodes; the defaults are meant for production.

    `connect_s`: how long a connection and its handshake may take.
    `tick_s`: how often life is shown and looked for; a dead node is noticed after two to three.
    `in_flight_max`: asks of one channel that have no answer, far more than one node decides in
    the time of a commit.  `buffered_bytes_max`: with more than that unsent, no more is taken.
    `reconnect_s`: between two attempts to connect, at least; up to a second while they fail.
    `channels_max`: other nodes that are asked, or that ask.  `idle_s`: a channel that nobody used
    for so long is closed.
    """

    connect_s: float = 1.0
    reconnect_s: float = 0.1
    tick_s: float = 1.0
    in_flight_max: int = 4096
    buffered_bytes_max: int = 1 << 20
    channels_max: int = 256
    idle_s: float = 60.0


class Connection(asyncio.Protocol):
    """One end of a connection.  It ends once, and `ended` is told why; never by an exception."""

    def __init__(self, limits: PeerLimits) -> None:
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.reader = FrameReader()
        self.is_full = False
        """Whether more is unsent than should be."""
        self.is_over = False
        self._reason = ""
        self._heard = False
        self._silent_ticks = 0
        self._unsent_bytes = 0
        self._ticking: asyncio.TimerHandle | None = None

    # --- for the two ends ---------------------------------------------------------------------

    def begun(self) -> None:
        """Act on the connection being there."""

    def received(self, kind: Kind, payload: bytes) -> None:
        """Act on a frame.

        Raises:
            BadFrame: it cannot be understood, or not now.
            HandshakeFailed: the other side is not to be spoken with.
            Unreadable: what it says cannot be understood.
        """
        raise NotImplementedError

    def ticked(self) -> None:
        """Act on the passing of time."""

    def ended(self, reason: str) -> None:
        """Act on the end; `reason` is empty if all went as it should."""

    # --- what they may do ---------------------------------------------------------------------

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Write a frame, if the connection is still there."""
        if not self.transport.is_closing():
            self.transport.write(frame(kind, payload))

    def send_items(
        self, kind: Kind, items: list[Item], failed: Callable[[Item, str], None]
    ) -> None:
        """Write items in one frame; one that cannot be written is `failed`, the others are not."""
        try:
            document = document_of(items)
            problem = "it is too long" if len(document) > FRAME_BYTES_MAX else ""
        except Unsayable as error:
            document, problem = b"", str(error)
        if not problem:
            self.send(kind, document)
        elif len(items) == 1:
            failed(items[0], problem)
        else:  # seldom, so it need not be quick
            middle = len(items) // 2
            self.send_items(kind, items[:middle], failed)
            self.send_items(kind, items[middle:], failed)

    def close(self) -> None:
        """End in order, once all is sent."""
        self.transport.close()

    def abort(self, reason: str) -> None:
        """End now; the first reason counts."""
        if not self._reason:
            self._reason = reason
            self.transport.abort()

    # --- for the event loop -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's only behaves like one
        self.transport.set_write_buffer_limits(high=self.limits.buffered_bytes_max)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ticking = self.loop.call_later(self.limits.tick_s, self._tick)
        self.begun()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = True
        try:
            for kind, payload in self.reader.feed(data):
                if self._reason:
                    return
                self.received(kind, payload)
        except (BadFrame, HandshakeFailed, Unreadable) as error:
            self.abort(str(error))

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.is_full = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.is_full = False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.is_over = True
        if self._ticking is not None:
            self._ticking.cancel()
        self.ended(self._reason or ("" if exc is None else str(exc)))

    def _tick(self) -> None:
        """Look for a sign of life.

        Ticks are counted, not seconds: a node that stood still itself, and comes back to a full
        socket, must not take the others for dead.  What leaves the buffer is a sign too: while
        it is full, nothing is read.
        """
        self._ticking = self.loop.call_later(self.limits.tick_s, self._tick)
        unsent_bytes = self.transport.get_write_buffer_size()
        alive = self._heard or unsent_bytes < self._unsent_bytes
        self._silent_ticks = 0 if alive else self._silent_ticks + 1
        self._heard, self._unsent_bytes = False, unsent_bytes
        if self._silent_ticks >= SILENT_TICKS:
            self.abort("it shows no sign of life")
        else:
            self.ticked()
