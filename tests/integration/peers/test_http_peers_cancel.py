"""Callers stop waiting: the other node hears so, and whoever serves them is cancelled."""

import asyncio

import pytest

from wallet_engine.commands import Ask
from wallet_engine.errors import DeadlinePassed, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_http.peers import PeerLimits
from wallet_http.peers.codec import document_of
from wallet_http.peers.frames import HEARS_CANCELS, Kind, frame
from wallet_testing.builders import charge, look
from wallet_testing.peers import (
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
    raw_peer,
    tapped,
    until,
)

SOON_S = 0.2
LOOK = [1, 60_000, "look", ["org-1"]]


# --- cancelled callers ------------------------------------------------------------------------


async def test_who_is_cancelled_in_the_turn_of_its_ask_asks_nothing() -> None:
    """Nothing has been sent by then, and nothing is called off."""
    decider = Decider()
    async with answering(decider.serve) as server, tapped(server.port) as tap, asking() as peers:
        await peers.ask(tap.address, look(), timeout_s=LONG_S)
        [task] = post(peers, tap.address, charge(5))
        asyncio.get_running_loop().call_soon(task.cancel)
        assert await raised(task) is asyncio.CancelledError
        await peers.ask(tap.address, look(), timeout_s=LONG_S)

        assert decider.asked == [look(), look()]
        assert tap.cancels() == []


async def test_who_is_cancelled_before_there_is_a_connection_asks_nothing() -> None:
    """What waits for the handshake was not sent."""
    decider = Decider()
    async with answering(decider.serve) as server, tapped(server.port) as tap, asking() as peers:
        tap.freeze()
        [task] = post(peers, tap.address, charge(5))
        await until(lambda: tap.connections)
        task.cancel()
        assert await raised(task) is asyncio.CancelledError
        tap.thaw()
        assert await is_of_use(peers, tap.address)

        assert decider.asked == [look(org_id="later")]
        assert tap.cancels() == []


async def test_a_cancelled_caller_cancels_who_serves_it() -> None:
    """Only that one; nobody hears an answer to it, and the connection stays."""
    decider, late = Decider(holds=True), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        left, stays = post(peers, tap.address, look(org_id="left"), look(org_id="stays"))
        await until(lambda: len(decider.held) == 2)
        left.cancel()
        assert await raised(left) is asyncio.CancelledError
        await until(lambda: decider.cancelled)
        decider.holds = False
        decider.release()

        assert await stays == answer_to(look(org_id="stays"))
        assert await is_of_use(peers, tap.address)
        assert decider.cancelled == [look(org_id="left")]
        assert decider.answered == [look(org_id="stays"), look(org_id="later")]
        assert tap.connections == 1
        await has_nothing_in_mind(peers)
    assert late.heard == []


async def test_a_future_that_serves_is_cancelled_as_well() -> None:
    """It needs no task for that."""
    served: list[asyncio.Future[Answer]] = []

    def serve(_ask: Ask, _timeout_s: float) -> asyncio.Future[Answer]:
        served.append(asyncio.get_running_loop().create_future())
        return served[-1]

    async with answering(serve) as server, asking() as peers:
        [task] = post(peers, at(server.port), look())
        await until(lambda: served)
        task.cancel()
        assert await raised(task) is asyncio.CancelledError
        await until(served[0].cancelled)
        await has_nothing_in_mind(peers)


