"""How two nodes prove to each other that they know the same secret, before anything else is said.

    server → client   CHALLENGE  version, the server's nonce, its token
    client → server   PROOF      version, the client's nonce, its token, HMAC as client
    server → client   WELCOME    HMAC as server

Each HMAC-SHA256 is over version, role, both nonces and both tokens, so none can be sent again
later, nor be given back to whoever made it.  A server proves nothing to one who has not.

What this does not do: nothing is encrypted, and what follows the handshake is not signed.  Who can
change packets on their way can read and change money.  Run it in a private network.

Pure, but for the nonces, which come in as values.
"""

import hmac
from dataclasses import dataclass, field
from struct import Struct

VERSION = 1
"""Of frames and handshake; what asks may hold is told by the table of asks, and what else a server
understands by its first PONG: nodes of two of these versions cannot speak with each other."""

NONCE_BYTES = 32
SECRET_BYTES_MIN = 16
"""A shorter secret could be guessed by who has seen one handshake."""

TOKEN_BYTES_MAX = 256
MAC_BYTES = 32
HEAD = Struct(f">B{NONCE_BYTES}s")


class HandshakeFailed(Exception):
    """The other side is not to be spoken with; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who this node is (`node_id:boot_id`), and the secret that all nodes share.

    Raises:
        ValueError: one of them cannot be used.
    """

    token: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.token or len(self.token.encode()) > TOKEN_BYTES_MAX:
            raise ValueError(f"a token has 1..{TOKEN_BYTES_MAX} bytes")
        if len(self.secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the secret between nodes needs {SECRET_BYTES_MIN} bytes at least")


class ServerHandshake:
    """The side that was connected to."""

    def __init__(self, credentials: Credentials, nonce: bytes) -> None:
        assert len(nonce) == NONCE_BYTES, "whole"
        self._secret = credentials.secret
        self._hello = _hello(nonce, credentials)

    def challenge(self) -> bytes:
        """Return what is said first."""
        return self._hello

    def welcome(self, proof: bytes) -> tuple[str, bytes]:
        """Return the client's token, and what lets it begin.

        Raises:
            HandshakeFailed: it has not proven that it knows the secret.
        """
        hello, mac = proof[:-MAC_BYTES], proof[-MAC_BYTES:]
        token = _token_of(hello)
        if not hmac.compare_digest(mac, _mac(self._secret, b"client", self._hello, hello)):
            raise HandshakeFailed(f"{token!r} does not know the secret of this node")
        return token, _mac(self._secret, b"server", self._hello, hello)


class ClientHandshake:
    """The side that connects."""

    def __init__(self, credentials: Credentials, nonce: bytes) -> None:
        assert len(nonce) == NONCE_BYTES, "whole"
        self._secret = credentials.secret
        self._hello = _hello(nonce, credentials)
        self._challenge = b""

    def proof(self, challenge: bytes) -> tuple[str, bytes]:
        """Return the server's token, still unproven, and what is said to it.

        Raises:
            HandshakeFailed: it speaks another language.
        """
        token = _token_of(challenge)
        self._challenge = challenge
        return token, self._hello + _mac(self._secret, b"client", challenge, self._hello)

    def check(self, welcome: bytes) -> None:
        """Refuse a server that does not know the secret.

        Raises:
            HandshakeFailed: it does not.
        """
        assert self._challenge, "proof was asked for before"
        expected = _mac(self._secret, b"server", self._challenge, self._hello)
        if not hmac.compare_digest(welcome, expected):
            raise HandshakeFailed("the other node does not know the secret of this node")


def _hello(nonce: bytes, credentials: Credentials) -> bytes:
    return HEAD.pack(VERSION, nonce) + credentials.token.encode()


def _token_of(hello: bytes) -> str:
    if not HEAD.size < len(hello) <= HEAD.size + TOKEN_BYTES_MAX:
        raise HandshakeFailed("what it says is no handshake")
    if hello[0] != VERSION:
        raise HandshakeFailed(f"it speaks version {hello[0]} of this protocol, not {VERSION}")
    try:
        return hello[HEAD.size :].decode()
    except UnicodeDecodeError:
        raise HandshakeFailed("what it says is no handshake") from None


def _mac(secret: bytes, role: bytes, server: bytes, client: bytes) -> bytes:
    """Sign both sides' words; the lengths in front keep one from being read as part of another."""
    told = b"".join(len(part).to_bytes(2) + part for part in (role, server, client))
    return hmac.digest(secret, b"wallet peers" + told, "sha256")
