"""Answers that come after their askers have stopped waiting: none is lost without a word."""

import asyncio
import gc

import pytest

from wallet_engine.commands import Ask
from wallet_engine.errors import DeadlinePassed, InvalidCommand, PeerLost
from wallet_engine.journal import Answer, Outcome
from wallet_http.peers import PeerLimits
from wallet_http.peers.codec import document_of
from wallet_http.peers.frames import Kind, frame
from wallet_http.peers.link import Asked
from wallet_testing.builders import admit, look
from wallet_testing.peers import (
    GRACE_S,
    LONG_S,
    Decider,
    Unheard,
    answer_to,
    answering,
    asking,
    at,
    has_nothing_in_mind,
    is_of_use,
    looks,
    post,
    raised,
    raw_server,
    tapped,
    until,
)

SOON_S = 0.2


# --- answers that cross -----------------------------------------------------------------------


async def test_an_answer_after_the_deadline_is_unheard() -> None:
    """Whoever asked was told that there is none."""
    decider, late = Decider(), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        assert await is_of_use(peers, tap.address)
        [task] = post(peers, tap.address, admit(), timeout_s=SOON_S)
        await until(lambda: sum(tap.asks()) == 2)
        tap.freeze()
        assert await raised(task) is DeadlinePassed
        tap.thaw()
        await until(lambda: late.heard)
        await has_nothing_in_mind(peers)

    assert late.heard == [(admit(), answer_to(admit()))]


async def test_an_answer_that_crosses_a_cancel_is_unheard() -> None:
    """Once, with what was asked; whoever else waits hears theirs."""
    decider, late = Decider(holds=True), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        left, stays = post(peers, tap.address, admit(), look())
        await until(lambda: len(decider.held) == 2)
        tap.freeze()
        decider.release()
        await until(lambda: decider.decided == 2)
        left.cancel()
        assert await raised(left) is asyncio.CancelledError
        assert late.heard == []
        tap.thaw()

        assert await stays == answer_to(look())
        assert late.heard == [(admit(), answer_to(admit()))]
        await has_nothing_in_mind(peers)
    assert decider.cancelled == []
    assert len(late.heard) == 1


async def test_a_caller_who_is_cancelled_in_the_turn_of_its_answer_has_not_heard_it() -> None:
    """The answer was there, and yet its task ends cancelled."""
    decider, late = Decider(holds=True), Unheard()
    async with answering(decider.serve) as server, asking(unheard=late.unheard) as peers:
        address = at(server.port)

        async def cancels_the_other() -> None:
            await peers.ask(address, look(), timeout_s=LONG_S)
            [other] = others
            assert not other.done()
            other.cancel()  # its answer came in the same frame

        first = asyncio.create_task(cancels_the_other())
        others = post(peers, address, admit())
        await until(lambda: len(decider.held) == 2)
        decider.release()
        await first
        assert await raised(others[0]) is asyncio.CancelledError
        assert late.heard == [(admit(), answer_to(admit()))]
        await has_nothing_in_mind(peers)
    assert len(late.heard) == 1


async def test_who_serves_may_answer_in_spite_of_it() -> None:
    """A decision that cannot be taken back is unheard, of whatever outcome."""
    refused, late = Answer(Outcome.REFUSED, {"error": "No."}), Unheard()
    held: list[asyncio.Future[None]] = []

    async def serve(_ask: Ask, _timeout_s: float) -> Answer:
        held.append(asyncio.get_running_loop().create_future())
        try:
            await held[-1]
        except asyncio.CancelledError:
            return refused
        raise AssertionError

    async with answering(serve) as server, asking() as peers:
        peers.unheard = late.unheard  # whoever hears may need the peers first
        [task] = post(peers, at(server.port), admit())
        await until(lambda: held)
        task.cancel()
        await until(lambda: late.heard)
        await has_nothing_in_mind(peers)

    assert late.heard == [(admit(), refused)]


