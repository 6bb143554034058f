"""Callers who leave: what was decided is written, what was not is never decided."""

import asyncio

import pytest

from wallet_engine.commands import Command, Release
from wallet_engine.errors import DeadlinePassed
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.limits import Limits
from wallet_testing.builders import ORG, admit, charge, commit
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world

FORGETFUL = Limits(remembered_keys=0)
"""What is durable is forgotten at once, so every key and call is looked up."""


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
async def test_a_deadline_counts_before_anybody_watches_it() -> None:
    """A look-up answered just too late decides nothing, though the time-out was not told yet."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        [asked] = await world.asking(charge(100, key="k"), timeout_s=0.01)
        await world.pass_time(seconds=0.02)
        assert not asked.done()
        world.ledger.let_probes_go()
        await world.quiet()

        assert isinstance(asked.exception(), DeadlinePassed)
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
        await late(world, admit(), cancelled=cancelled)

        assert world.types() == ["reservation", "reservation_release"]
        assert world.held() == 0


@in_virtual_time
async def test_a_hold_whose_answer_met_a_cancellation_is_given_back() -> None:
    """The caller was cancelled in the very turn in which it was answered: it never heard."""
    async with a_world() as world:
        loop = asyncio.get_running_loop()
        world.ledger.hold_commits()
        [asked] = await world.asking(admit())
        world.effects.call_on_entry = lambda: loop.call_soon(asked.cancel)
        world.ledger.let_commits_go()
        await world.quiet()

        assert asked.cancelled()
        assert world.types() == ["reservation", "reservation_release"]


@in_virtual_time
async def test_a_hold_of_the_api_is_kept() -> None:
    """Its caller repeats the request, and hears that it was made."""
    async with a_world() as world:
        await late(world, admit(give_back=False), cancelled=False)

        assert world.types() == ["reservation"]
        assert (await world.ask(admit(give_back=False))).body["duplicate"] is True


@pytest.mark.parametrize("between", [0, 3], ids=["right behind", "later"])
@in_virtual_time
async def test_a_hold_that_somebody_was_promised_is_kept(between: int) -> None:
    """The webhook is repeated while the first delivery waits: its caller is told yes."""
    async with a_world(limits=Limits(batch_entries_per_wallet=1)) as world:
        world.ledger.hold_commits()
        [first] = await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.1)
        await world.asking(*(charge(1, key=f"k{number}") for number in range(between)))
        [second] = await world.asking(admit(), timeout_s=5)
        await world.pass_time(seconds=0.2)
        assert isinstance(first.exception(), DeadlinePassed)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=1)

        assert second.result().outcome is Outcome.REPEATED
        assert world.held() == 280


@in_virtual_time
async def test_a_hold_whose_every_caller_gave_up_is_given_back() -> None:
    """The repeat waits longer than the first, but not long enough either."""
    async with a_world(limits=Limits(batch_entries_per_wallet=1)) as world:
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.asking(charge(1), admit(), timeout_s=0.4)
        await world.pass_time(seconds=0.3)
        world.ledger.next_commits(None, *[Fault.BUSY] * 4)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
async def test_a_hold_given_back_admits_nobody() -> None:
    """A repeat that comes after the money was freed may not start a call on it."""
    async with a_world() as world:
        await late(world, admit(), cancelled=False)

        answer = await world.ask(admit())

        assert answer.code is RefusalCode.CALL_ENDED


@in_virtual_time
async def test_a_call_given_back_that_happened_is_booked() -> None:
    """Late truth wins: if the call took place all the same, it is charged."""
    async with a_world() as world:
        await late(world, admit(), cancelled=False)

        await world.ask(commit(seconds=60, strict=False))

        assert world.balance() == 944


@in_virtual_time
async def test_an_errand_that_finds_no_room_comes_again() -> None:
    """A hold whose caller was told no elsewhere is given back, though the mailbox was full."""
    async with a_world(limits=Limits(remembered_keys=0, mailbox_per_wallet=1)) as world:
        await world.ask(admit("call"))
        world.ledger.hold_probes()
        await world.asking(charge(100, key="k"))
        world.node.shards.errand(Release(org_id=ORG, call_id="call", reason="late", strict=False))
        await world.pass_time(seconds=0.3)
        assert world.held() > 0

        world.ledger.let_probes_go()
        await world.pass_time(seconds=0.5)

        assert world.held() == 0
