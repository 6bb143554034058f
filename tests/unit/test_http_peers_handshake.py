"""Two nodes prove to each other that they know the same secret; nobody else can."""

import pytest

from wallet_http.peers.handshake import (
    MAC_BYTES,
    NONCE_BYTES,
    SECRET_BYTES_MIN,
    TOKEN_BYTES_MAX,
    VERSION,
    ClientHandshake,
    Credentials,
    HandshakeFailed,
    ServerHandshake,
)

SECRET = b"known to all nodes of one cluster"


def client(*, secret: bytes = SECRET, nonce: int = 1) -> ClientHandshake:
    return ClientHandshake(Credentials(token="a:1", secret=secret), bytes([nonce]) * NONCE_BYTES)


def server(*, secret: bytes = SECRET, nonce: int = 2, name: str = "b:1") -> ServerHandshake:
    return ServerHandshake(Credentials(token=name, secret=secret), bytes([nonce]) * NONCE_BYTES)


def test_both_know_the_secret() -> None:
    """Each learns who the other is."""
    asking, answering = client(), server()
    told, proof = asking.proof(answering.challenge())
    proven, welcome = answering.welcome(proof)
    asking.check(welcome)

    assert (told, proven) == ("b:1", "a:1")


def test_a_client_without_the_secret_is_refused() -> None:
    """And is told nothing that it could learn from."""
    _, proof = client(secret=b"x" * SECRET_BYTES_MIN).proof(server().challenge())

    with pytest.raises(HandshakeFailed, match="'a:1' does not know"):
        server().welcome(proof)


def test_a_server_without_the_secret_is_refused() -> None:
    """It is asked nothing."""
    asking = client()
    asking.proof(server().challenge())
    _, proof = client(secret=b"x" * SECRET_BYTES_MIN).proof(server().challenge())
    _, welcome = server(secret=b"x" * SECRET_BYTES_MIN).welcome(proof)

    with pytest.raises(HandshakeFailed, match="does not know"):
        asking.check(welcome)


def test_a_proof_cannot_be_sent_again() -> None:
    """It is an answer to one challenge, and each connection has another."""
    _, proof = client().proof(server(nonce=2).challenge())

    assert server(nonce=2).welcome(proof)
    with pytest.raises(HandshakeFailed):
        server(nonce=3).welcome(proof)


def test_a_welcome_cannot_be_sent_again() -> None:
    """It is for one client's nonce."""
    earlier, later = client(nonce=1), client(nonce=3)
    _, proof = earlier.proof(server().challenge())
    _, welcome = server().welcome(proof)
    later.proof(server().challenge())

    earlier.check(welcome)
    with pytest.raises(HandshakeFailed):
        later.check(welcome)


def test_a_proof_cannot_be_given_back() -> None:
    """Who reflects all that a node says passes neither as a client nor as a server."""
    asking = client()
    _, proof = asking.proof(server().challenge())

    with pytest.raises(HandshakeFailed):
        asking.check(proof[-MAC_BYTES:])


@pytest.mark.parametrize("at", [0, 1, NONCE_BYTES, NONCE_BYTES + 1, -MAC_BYTES, -1])
def test_nothing_of_a_proof_can_be_changed(at: int) -> None:
    """Neither version nor nonce, token or signature."""
    _, proof = client().proof(server().challenge())
    changed = bytearray(proof)
    changed[at] ^= 1

    with pytest.raises(HandshakeFailed):
        server().welcome(bytes(changed))


def test_nothing_of_a_challenge_can_be_changed() -> None:
    """A client that was told another server's name has proven nothing to this one."""
    _, proof = client().proof(server(name="c:1").challenge())

    with pytest.raises(HandshakeFailed):
        server(name="b:1").welcome(proof)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes([VERSION]),
        bytes([VERSION]) + bytes(NONCE_BYTES),
        bytes([VERSION]) + bytes(NONCE_BYTES) + b"\xff",
        bytes([VERSION]) + bytes(NONCE_BYTES) + b"x" * (TOKEN_BYTES_MAX + 1),
    ],
)
def test_what_is_no_handshake_is_refused(said: bytes) -> None:
    """By either side, whatever it is."""
    with pytest.raises(HandshakeFailed):
        client().proof(said)
    with pytest.raises(HandshakeFailed):
        server().welcome(said + bytes(MAC_BYTES))
    with pytest.raises(HandshakeFailed):
        server().welcome(said)


def test_another_version_is_named() -> None:
    """Whoever looks into the log sees what is to be done."""
    said = bytes([VERSION + 1]) + server().challenge()[1:]

    with pytest.raises(HandshakeFailed, match=f"version {VERSION + 1}"):
        client().proof(said)


@pytest.mark.parametrize(
    ("token", "secret"),
    [
        ("", SECRET),
        ("x" * (TOKEN_BYTES_MAX + 1), SECRET),
        ("a:1", b""),
        ("a:1", b"x" * (SECRET_BYTES_MIN - 1)),
    ],
)
def test_credentials_that_would_not_do_are_refused(token: str, secret: bytes) -> None:
    """An empty secret would let everybody in."""
    with pytest.raises(ValueError, match=r"token|secret"):
        Credentials(token=token, secret=secret)


def test_a_secret_is_not_shown() -> None:
    """Credentials may stand in a log or a traceback."""
    assert "known" not in repr(Credentials(token="a:1", secret=SECRET))
