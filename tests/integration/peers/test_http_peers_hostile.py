"""Whoever does not know the secret gets nothing, and whoever speaks nonsense is hung up on.

After each, the same server still serves a node that behaves.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wallet_engine.errors import PeerUnreachable
from wallet_http.peers import PeerLimits, PeerServer, TcpPeers
from wallet_http.peers.frames import FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX, HEAD, Kind, frame
from wallet_http.peers.server import UNPROVEN_MAX, Session
from wallet_testing.builders import look
from wallet_testing.peers import (
    IMPATIENT,
    LONG_S,
    Decider,
    answer_to,
    answering,
    asking,
    at,
    raw_peer,
    tapped,
    until,
)

OTHER = b"another secret, just as long"
LOOK = [1, 1000, "look", ["org-1"]]


@asynccontextmanager
async def serving(decider: Decider, limits: PeerLimits | None = None) -> AsyncIterator[PeerServer]:
    """Run a server, and see at the end that it still serves."""
    async with answering(decider.serve, limits=limits) as server:
        yield server
        decider.holds, decider.padding = False, ""
        async with asking() as peers:
            assert await asked(peers, at(server.port)) == answer_to(look())


async def asked(peers: TcpPeers, address: str) -> object:
    return await peers.ask(address, look(), timeout_s=LONG_S)


def only_session(server: PeerServer) -> Session:
    [session] = server.sessions
    return session


# --- the secret -------------------------------------------------------------------------------


async def test_a_client_with_another_secret_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of what it asks is looked at, and both logs say what is wrong."""
    decider = Decider()
    async with serving(decider) as server:
        async with asking(secret=OTHER) as peers:
            with pytest.raises(PeerUnreachable):
                await asked(peers, at(server.port))
        assert decider.asked == []

    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 2
    assert any("'a:1' does not know the secret" in line for line in lines)
    assert any("is its secret another one?" in line for line in lines)


async def test_a_handshake_cannot_be_replayed() -> None:
    """All that a node once said, said again by another, is refused at its proof."""
    decider = Decider()
    async with serving(decider) as server:
        async with tapped(server.port) as tap, asking() as peers:
            await asked(peers, tap.address)
            recorded = b"".join(frame(*it) for it in tap.asked)
        assert len(decider.asked) == 1
        async with raw_peer(server.port) as thief:
            thief.say(recorded)
            assert await thief.is_hung_up_on()

        assert len(decider.asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.ASKS, b'[[1,1000,"look",["org-1"]]]'),
        frame(Kind.TABLE, b"{}"),
        frame(Kind.CANCELS, b"[[1]]"),
        frame(Kind.POKE),
        frame(Kind.PING),
        frame(Kind.PROOF),
        frame(Kind.PROOF, bytes(HANDSHAKE_BYTES_MAX)),
        HEAD.pack(HANDSHAKE_BYTES_MAX + 1, Kind.PROOF),
        HEAD.pack(2**32 - 1, Kind.ASKS),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(100),
        b"\xff" * 100_000,
    ],
    ids=lambda said: repr(said[:12]),
)
async def test_who_has_proven_nothing_is_hung_up_on(said: bytes) -> None:
    """Whatever it says instead of a proof."""
    decider = Decider()
    async with serving(decider) as server:
        async with raw_peer(server.port) as stranger:
            stranger.say(said)
            assert await stranger.is_hung_up_on()
        assert decider.asked == []


async def test_who_proves_nothing_is_not_waited_for() -> None:
    """Nor does it hold a connection by saying a little now and then."""
    async with serving(Decider(), IMPATIENT) as server, raw_peer(server.port) as silent:
        assert await silent.is_hung_up_on()


async def test_no_more_than_so_many_strangers_wait() -> None:
    """One too many is hung up on at once, and those who leave make room."""
    async with serving(Decider(), PeerLimits(connect_s=LONG_S)) as server:
        strangers = [raw_peer(server.port) for _ in range(UNPROVEN_MAX)]
        for stranger in strangers:
            peer = await stranger.__aenter__()
            await peer.hear()
        async with raw_peer(server.port) as crowd:
            assert await crowd.is_hung_up_on()
        for stranger in strangers:
            await stranger.__aexit__(None, None, None)
        await until(lambda: not server.sessions)


async def test_a_port_that_is_only_looked_at_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """A balancer that opens and closes connections fills no log."""
    async with serving(Decider()) as server:
        async with raw_peer(server.port) as balancer:
            await balancer.hear()
        await until(lambda: not server.sessions)

    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


