"""Connections between nodes break, fill up and end: nobody waits for ever, no answer is lost."""

import asyncio

import pytest

from wallet_engine.errors import PeerLost, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_http.peers import PeerLimits
from wallet_persistence.embedded import free_port
from wallet_testing.builders import charge, look
from wallet_testing.peers import (
    GRACE_S,
    IMPATIENT,
    LONG_S,
    Decider,
    answer_to,
    answering,
    asking,
    at,
    looks,
    post,
    raised,
    tapped,
    until,
)

# --- connections that break ----------------------------------------------------------------------


async def test_a_cut_connection_leaves_what_was_sent_unknown() -> None:
    """And what was not sent yet, undecided; what arrived is decided all the same."""
    decider = Decider(holds=True)
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking() as peers,
    ):
        sent = post(peers, tap.address, *looks(3))
        await until(lambda: len(decider.held) == 3)
        tap.cut()

        assert [await raised(task) for task in sent] == [PeerLost] * 3
        await until(lambda: not server.sessions)
        assert len(server.unfinished) == 1
        decider.release()
        await until(lambda: not server.unfinished)
        assert decider.decided == 3


async def test_what_waits_for_a_connection_was_not_sent() -> None:
    """Nobody is there, or somebody hangs up before the handshake is done."""
    async with answering(Decider().serve) as server, tapped(server.port) as tap, asking() as peers:
        tap.hangs_up = True
        assert [await raised(task) for task in post(peers, tap.address, *looks(3))] == [
            PeerUnreachable
        ] * 3
        with pytest.raises(PeerUnreachable):
            await peers.ask(at(free_port()), look(), timeout_s=LONG_S)
        for address in ("no address", "127.0.0.1:", ":80", "127.0.0.1:99999", "x" * 300 + ":80"):
            with pytest.raises(PeerUnreachable):
                await peers.ask(address, look(), timeout_s=LONG_S)


async def test_who_does_not_answer_the_handshake_is_not_waited_for() -> None:
    """A connection takes its time, and no longer."""
    async with (
        answering(Decider().serve) as server,
        tapped(server.port) as tap,
        asking(limits=IMPATIENT) as peers,
    ):
        tap.freeze()
        with pytest.raises(PeerUnreachable):
            await peers.ask(tap.address, look(), timeout_s=LONG_S)


async def test_after_a_vain_attempt_there_is_a_pause() -> None:
    """Who asks within it hears at once that nobody can be reached."""
    limits = PeerLimits(reconnect_s=LONG_S)
    async with (
        answering(Decider().serve) as server,
        tapped(server.port) as tap,
        asking(limits=limits) as peers,
    ):
        tap.hangs_up = True
        for _ in range(5):
            with pytest.raises(PeerUnreachable):
                await peers.ask(tap.address, look(), timeout_s=LONG_S)

        assert tap.connections == 1


async def test_a_frozen_node_is_noticed() -> None:
    """It stays connected and says nothing: what was asked of it may have been decided."""
    decider = Decider()
    async with (
        answering(decider.serve, limits=IMPATIENT) as server,
        tapped(server.port) as tap,
        asking(limits=IMPATIENT) as peers,
    ):
        await peers.ask(tap.address, look(), timeout_s=LONG_S)
        tap.freeze()
        with pytest.raises(PeerLost):
            await peers.ask(tap.address, look(), timeout_s=LONG_S)
        await until(lambda: not server.sessions)  # the server notices its client as well


async def test_a_quiet_node_is_not_taken_for_a_frozen_one() -> None:
    """It answers pings while it decides."""
    decider = Decider(holds=True)
    async with (
        answering(decider.serve, limits=IMPATIENT) as server,
        tapped(server.port) as tap,
        asking(limits=IMPATIENT) as peers,
    ):
        [task] = post(peers, tap.address, look())
        await until(lambda: len([kind for kind, _ in tap.answered if kind.name == "PONG"]) > 5)
        decider.release()

        assert await task == answer_to(look())


async def test_a_node_that_comes_back_is_asked_again() -> None:
    """On the same port, as another process would; meanwhile it is unreachable."""
    first, second = Decider(), Decider()
    async with asking() as peers:
        async with answering(first.serve) as server:
            port = server.port
            await peers.ask(at(port), look(), timeout_s=LONG_S)
        with pytest.raises(PeerUnreachable):
            await peers.ask(at(port), look(), timeout_s=LONG_S)
        async with answering(second.serve, port=port):
            while not second.asked:
                for task in post(peers, at(port), look()):
                    await asyncio.wait([task])
                    task.exception()

            assert await peers.ask(at(port), look(), timeout_s=LONG_S)


# --- bounds ------------------------------------------------------------------------------------


