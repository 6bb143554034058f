"""The actor: no answer and no effect before all it rests on is durable."""

import asyncio

import pytest

from wallet_engine.commands import Ask, Command
from wallet_engine.errors import DeadlinePassed, InvalidCommand, LedgerFault
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.limits import Limits
from wallet_testing.builders import (
    ORG,
    buy,
    change_settings,
    charge,
    check,
    commit,
    credit,
    look,
    note_start,
    release,
    reserve,
    suspend,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world

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
        charge(1, key="another").__class__(
            org_id=ORG,
            client_key="rehearsal",
            amount_pence=1,
            spend_class=charge(1).spend_class,
            type="call_deduction",
            dry_run=True,
        ),
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
        for number, task in enumerate(asked):
            task.add_done_callback(lambda _, number=number: order.append(number))
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


# --- callers who leave ---------------------------------------------------------------------


@in_virtual_time
async def test_a_cancelled_caller_cancels_no_write() -> None:
    """What was decided is written, and a retry finds it."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [asked] = await world.asking(charge(100, key="k"))
        asked.cancel()
        await world.quiet()
        world.ledger.let_commits_go()
        await world.quiet()

        assert asked.cancelled()
        assert world.balance() == 900
        assert (await world.ask(charge(100, key="k"))).body["duplicate"] is True


@in_virtual_time
async def test_a_caller_cancelled_before_the_decision_decides_nothing() -> None:
    """Whoever leaves while the wallet is loaded, or the key looked up, asked nothing."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        [asked] = await world.asking(charge(100, key="k"))
        asked.cancel()
        await world.quiet()
        world.ledger.let_probes_go()
        await world.quiet()

        assert world.balance() == 1000


@in_virtual_time
async def test_nothing_is_decided_past_its_deadline() -> None:
    """A look-up that takes too long ends in a time-out, and in nothing else."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        [asked] = await world.asking(charge(100, key="k"), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        assert isinstance(asked.exception(), DeadlinePassed)

        world.ledger.let_probes_go()
        await world.quiet()

        assert world.balance() == 1000


@in_virtual_time
async def test_a_decision_whose_caller_timed_out_is_written() -> None:
    """The caller is told to ask again, and then hears what became of it."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [asked] = await world.asking(charge(100, key="k"), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        assert isinstance(asked.exception(), DeadlinePassed)
        world.ledger.let_commits_go()
        await world.quiet()

        answer = await world.ask(charge(100, key="k"))

        assert (answer.body["duplicate"], world.balance()) == (True, 900)


# --- holds given back ----------------------------------------------------------------------


async def late(world: World, command: Command, *, cancelled: bool) -> None:
    """Have `command` become durable when its caller has already gone."""
    world.ledger.hold_commits()
    [asked] = await world.asking(command, timeout_s=0.2)
    if cancelled:
        asked.cancel()
    await world.pass_time(seconds=0.3)
    world.ledger.let_commits_go()
    await world.pass_time(seconds=1)
    assert asked.done()
    assert asked.cancelled() or asked.exception()


@pytest.mark.parametrize("cancelled", [False, True], ids=["timed out", "cancelled"])
@in_virtual_time
async def test_a_hold_for_a_caller_who_was_told_no_is_given_back(cancelled: bool) -> None:
    """It became durable too late: nobody will ever use or settle it."""
    async with a_world() as world:
        await late(world, reserve(give_back=True), cancelled=cancelled)

        assert world.types() == ["reservation", "reservation_release"]
        assert world.held() == 0


@in_virtual_time
async def test_a_hold_of_the_api_is_kept() -> None:
    """Its caller repeats the request and hears that it was made."""
    async with a_world() as world:
        await late(world, reserve(give_back=False), cancelled=False)

        assert world.types() == ["reservation"]
        assert (await world.ask(reserve())).body["duplicate"] is True


@in_virtual_time
async def test_a_hold_that_somebody_was_promised_is_kept() -> None:
    """The webhook is repeated while the first delivery waits: its caller is told yes."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [first] = await world.asking(reserve(give_back=True), timeout_s=0.2)
        await world.pass_time(seconds=0.1)
        [second] = await world.asking(reserve(give_back=True), timeout_s=5)
        await world.pass_time(seconds=0.2)
        assert isinstance(first.exception(), DeadlinePassed)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=1)

        assert second.result().outcome is Outcome.REPEATED
        assert world.held() == 280


@in_virtual_time
async def test_a_hold_given_back_admits_nobody() -> None:
    """A repeat that comes after the money was freed may not start a call on it."""
    async with a_world() as world:
        await late(world, reserve(give_back=True), cancelled=False)

        answer = await world.ask(reserve(give_back=True))

        assert answer.code is RefusalCode.CALL_ENDED or world.held() == 280


@in_virtual_time
async def test_a_call_given_back_that_happened_is_booked() -> None:
    """Late truth wins: if the call took place all the same, it is charged."""
    async with a_world() as world:
        await late(world, reserve(give_back=True), cancelled=False)

        await world.ask(commit(seconds=60, strict=False))

        assert world.balance() == 944


# --- what memory does not know -------------------------------------------------------------


@in_virtual_time
async def test_an_old_key_is_looked_up() -> None:
    """A key that left memory is found in the journal: the first answer again."""
    async with a_world(limits=FORGETFUL) as world:
        first = await world.ask(charge(100, key="old"))
        world.ledger.probed.clear()

        again = await world.ask(charge(100, key="old"))

        assert again.body == {**first.body, "duplicate": True}
        assert [probe.key for group in world.ledger.probed for probe in group] == ["client:old"]


@in_virtual_time
async def test_a_refusal_does_not_hide_a_success() -> None:
    """What was bought with the last money is a success for ever, on an empty wallet too."""
    async with a_world(1000, limits=FORGETFUL) as world:
        await world.ask(buy(1000, key="old"))

        again = await world.ask(buy(1000, key="old"))
        other = await world.ask(buy(1001, key="old"))

        assert (again.outcome, again.body["duplicate"]) == (Outcome.REPEATED, True)
        assert other.code is RefusalCode.KEY_REUSE
        assert (await world.ask(buy(1000, key="new"))).outcome is Outcome.REFUSED


@in_virtual_time
async def test_an_ended_call_is_looked_up() -> None:
    """A call that left memory is settled once, and is no call to admit or release."""
    async with a_world(limits=FORGETFUL) as world:
        await world.ask(commit("direct", seconds=60))

        assert (await world.ask(reserve("direct"))).code is RefusalCode.CALL_ENDED
        assert (await world.ask(release("direct"))).code is RefusalCode.CALL_ENDED
        assert (await world.ask(commit("direct", seconds=60))).outcome is Outcome.REPEATED
        assert world.balance() == 944


@in_virtual_time
async def test_a_whole_memory_needs_no_look_up() -> None:
    """As long as the whole journal of a wallet is remembered, what is not there is nowhere."""
    async with a_world() as world:
        world.ledger.probed.clear()
        for ask in (reserve(), check(), commit(seconds=1), check(), charge(1), look()):
            await world.ask(ask)

        assert world.ledger.probed == []


@in_virtual_time
async def test_operations_on_a_live_hold_need_no_look_up() -> None:
    """That it is live proves that it was neither settled, nor released, nor expired."""
    async with a_world(limits=FORGETFUL) as world:
        for call_id in ("a", "b"):
            await world.ask(reserve(call_id))
        world.ledger.probed.clear()

        await world.ask(check("a"))
        await world.ask(commit("a", seconds=1))
        await world.ask(release("b"))

        assert world.ledger.probed == []


@in_virtual_time
async def test_who_waits_is_looked_up_together() -> None:
    """One query for all keys that came while the last one was under way."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        asked = await world.asking(*(charge(1, key=f"k{number}") for number in range(10)))
        world.ledger.probed.clear()
        world.ledger.let_probes_go()
        await asyncio.gather(*asked)

        assert [len(group) for group in world.ledger.probed] == [9]


@in_virtual_time
async def test_the_same_unknown_key_at_the_same_time() -> None:
    """Both look-ups find nothing, and still only one is decided."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        asked = await world.asking(*(charge(100, key="k") for _ in range(3)))
        world.ledger.let_probes_go()

        answers = await asyncio.gather(*asked)

        assert [answer.body["duplicate"] for answer in answers] == [False, True, True]
        assert world.balance() == 900


@in_virtual_time
async def test_a_look_up_that_is_refused_fails_only_its_asker() -> None:
    """One bad probe does not spoil those that were asked with it."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.poisoned_probes = {"client:bad"}
        world.ledger.hold_probes()
        asked = await world.asking(*(charge(1, key=key) for key in ("one", "bad", "two")))
        world.ledger.let_probes_go()

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert isinstance(results[1], LedgerFault)
        assert world.balance() == 998