@pytest.mark.parametrize("error", [InvalidCommand("x", "is odd"), ZeroDivisionError()], ids=repr)
async def test_an_error_that_comes_late_is_dropped(error: Exception) -> None:
    """There is no decision that somebody ought to hear of, unless nobody knows whether there is."""
    decider, late = Decider(holds=True, fails=error), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        [task] = post(peers, tap.address, admit())
        await until(lambda: decider.held)
        tap.freeze()
        decider.release()
        task.cancel()
        assert await raised(task) is asyncio.CancelledError
        tap.thaw()
        await has_nothing_in_mind(peers)

    assert late.heard == ([(admit(), None)] if isinstance(error, ZeroDivisionError) else [])


async def test_one_who_fails_at_what_is_unheard_hurts_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answers that come in the same frame are heard; the log tells of the bug."""

    def fails(_ask: Ask, _answer: Answer | None) -> None:
        raise ZeroDivisionError

    decider = Decider(holds=True)
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=fails) as peers,
    ):
        left, stays = post(peers, tap.address, admit(), look())
        await until(lambda: len(decider.held) == 2)
        tap.freeze()
        decider.release()
        left.cancel()
        await until(left.done)
        tap.thaw()

        assert await stays == answer_to(look())
    assert "An answer to reserve that nobody waits for met a bug" in caplog.text


# --- connections that end ---------------------------------------------------------------------


async def test_a_connection_that_breaks_takes_what_was_called_off_along() -> None:
    """Nobody can know what became of it, and that is told; the next connection serves."""
    decider, late = Decider(holds=True), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(limits=PeerLimits(reconnect_s=0.0, in_flight_max=3), unheard=late.unheard) as peers,
    ):
        left = post(peers, tap.address, *looks(2))
        [stays] = post(peers, tap.address, look())
        await until(lambda: len(decider.held) == 3)
        tap.freeze()
        for task in left:
            task.cancel()
        assert [await raised(task) for task in left] == [asyncio.CancelledError] * 2
        tap.cut()
        assert await raised(stays) is PeerLost
        tap.thaw()
        decider.holds = False
        decider.release()

        assert await asyncio.gather(*post(peers, tap.address, *looks(3)))  # there is room for all
        await has_nothing_in_mind(peers)
        await until(lambda: not server.unfinished)
        assert [answer for _, answer in late.heard] == [None, None]
        late.heard.clear()
        del left, stays, task
        gc.collect()
        assert not [it for it in gc.get_objects() if type(it) is Asked]
    assert late.heard == []


async def test_a_client_that_closes_hears_what_became_of_what_it_called_off() -> None:
    """It waits for it as for an answer, within its grace."""
    decider, late = Decider(holds=True), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        [task] = post(peers, tap.address, admit())
        await until(lambda: decider.held)
        tap.freeze()
        decider.release()
        task.cancel()
        assert await raised(task) is asyncio.CancelledError
        closing = asyncio.create_task(peers.close(grace_s=GRACE_S))
        await asyncio.sleep(0)  # it has begun
        assert not closing.done()
        tap.thaw()
        await closing

    assert late.heard == [(admit(), answer_to(admit()))]


async def test_a_server_that_knows_no_cancels_is_told_none() -> None:
    """It would hang up; its answer is unheard when it comes."""
    late = Unheard()
    says = frame(Kind.ANSWERS, document_of([[1, "created", {}], [2, "answered", {}]]))
    async with (
        raw_server(says) as address,
        tapped(int(address.rpartition(":")[2])) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        left, stays = post(peers, tap.address, admit(), look())
        await until(tap.asks)
        tap.freeze()
        left.cancel()
        assert await raised(left) is asyncio.CancelledError
        tap.thaw()

        assert await stays == Answer(Outcome.ANSWERED, {})
        assert tap.cancels() == []
        await has_nothing_in_mind(peers)
    assert late.heard == [(admit(), Answer(Outcome.CREATED, {}))]