# --- one that knows the secret, and is broken -------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.ASKS, b""),
        frame(Kind.ASKS, b"{}"),
        frame(Kind.ASKS, b"[" * 100_000),
        frame(Kind.ASKS, b"\xff\xfe"),
        frame(Kind.ASKS, b'[["1",1000,"look",["org-1"]]]'),
        frame(Kind.CANCELS, b"[1]"),
        frame(Kind.CANCELS, b'[["1"]]'),
        frame(Kind.TABLE, b"5"),
        frame(Kind.TABLE, b'{"look":5}'),
        frame(Kind.ANSWERS, b"[]"),
        frame(Kind.LEAVING),
        frame(Kind.PROOF, bytes(100)),
        HEAD.pack(FRAME_BYTES_MAX + 1, Kind.ASKS),
        HEAD.pack(0, 99),
    ],
    ids=lambda said: repr(said[:16]),
)
async def test_a_frame_that_makes_no_sense_ends_the_connection(said: bytes) -> None:
    """Whoever wrote it is broken, and what else it says cannot be trusted."""
    async with serving(Decider()) as server, raw_peer(server.port) as broken:
        await broken.prove()
        broken.say(said)
        assert await broken.is_hung_up_on()


async def test_asks_before_their_table_end_the_connection() -> None:
    """Nobody knows what their values are of."""
    decider = Decider()
    async with serving(decider) as server:
        async with raw_peer(server.port) as broken:
            await broken.prove(says_table=False)
            broken.ask(LOOK)
            assert await broken.is_hung_up_on()
        assert decider.asked == []


async def test_a_number_that_is_open_cannot_be_used_again() -> None:
    """Two answers would have one number."""
    decider = Decider(holds=True)
    async with serving(decider) as server, raw_peer(server.port) as broken:
        await broken.prove()
        broken.ask(LOOK)
        broken.ask(LOOK)
        assert await broken.is_hung_up_on()
        decider.release()


async def test_an_ask_that_makes_no_sense_costs_nobody_else_an_answer() -> None:
    """It was not decided, and hears so; so does one that its own checks refuse."""
    decider = Decider()
    async with serving(decider) as server:
        async with raw_peer(server.port) as odd:
            await odd.prove()
            odd.ask([1, 1000, "steal", ["org-1"]], [2, 1000, "look", ["no name!"]], [3], LOOK[:3])
            odd.ask([5, 1000, "look", ["org-5"]])
            told = [item for _ in range(2) for item in await odd.hear_answers()]

        assert [item[:2] for item in told] == [
            [1, "PeerUnreachable"],
            [2, "InvalidCommand"],
            [3, "PeerUnreachable"],
            [1, "PeerUnreachable"],
            [5, "created"],
        ]
        assert decider.asked == [look(org_id="org-5")]


async def test_one_that_asks_too_much_is_told_so() -> None:
    """What is above the bound is not decided."""
    decider = Decider(holds=True)
    limits = PeerLimits(in_flight_max=2)
    async with serving(decider, limits) as server, raw_peer(server.port) as greedy:
        await greedy.prove()
        greedy.ask(*([number, 1000, "look", ["org-1"]] for number in range(5)))
        told = await greedy.hear_answers()
        assert [item[:2] for item in told] == [[n, "Overloaded"] for n in (2, 3, 4)]
        await until(lambda: len(decider.held) == 2)
        decider.release()
        assert [item[0] for item in await greedy.hear_answers()] == [0, 1]


# --- slow readers -----------------------------------------------------------------------------


async def test_who_reads_slowly_is_asked_to_wait() -> None:
    """While its answers pile up, no more of its asks are read; once they are gone, all are."""
    decider = Decider(padding="x" * 200_000)
    total, long = 300, "x" * 50_000
    async with serving(decider, PeerLimits(buffered_bytes_max=100_000, tick_s=LONG_S)) as server:
        async with raw_peer(server.port) as slow:
            await slow.prove()
            for number in range(total):
                slow.ask([number, 60_000, "steal", [long]], [total + number, 60_000, *LOOK[2:]])
            await until(lambda: server.sessions and only_session(server).is_full)
            for _ in range(1000):
                await asyncio.sleep(0)  # it could read on now, if it did
            assert len(decider.asked) < total
            numbers: set[int] = set()
            while len(numbers) < 2 * total:
                numbers |= {item[0] for item in await slow.hear_answers()}

        assert numbers == set(range(2 * total))


async def test_who_never_reads_is_cut_off() -> None:
    """What is kept for it is bounded, in size and in time."""
    decider = Decider(padding="x" * 100_000)
    async with serving(decider, IMPATIENT) as server, raw_peer(server.port) as dead:
        await dead.prove()
        dead.ask(*([number, 60_000, *LOOK[2:]] for number in range(200)))
        await until(lambda: decider.decided == 200)
        await until(lambda: not server.sessions)


async def test_an_answer_that_is_too_long_is_an_unknown_outcome() -> None:
    """The others that were decided in the same turn arrive."""
    decider = Decider(padding="x" * FRAME_BYTES_MAX, holds=True)
    async with serving(decider) as server, raw_peer(server.port) as one:
        await one.prove()
        one.ask([1, 60_000, *LOOK[2:]], [2, 60_000, "look", ["no name!"]])
        assert [item[:2] for item in await one.hear_answers()] == [[2, "InvalidCommand"]]
        decider.release()
        assert [item[:2] for item in await one.hear_answers()] == [[1, "PeerLost"]]