async def test_no_more_than_so_many_are_in_flight() -> None:
    """One too many is told at once, and there is room again when answers have come."""
    decider = Decider(holds=True)
    limits = PeerLimits(in_flight_max=3)
    async with answering(decider.serve) as server, asking(limits=limits) as peers:
        held = post(peers, at(server.port), *looks(3))
        [fourth] = post(peers, at(server.port), look())
        assert await raised(fourth) is PeerUnreachable
        await until(lambda: len(decider.held) == 3)
        with pytest.raises(PeerUnreachable):
            await peers.ask(at(server.port), look(), timeout_s=LONG_S)
        decider.holds = False
        decider.release()
        await asyncio.gather(*held)

        assert await peers.ask(at(server.port), look(), timeout_s=LONG_S)


async def test_a_node_that_does_not_read_is_not_asked_for_ever() -> None:
    """What is unsent is bounded; the next hears so at once."""
    limits = PeerLimits(buffered_bytes_max=1000)
    long = charge(5, description="x" * 500)
    async with answering(Decider().serve) as server, tapped(server.port) as tap:
        async with asking(limits=limits) as peers:
            await peers.ask(tap.address, look(), timeout_s=LONG_S)
            tap.freeze()
            tasks: list[asyncio.Task[Answer]] = []
            while not any(task.done() for task in tasks):
                tasks += post(peers, tap.address, *[long] * 500)
                await asyncio.sleep(0)  # what is posted is sent in the next turn
            refused = [task for task in tasks if task.done()]

            assert {await raised(task) for task in refused} == {PeerUnreachable}
        assert {await raised(task) for task in tasks if task not in refused} == {PeerLost}


async def test_a_channel_that_nobody_uses_is_closed() -> None:
    """A node whose address is never used again takes no connection for ever."""
    limits = PeerLimits(idle_s=0.0)
    async with answering(Decider().serve) as server, asking(limits=limits) as peers:
        await peers.ask(at(server.port), look(), timeout_s=LONG_S)
        await until(lambda: not server.sessions)

        assert await peers.ask(at(server.port), look(), timeout_s=LONG_S)


async def test_there_are_no_more_than_so_many_channels() -> None:
    """Leases that name ever new nodes cannot use up the sockets."""
    limits = PeerLimits(channels_max=1)
    async with answering(Decider().serve) as server, asking(limits=limits) as peers:
        await peers.ask(at(server.port), look(), timeout_s=LONG_S)
        with pytest.raises(PeerUnreachable, match="Too many"):
            await peers.ask(at(free_port()), look(), timeout_s=LONG_S)


# --- an orderly end ---------------------------------------------------------------------------


async def test_a_server_that_leaves_answers_what_it_took() -> None:
    """It takes no more, and no answer is lost."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, asking() as peers:
        address = at(server.port)
        taken = post(peers, address, *looks(100))
        await until(lambda: len(decider.held) == 100)
        leaving = asyncio.create_task(server.close(grace_s=GRACE_S))
        await asyncio.sleep(0)  # it has begun
        [late] = post(peers, address, charge(5))  # on its way before the client can know
        assert await raised(late) is PeerUnreachable
        with pytest.raises(PeerUnreachable):
            await peers.ask(address, charge(5), timeout_s=LONG_S)
        assert not leaving.done()
        decider.release()

        assert await asyncio.gather(*taken) == [answer_to(ask) for ask in looks(100)]
        await leaving
        assert charge(5) not in decider.asked


async def test_a_client_that_leaves_hears_what_it_asked() -> None:
    """It asks no more, and no answer is lost."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, asking() as peers:
        asked = post(peers, at(server.port), *looks(100))
        await until(lambda: len(decider.held) == 100)
        leaving = asyncio.create_task(peers.close(grace_s=GRACE_S))
        await asyncio.sleep(0)  # it has begun
        with pytest.raises(PeerUnreachable):
            await peers.ask(at(server.port), look(), timeout_s=LONG_S)
        assert not leaving.done()
        decider.release()

        assert await asyncio.gather(*asked) == [answer_to(ask) for ask in looks(100)]
        await leaving
        await until(lambda: not server.sessions)


async def test_who_leaves_waits_no_longer_than_its_grace() -> None:
    """What is not decided by then is told as unknown."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, asking() as peers:
        [asked] = post(peers, at(server.port), look())
        await until(lambda: decider.held)
        await server.close(grace_s=0.01)

        assert await raised(asked) is PeerLost
        decider.release()


async def test_a_client_that_leaves_while_it_connects_has_asked_nothing() -> None:
    """Whoever waits is told so."""
    decider = Decider()
    async with answering(decider.serve) as server, tapped(server.port) as tap, asking() as peers:
        tap.freeze()
        [asked] = post(peers, tap.address, look())
        await until(lambda: tap.connections)
        await peers.close(grace_s=GRACE_S)

        assert await raised(asked) is PeerUnreachable
        assert decider.asked == []
