"""The actor when its writes are fenced, or no answer comes.

Whatever happens to a write, its callers hear the truth, and its decision is stored once.
"""

import asyncio
from collections import Counter

import pytest

from wallet_engine.journal import Answer, Outcome
from wallet_engine.limits import Limits
from wallet_testing.builders import (
    ORG,
    buy,
    charge,
    commit,
    credit,
    extend,
    kill,
    look,
    reserve,
)
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world


def keys_of(world: World, org_id: str = ORG) -> Counter[str]:
    return Counter(entry.key for entry in world.journal(org_id))


def duplicates(answers: list[Answer]) -> list[object]:
    return [answer.body.get("duplicate") for answer in answers]


async def settled(world: World, asked: list[asyncio.Task[Answer]]) -> list[Answer]:
    """Let the ledger work, and wait for all answers."""
    world.ledger.let_commits_go()
    async with asyncio.timeout(30):
        return await asyncio.gather(*asked)


# --- fenced --------------------------------------------------------------------------------


@in_virtual_time
async def test_a_fenced_decision_is_made_again() -> None:
    """Another owner wrote in between: the wallet is reloaded, and all decided on what is there."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="k"), look())
        await world.ledger.take_over(ORG, charge(300, key="theirs"))

        charged, looked = await settled(world, asked)

        assert (charged.outcome, charged.body["seq"]) == (Outcome.CREATED, 3)
        assert charged.body["balance_after_pence"] == 600
        assert looked.body["balance_pence"] == 600
        assert "fence" in world.stats.causes


@in_virtual_time
async def test_refusals_and_reads_are_decided_again() -> None:
    """They rested on a state that never was: the refused purchase can be made after all."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(1400, key="a"), buy(500, key="b"), look())
        await world.ledger.take_over(ORG, credit(2000, key="theirs"))

        _, bought, looked = await settled(world, asked)

        assert bought.outcome is Outcome.CREATED
        assert looked.body["balance_pence"] == 1000 + 2000 - 1400 - 500


@in_virtual_time
async def test_what_was_discarded_is_decided_again_in_order() -> None:
    """Who asked first is served first again: the last money goes to the same purchase."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(buy(400, key=f"k{number}") for number in range(4)))
        await world.ledger.take_over(ORG, charge(100, key="theirs"))

        answers = await settled(world, asked)

        assert [answer.outcome for answer in answers] == [
            Outcome.CREATED,
            Outcome.CREATED,
            Outcome.REFUSED,
            Outcome.REFUSED,
        ]
        assert [entry.key for entry in world.journal()][2:] == ["client:k0", "client:k1"]


@in_virtual_time
async def test_a_key_that_another_owner_decided() -> None:
    """The same request reached two owners: the second one finds the first's answer."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="k"))
        await world.ledger.take_over(ORG, charge(100, key="k"))

        [answer] = await settled(world, asked)

        assert answer.outcome is Outcome.REPEATED
        assert world.balance() == 900


@in_virtual_time
async def test_a_wallet_that_another_owner_keeps_is_waited_for() -> None:
    """Within its tenure the other one is left alone; then the wallet is claimed."""
    async with a_world(1000, limits=Limits(tenure_ms=1000)) as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="k"))
        await world.ledger.take_over(ORG, keep=True)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=0.5)
        assert not asked[0].done()
        assert "taken" in world.stats.causes

        [answer] = await settled(world, asked)

        assert answer.outcome is Outcome.CREATED
        assert world.clock.elapsed_s < 2


