"""The actor: no answer and no effect before all it rests on is durable."""

import asyncio

import pytest

from wallet_engine.commands import Ask
from wallet_engine.errors import InvalidCommand
from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_testing.builders import (
    buy,
    change_settings,
    charge,
    check,
    commit,
    credit,
    look,
    note_start,
    reserve,
    suspend,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world

FORGETFUL = Limits(remembered_keys=0)
"""What is durable is forgotten at once, so every key and call is looked up."""


# --- no answer before durable --------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        credit(1, key="another"),
        buy(10_000),
        look(),
        check(),
        charge(100, key="first"),
        charge(101, key="first"),
        charge(1, key="rehearsal", dry_run=True),
        note_start(),
    ],
    ids=["success", "refusal", "look", "check", "replay", "key reuse", "dry run", "start"],
)
@in_virtual_time
async def test_no_answer_before_what_it_saw_is_durable(ask: Ask) -> None:
    """A success, a refusal, a read or a replay waits for every row that was decided before it."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [first, second] = await world.asking(charge(100, key="first"), ask)
        await world.pass_time(seconds=1)
        assert not first.done()
        assert not second.done()

        world.ledger.let_commits_go()
        await world.quiet()

        assert first.done()
        assert second.done()


@pytest.mark.parametrize(
    "ask", [buy(10_000), look(), check(), charge(100, key="first")], ids=lambda ask: ask.verb
)
@in_virtual_time
async def test_what_rests_on_durable_rows_is_answered_at_once(ask: Ask) -> None:
    """When nothing waits, a refusal, a read and a replay need no write."""
    async with a_world() as world:
        await world.ask(charge(100, key="first"))
        world.ledger.hold_commits()

        await world.ask(ask)

        world.ledger.let_commits_go()


@in_virtual_time
async def test_no_effect_before_durable() -> None:
    """Nobody hears of a kill, a purchase or a hold before its row is there."""
    async with a_world() as world:
        world.ledger.hold_commits()
        decided = len(world.effects.entries)
        asked = await world.asking(reserve(managed=True), suspend(), charge(1))
        await world.pass_time(seconds=1)

        assert len(world.effects.entries) == decided
        assert world.effects.killed == []

        world.ledger.let_commits_go()
        await asyncio.gather(*asked)
        await world.quiet()
        assert [one.reason for one in world.effects.killed] == ["suspended"]


# --- speculation ---------------------------------------------------------------------------


@in_virtual_time
async def test_decisions_build_on_what_is_not_durable_yet() -> None:
    """Thirty purchases of the money for three: three are made while the first is written."""
    async with a_world(3000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(buy(1000, key=f"k{number}") for number in range(30)))
        world.ledger.let_commits_go()

        answers = await asyncio.gather(*asked)

        outcomes = [answer.outcome for answer in answers]
        assert outcomes == [Outcome.CREATED] * 3 + [Outcome.REFUSED] * 27
        assert world.balance() == 0


@in_virtual_time
async def test_answers_come_in_the_order_of_decisions() -> None:
    """Whoever asked first is answered first, whatever kind of answer it is."""
    async with a_world() as world:
        world.ledger.hold_commits()
        order: list[int] = []
        asks = (charge(1, key="a"), look(), buy(10_000), charge(1, key="b"), charge(1, key="a"))
        asked = await world.asking(*asks)
        for task in asked:
            task.add_done_callback(lambda done: order.append(asked.index(done)))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        assert order == [0, 1, 2, 3, 4]


@in_virtual_time
async def test_the_same_key_at_the_same_time() -> None:
    """One decision; the others wait for it and are its duplicates."""
    async with a_world() as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(charge(100, key="k") for _ in range(5)))
        world.ledger.let_commits_go()

        answers = await asyncio.gather(*asked)

        assert [answer.body["duplicate"] for answer in answers] == [False, *[True] * 4]
        assert {answer.body["seq"] for answer in answers} == {2}
        assert world.balance() == 900


@in_virtual_time
async def test_a_refused_key_is_free_at_once() -> None:
    """A refusal that was seen while money was on its way is followed by a success."""
    async with a_world(100) as world:
        world.ledger.hold_commits()
        asked = await world.asking(buy(1000), credit(1000), buy(1000))
        world.ledger.let_commits_go()

        answers = await asyncio.gather(*asked)

        assert [answer.outcome for answer in answers] == [
            Outcome.REFUSED,
            Outcome.CREATED,
            Outcome.CREATED,
        ]


@in_virtual_time
async def test_a_dry_run_changes_nothing() -> None:
    """It says what would happen, and marks itself."""
    async with a_world() as world:
        answer = await world.ask(
            commit(seconds=90, dry_run=True),
        )

        assert answer.outcome is Outcome.ANSWERED
        assert (answer.body["dry_run"], answer.body["charged_pence"]) == (True, 112)
        assert (world.types(), world.balance()) == ([], 1000)


@in_virtual_time
async def test_an_impossible_setting_fails_only_its_asker() -> None:
    """It is no decision: nothing is stored, and the wallet goes on."""
    async with a_world() as world:
        asked = await world.asking(change_settings({"hold_minutes": 0}), charge(1))

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert isinstance(results[0], InvalidCommand)
        assert world.balance() == 999
