"""A server that is none, or is broken: it is asked nothing, or left, and nobody waits for it."""

import asyncio

import pytest

from wallet_engine.errors import PeerLost, PeerUnreachable
from wallet_engine.journal import Answer, Outcome
from wallet_http.peers.codec import document_of
from wallet_http.peers.frames import FRAME_BYTES_MAX, HEAD, Kind, frame
from wallet_testing.builders import look
from wallet_testing.peers import HOST, asking, at, post, raised, raw_server


@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.WELCOME, bytes(32)),
        frame(Kind.ANSWERS, b'[[1,"answered",{}]]'),
        frame(Kind.LEAVING),
        frame(Kind.CHALLENGE),
        frame(Kind.CHALLENGE, b"\x01" + bytes(40)) + frame(Kind.WELCOME, bytes(32)),
        frame(Kind.CHALLENGE, b"\x01" + bytes(40)) * 2,
        frame(Kind.CHALLENGE, b"\x63" + bytes(40)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=lambda said: repr(said[:12]),
)
async def test_a_server_that_proves_nothing_is_asked_nothing(said: bytes) -> None:
    """What waits to be asked was not sent."""
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        heard.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(pretend, HOST, 0)
    async with asking() as peers:
        [task] = post(peers, at(server.sockets[0].getsockname()[1]), look())
        assert await raised(task) is PeerUnreachable
    server.close()
    await asyncio.sleep(0)  # the connection sees its end

    assert b"look" not in heard


@pytest.mark.parametrize(
    "item",
    [
        [1, "refused", {}, "a_code_of_tomorrow"],
        [1, "postponed", {}],
        [1, "created", 5],
        [1, "cancelled"],
        [1, "SystemExit"],
        [1],
    ],
    ids=repr,
)
async def test_an_answer_that_makes_no_sense_is_an_unknown_outcome(item: list[object]) -> None:
    """And costs nobody else an answer; numbers that nobody asked by mean nothing."""
    says = frame(Kind.ANSWERS, document_of([[9, "answered", {}], item, [2, "answered", {}]]))
    async with raw_server(says) as address, asking() as peers:
        first, second = post(peers, address, look(), look())

        assert await raised(first) is PeerLost
        assert await second == Answer(Outcome.ANSWERED, {})


@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.ANSWERS, b"[5]"),
        frame(Kind.ANSWERS, b"\xff"),
        frame(Kind.ASKS, b"[]"),
        frame(Kind.CANCELS, b"[]"),
        frame(Kind.CHALLENGE, bytes(40)),
        frame(Kind.WELCOME, bytes(32)),
        HEAD.pack(FRAME_BYTES_MAX + 1, Kind.ANSWERS),
        HEAD.pack(0, 99),
    ],
    ids=lambda said: repr(said[:12]),
)
async def test_a_server_that_makes_no_sense_is_left(said: bytes) -> None:
    """What it was asked may have been decided."""
    async with raw_server(said) as address, asking() as peers:
        [task] = post(peers, address, look())
        assert await raised(task) is PeerLost