@in_virtual_time
async def test_a_call_settled_by_another_owner_has_no_timer() -> None:
    """A live call is one that is live in the ledger."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        assert world.node.counts().live_calls == 1
        await world.ledger.take_over(ORG, commit(seconds=60))

        await world.ask(charge(1, key="k"))

        assert world.node.counts().live_calls == 0


# --- no answer came ------------------------------------------------------------------------


@in_virtual_time
async def test_a_lost_answer_that_committed() -> None:
    """It is found under the new ownership, and its callers hear the first answer."""
    async with a_world(1000) as world:
        world.ledger.next_commits(Fault.LOST_AFTER)
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="a"), look(), buy(5000), charge(100, key="a"))

        first, looked, refused, again = await settled(world, asked)

        assert (first.outcome, first.body["duplicate"]) == (Outcome.CREATED, False)
        assert (again.outcome, again.body["seq"]) == (Outcome.REPEATED, first.body["seq"])
        assert looked.body["balance_pence"] == 900
        assert refused.outcome is Outcome.REFUSED
        assert world.stats.causes == ["unknown", "lost_answer_committed"]
        assert set(keys_of(world).values()) == {1}


@in_virtual_time
async def test_a_lost_answer_that_did_not_commit() -> None:
    """It is decided again, and stored once."""
    async with a_world(1000) as world:
        world.ledger.next_commits(Fault.LOST_BEFORE)
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="a"), charge(100, key="b"), look())

        answers = await settled(world, asked)

        assert duplicates(answers[:2]) == [False, False]
        assert answers[2].body["balance_pence"] == 800
        assert world.types() == ["call_deduction", "call_deduction"]
        assert set(keys_of(world).values()) == {1}


@pytest.mark.parametrize("fault", [Fault.LATE, Fault.TOO_LATE])
@in_virtual_time
async def test_a_late_commit(fault: Fault) -> None:
    """It lands before the ownership is renewed, or never: in both cases once."""
    async with a_world(1000) as world:
        world.ledger.next_commits(fault)
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="a"), charge(100, key="b"))

        answers = await settled(world, asked)

        assert duplicates(answers) == [False, False]
        assert world.balance() == 800
        landed = frozenset({ORG}) if fault is Fault.LATE else frozenset()
        assert world.ledger.late_landed == [landed]


@pytest.mark.parametrize(
    "fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.LATE, Fault.TOO_LATE, Fault.BUSY]
)
@in_virtual_time
async def test_a_command_without_a_key_of_its_own_happens_once(fault: Fault) -> None:
    """An extension is named by its number: a lost answer must not extend twice."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        world.ledger.next_commits(fault)

        answer = await world.ask(extend(seconds=60))

        assert answer.outcome is Outcome.CREATED
        assert world.types() == ["reservation", "reservation_extension"]
        assert world.held() == 336


@in_virtual_time
async def test_answers_are_lost_again_and_again() -> None:
    """However often it happens, every decision is stored once and every caller answered."""
    async with a_world(1000) as world:
        world.ledger.next_commits(
            Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.LATE, Fault.TOO_LATE, Fault.BUSY
        )
        asked = await world.asking(*(charge(1, key=f"k{number}") for number in range(10)))

        answers = await settled(world, asked)

        assert duplicates(answers) == [False] * 10
        assert world.balance() == 990


@in_virtual_time
async def test_effects_of_a_lost_answer_follow_once() -> None:
    """What turned out to be committed has its effects then, and only then."""
    async with a_world(1000) as world:
        await world.ask(reserve(managed=True))
        world.ledger.next_commits(Fault.LOST_AFTER)

        await world.ask(kill(key="k"))
        await world.quiet()

        assert [one.call_id for one in world.effects.killed][:1] == ["call-1"]
        assert [entry.type for entry in world.effects.entries].count("call_kill") == 1


@in_virtual_time
async def test_an_answer_lost_while_another_owner_writes() -> None:
    """Ours was not written, theirs took the same number: ours is decided again after it."""
    async with a_world(1000) as world:
        world.ledger.next_commits(Fault.LOST_BEFORE)
        world.ledger.hold_commits()
        asked = await world.asking(charge(100, key="ours"))
        await world.ledger.take_over(ORG, charge(300, key="theirs"))

        [answer] = await settled(world, asked)

        assert (answer.body["seq"], answer.body["duplicate"]) == (3, False)
        assert world.balance() == 600
