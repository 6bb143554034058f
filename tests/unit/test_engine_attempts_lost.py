"""Attempts at one hold, when what was decided about them is lost, refused, or not sure."""

from collections.abc import Collection, Mapping, Sequence

import pytest

from wallet_engine.errors import DeadlinePassed
from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_engine.ports import Claim
from wallet_engine.unwanted import TAKERS_MAX, release_of
from wallet_testing.builders import ORG, admit, charge, credit, release, reserve
from wallet_testing.clock import LoopClock
from wallet_testing.ledgers import Fault, FaultyLedger
from wallet_testing.virtual_time import in_virtual_time, virtual_loop
from wallet_testing.world import World, a_world


async def only_the_repeat_heard(world: World) -> None:
    """Have the attempt that opens a hold be told no, and its repeat yes."""
    await world.ask(charge(1, key="warm"))
    world.ledger.hold_commits()
    [first] = await world.asking(admit(), timeout_s=0.2)
    await world.pass_time(seconds=0.3)
    assert isinstance(first.exception(), DeadlinePassed)
    [repeat] = await world.asking(admit(attempt=2))
    world.ledger.let_commits_go()
    await world.pass_time(seconds=1)
    assert repeat.result().outcome is Outcome.REPEATED
    assert world.actor().takers == {"call-1": {2}}


@in_virtual_time
@pytest.mark.parametrize("faults", [[], [Fault.LOST_BEFORE], [Fault.BUSY] * 40])
async def test_the_release_after_the_last_attempt_is_lost(faults: Sequence[Fault]) -> None:
    """It is decided again: nobody is left who wants the hold."""
    async with a_world() as world:
        await only_the_repeat_heard(world)
        world.ledger.next_commits(*faults)
        world.node.shards.errand(release_of(ORG, "call-1", unheard=2))
        await world.pass_time(seconds=2)
        world.ledger.forget_faults()
        await world.pass_time(seconds=10)

        assert world.held() == 0


@in_virtual_time
async def test_the_release_after_the_last_attempt_is_refused() -> None:
    """It is asked again, with pauses."""
    async with a_world() as world:
        await only_the_repeat_heard(world)
        world.ledger.poison = {"release:call-1"}
        world.node.shards.errand(release_of(ORG, "call-1", unheard=2))
        await world.pass_time(seconds=10)
        assert len(world.ledger.claimed) < 20

        world.ledger.poison = set()
        await world.pass_time(seconds=10)
        assert world.held() == 0


@in_virtual_time
async def test_an_end_that_comes_to_nothing_ends_no_attempt() -> None:
    """A repeat is told yes while a release is decided, which is never written."""
    async with a_world(limits=Limits(tenure_ms=0, batch_entries_per_wallet=1)) as world:
        await world.ledger.take_over(ORG, admit())
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(charge(1, key="first"))
        [repeat] = await world.asking(admit(attempt=2))
        await world.asking(release())
        world.ledger.next_commits(None, *[Fault.BUSY] * 40)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=3)
        world.ledger.forget_faults()
        assert repeat.result().outcome is Outcome.REPEATED

        world.node.shards.errand(release_of(ORG, "call-1", unheard=1))
        await world.pass_time(seconds=5)

        assert world.held() == 280


@in_virtual_time
async def test_who_was_let_in_all_the_same_is_an_attempt_that_heard_yes() -> None:
    """Its org lets calls in without a decision since just now; the hold is for that call."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.asking(admit(attempt=2, give_back=False), timeout_s=0.4)
        await world.pass_time(seconds=0.6)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        assert world.held() == 280


@in_virtual_time
async def test_a_rehearsal_is_no_attempt() -> None:
    """Whoever only asks what would happen wants no hold."""
    async with a_world() as world:
        await world.ask(admit())
        await world.ask(reserve(dry_run=True))
        world.node.shards.errand(release_of(ORG, "call-1", unheard=1))
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
async def test_more_attempts_than_are_told_apart() -> None:
    """The hold stays, and what is remembered of them stays small."""
    async with a_world() as world:
        for number in range(3 * TAKERS_MAX):
            await world.ask(admit(attempt=number + 1))

        assert len(world.actor().takers["call-1"]) <= TAKERS_MAX + 1


@in_virtual_time
async def test_another_owner_may_have_told_somebody_yes() -> None:
    """It had the wallet for a moment: the last attempt that is known here is not the last."""
    async with a_world(limits=Limits(tenure_ms=0)) as world:
        await only_the_repeat_heard(world)
        await world.ledger.take_over(ORG)
        await world.ask(charge(1, key="again"))

        world.node.shards.errand(release_of(ORG, "call-1", unheard=2))
        await world.pass_time(seconds=5)

        assert world.held() == 280


class FailingOnce(FaultyLedger):
    """Meets a bug when a wallet is claimed for the second time."""

    claims = 0

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        self.claims += 1
        if self.claims == 2:  # the second
            raise RuntimeError("a bug")
        return await super().activate(org_ids, owner=owner, seen=seen, anew=anew)


@in_virtual_time
async def test_a_wallet_that_cannot_be_loaded_leaves_no_hold_behind() -> None:
    """The answer to the write was lost, and looking for it met a bug: nobody heard of the hold."""
    ledger = FailingOnce(LoopClock(virtual_loop()))
    ledger.create(ORG)
    async with a_world(ledger=ledger) as world:
        await world.ask(credit(1000, key="opening"))
        world.ledger.next_commits(Fault.LOST_AFTER)
        await world.asking(admit(), timeout_s=1)
        await world.pass_time(seconds=10)

        assert world.held() == 0