async def test_what_is_called_off_in_one_turn_travels_together() -> None:
    """One frame, however many leave; and one for their confirmations."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, tapped(server.port) as tap, asking() as peers:
        tasks = post(peers, tap.address, *looks(50))
        await until(lambda: len(decider.held) == 50)
        for task in tasks:
            task.cancel()
        await has_nothing_in_mind(peers)

        assert len(decider.cancelled) == 50
        assert tap.cancels() == [50]
        assert tap.answers() == [50]


async def test_what_is_called_off_makes_room() -> None:
    """It counts among what is in flight until it is heard what became of it."""
    decider = Decider(holds=True)
    async with (
        answering(decider.serve) as server,
        asking(limits=PeerLimits(in_flight_max=3)) as peers,
    ):
        for _ in range(5):
            tasks: list[asyncio.Task[Answer]] = []
            while len(decider.held) < 3:
                tasks += post(peers, at(server.port), look())
                await asyncio.sleep(0)  # each turn may bring a confirmation
            for task in tasks:
                task.cancel()
            assert {await raised(task) for task in tasks} <= {
                asyncio.CancelledError,
                PeerUnreachable,
            }
            await until(lambda: len(decider.cancelled) == 3)
            decider.held.clear()
            decider.cancelled.clear()


# --- deadlines --------------------------------------------------------------------------------


async def test_a_deadline_that_passes_here_cancels_who_serves_there() -> None:
    """It was sent, so only a retry tells what became of it."""
    decider, late = Decider(holds=True), Unheard()
    async with (
        answering(decider.serve) as server,
        tapped(server.port) as tap,
        asking(unheard=late.unheard) as peers,
    ):
        with pytest.raises(DeadlinePassed):
            await peers.ask(tap.address, look(), timeout_s=SOON_S)
        await until(lambda: decider.cancelled)
        decider.holds = False
        assert await is_of_use(peers, tap.address)

        assert tap.cancels() == [1]
        assert decider.answered == [look(org_id="later")]
        await has_nothing_in_mind(peers)
    assert late.heard == []


# --- nodes of two versions, and such as make no sense -----------------------------------------


async def test_a_client_that_knows_no_cancels_is_served() -> None:
    """What the server understands is said where an older client reads nothing."""
    async with answering(Decider().serve) as server, raw_peer(server.port) as old:
        await old.prove()
        assert await old.hear() == (Kind.PONG, HEARS_CANCELS)
        old.ask(LOOK)
        assert [item[:2] for item in await old.hear_answers()] == [[1, "created"]]


async def test_to_call_off_what_is_not_open_means_nothing() -> None:
    """It was answered already; twice is once."""
    decider = Decider(holds=True)
    async with answering(decider.serve) as server, raw_peer(server.port) as odd:
        await odd.prove()
        odd.ask(LOOK)
        await until(lambda: decider.held)
        odd.say(frame(Kind.CANCELS, b"[[7],[1],[1]]") * 2)
        assert await odd.hear_answers() == [[1, "cancelled"]]
        odd.ask(LOOK)  # the number is free again
        await until(lambda: len(decider.held) == 2)
        decider.release()
        assert [item[:2] for item in await odd.hear_answers()] == [[1, "created"]]


async def test_who_serves_is_cancelled_once() -> None:
    """What it does about that is not disturbed by another cancel."""
    decider, ended = Decider(holds=True), asyncio.Event()

    async def serve(ask: Ask, timeout_s: float) -> Answer:
        try:
            return await decider.serve(ask, timeout_s)
        finally:
            await ended.wait()

    async with answering(serve) as server, raw_peer(server.port) as odd:
        await odd.prove()
        odd.ask(LOOK)
        await until(lambda: decider.held)
        odd.say(frame(Kind.CANCELS, b"[[1]]"))
        await until(lambda: decider.cancelled)
        odd.say(frame(Kind.CANCELS, b"[[1]]"))
        odd.ask([2, *LOOK[1:]])
        await until(lambda: len(decider.asked) == 2)
        await asyncio.sleep(0)  # a task that was cancelled would be over by then
        await asyncio.sleep(0)
        [session] = server.sessions
        assert session.is_working
        odd.say(frame(Kind.CANCELS, b"[[2]]"))
        await until(lambda: len(decider.cancelled) == 2)
        ended.set()

        assert await odd.hear_answers() == [[1, "cancelled"], [2, "cancelled"]]


async def test_what_is_called_off_before_it_is_begun_is_never_served() -> None:
    """Both came in one read."""
    decider = Decider()
    async with answering(decider.serve) as server, raw_peer(server.port) as quick:
        await quick.prove()
        quick.say(frame(Kind.ASKS, document_of([LOOK])) + frame(Kind.CANCELS, b"[[1]]"))

        assert await quick.hear_answers() == [[1, "cancelled"]]
        assert decider.asked == []
