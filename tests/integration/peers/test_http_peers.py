"""Nodes ask each other over real sockets: in order, together, each within its time."""

import asyncio

import pytest

from wallet_engine.commands import Ask
from wallet_engine.errors import (
    InvalidCommand,
    NotMine,
    PeerLost,
    PeerUnreachable,
    UnknownOrg,
    WalletError,
)
from wallet_engine.journal import Answer
from wallet_engine.ports.cluster import Peers
from wallet_persistence.embedded import free_port
from wallet_testing.builders import charge, look
from wallet_testing.peers import (
    LONG_S,
    Decider,
    Pokes,
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

# --- asks and answers -------------------------------------------------------------------------


async def test_many_asks_are_served_in_order_and_answered_each() -> None:
    """Whoever asked hears the answer to what it asked."""
    decider, asks = Decider(), looks(500)
    async with answering(decider.serve) as server, asking() as peers:
        port: Peers = peers
        assert await port.ask(at(server.port), asks.pop(0), timeout_s=LONG_S)
        decider.asked.clear()
        answers = await asyncio.gather(*post(peers, at(server.port), *asks))

        assert decider.asked == asks
        assert answers == [answer_to(ask) for ask in asks]


async def test_answers_may_come_in_another_order() -> None:
    """One that takes long does not hold up the others."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, asking() as peers:
        [slow] = post(peers, at(server.port), look(org_id="slow"))
        await until(lambda: decider.held)
        decider.holds = False
        [quick] = post(peers, at(server.port), look(org_id="quick"))

        assert await quick == answer_to(look(org_id="quick"))
        assert not slow.done()
        decider.release()
        assert await slow == answer_to(look(org_id="slow"))


async def test_a_serve_that_returns_a_future_needs_no_task() -> None:
    """The answer is the future's."""

    def serve(ask: Ask, _timeout_s: float) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answer.set_result(answer_to(ask))
        return answer

    async with answering(serve) as server, asking() as peers:
        assert await peers.ask(at(server.port), look(), timeout_s=LONG_S) == answer_to(look())


async def test_what_is_asked_in_one_turn_travels_together() -> None:
    """One frame of asks, and one of answers to what was decided in one turn."""
    decider = Decider(holds=True)
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking() as peers,
    ):
        first = post(peers, tap.address, *looks(20))
        await until(lambda: len(decider.held) == 20)
        more = post(peers, tap.address, *looks(30))
        await until(lambda: len(decider.held) == 50)
        decider.release()
        await asyncio.gather(*first, *more)

        assert tap.connections == 1
        assert tap.asks() == [20, 30]
        assert tap.answers() == [50]


@pytest.mark.parametrize(
    "error",
    [NotMine("c:1"), UnknownOrg("org-1"), InvalidCommand("hold_minutes", "is odd")],
    ids=repr,
)
async def test_an_error_is_raised_here_as_it_was_there(error: WalletError) -> None:
    """With its parts."""
    decider = Decider(fails=error)
    async with answering(decider.serve) as server, asking() as peers:
        with pytest.raises(type(error)) as caught:
            await peers.ask(at(server.port), look(), timeout_s=LONG_S)

        assert vars(caught.value) == vars(error)


async def test_a_bug_there_is_an_unknown_outcome_here(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged where it is, and hurts nobody else."""
    decider = Decider(fails=ZeroDivisionError())
    async with answering(decider.serve) as server, asking() as peers:
        with pytest.raises(PeerLost):
            await peers.ask(at(server.port), look(), timeout_s=LONG_S)
        decider.fails = None
        assert await peers.ask(at(server.port), look(), timeout_s=LONG_S)

    assert "An ask of node a:1 failed" in caplog.text


async def test_an_ask_that_cannot_be_written_hurts_nobody_else() -> None:
    """The others of its turn travel without it."""
    decider = Decider()
    async with answering(decider.serve) as server, asking() as peers:
        bad = charge(5)
        object.__setattr__(bad, "description", "\ud800")  # no command that is checked has one
        before, between, after = post(peers, at(server.port), look(), bad, look(org_id="org-2"))

        assert await before == answer_to(look())
        assert await raised(between) is InvalidCommand
        assert await after == answer_to(look(org_id="org-2"))
        assert len(decider.asked) == 2


async def test_a_poke_is_heard() -> None:
    """Also by a node that was not connected to."""
    pokes = Pokes()
    async with answering(Decider().serve, poked=pokes.poked) as server, asking() as peers:
        peers.poke(at(server.port))
        await until(lambda: pokes.count == 1)
        peers.poke(at(server.port))
        await until(lambda: pokes.count == 2)


async def test_a_poke_may_get_lost() -> None:
    """Nobody is told."""
    async with asking() as peers:
        peers.poke(at(free_port()))
        peers.poke("nowhere")


# --- the time that is left --------------------------------------------------------------------


async def test_the_time_that_is_left_travels_along() -> None:
    """Never more than the caller has."""
    decider = Decider()
    async with answering(decider.serve) as server, asking() as peers:
        await peers.ask(at(server.port), look(), timeout_s=LONG_S)

    [left_s] = decider.left_s
    assert 0 < left_s <= LONG_S


async def test_an_ask_without_time_is_not_sent() -> None:
    """So nothing was decided."""
    decider = Decider()
    async with answering(decider.serve) as server, asking() as peers:
        with pytest.raises(PeerUnreachable):
            await peers.ask(at(server.port), look(), timeout_s=0.0)
        await peers.ask(at(server.port), look(org_id="later"), timeout_s=LONG_S)

    assert decider.asked == [look(org_id="later")]
