"""How the bytes between two nodes are cut into messages: a length, a kind, a payload.

Pure: bytes in, frames out.  Nothing longer than the limit is ever held.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

HEAD = Struct(">IB")
"""Length of the payload, and its kind."""

HANDSHAKE_BYTES_MAX = 512
"""The longest payload of one who has not proven anything: two nonces and a token take less."""

FRAME_BYTES_MAX = 8 << 20
"""The longest payload between nodes: the picture of a wallet with twenty thousand live calls."""


class Kind(IntEnum):
    """What a frame holds."""

    CHALLENGE = 1
    PROOF = 2
    WELCOME = 3
    TABLE = 4
    ASKS = 5
    ANSWERS = 6
    PING = 7
    PONG = 8
    POKE = 9
    LEAVING = 10
    CANCELS = 11


HEARS_CANCELS = b"\x01"
"""What a server says by its first PONG if it understands CANCELS; an older client does not read
it.  It may say more behind it one day.  To an older server, none are sent: it would hang up."""

KINDS = {int(kind): kind for kind in Kind}

Frame = tuple[Kind, bytes]


class BadFrame(Exception):
    """These bytes are no frame; the text says why."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return HEAD.pack(len(payload), kind) + payload


class FrameReader:
    """Cuts what arrives into frames; `payload_bytes_max` may be raised once the other is known."""

    def __init__(self) -> None:
        self.payload_bytes_max = HANDSHAKE_BYTES_MAX
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what has arrived, and yield the frames that are whole by now.

        Raises:
            BadFrame: it is no frame, or one that is too long; the rest cannot be understood.
        """
        came: bytes | bytearray = data
        if self._rest:  # grown in place: a long frame comes in many pieces
            self._rest += data
            came = self._rest
        at, end = 0, len(came)
        while end - at >= HEAD.size:
            length, number = HEAD.unpack_from(came, at)
            kind = KINDS.get(number)
            if kind is None:
                raise BadFrame(f"there is no frame of kind {number}")
            if length > self.payload_bytes_max:
                raise BadFrame(f"a frame of {length} bytes is too long")
            first = at + HEAD.size
            if end - first < length:
                break
            at = first + length
            yield kind, bytes(came[first:at])
        if at or came is data:
            self._rest = bytearray(came[at:])
