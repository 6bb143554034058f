"""Another owner wrote meanwhile, or speculation was thrown away: what was known is so no more."""

import asyncio
from collections.abc import Sequence

from wallet_engine.errors import DeadlinePassed, LedgerUnavailable, OutcomeUnknown
from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_engine.ports import Found, Probe, WalletBatch
from wallet_engine.settings import CapPolicy, Settings
from wallet_testing.builders import (
    ORG,
    admit,
    charge,
    check,
    credit,
    heard,
    kill,
    look,
    note_start,
    prolong,
)
from wallet_testing.clock import LoopClock
from wallet_testing.ledgers import Fault, FaultyLedger
from wallet_testing.virtual_time import in_virtual_time, virtual_loop
from wallet_testing.world import World, a_world

UNCAPPED = Settings(cap_policy=CapPolicy.MAX_CALL)
HASTY = Limits(tenure_ms=0)
ALONE_S = 1_000_000.0
"""So seldom is looked for due holds here, that a test is over by then."""

FORGETFUL = Limits(tenure_ms=0, remembered_keys=0, sweep_s=ALONE_S)
MANY = 100


class LaggingLedger(FaultyLedger):
    """Answers late, or never: a commit of `client:late`, and its look-up, when told so."""

    def __init__(self) -> None:
        super().__init__(LoopClock(virtual_loop()))
        self.commit_answers = asyncio.Event()
        self.probe_answers = asyncio.Event()
        self.probe_answers.set()
        self.loses_answers = False

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        done = await super().commit(batches)
        if any(entry.key == "client:late" for batch in batches for entry in batch.entries):
            await self.commit_answers.wait()
            if self.loses_answers:
                raise OutcomeUnknown("no answer came")
        return done

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        found = await super().probe(probes)
        if any(probe.key == "client:late" and not probe.call_id for probe in probes):
            await self.probe_answers.wait()
        return found


async def opened(world: World) -> None:
    """Open the wallet of a test that brings its own ledger."""
    world.ledger.create(ORG)
    await world.ask(credit(1000, key="opening"))


@in_virtual_time
async def test_an_orphan_of_a_wallet_in_memory_is_found() -> None:
    """Another owner opened a hold and died: whoever has the wallet in memory learns of it."""
    async with a_world(1000, limits=HASTY) as world:
        await world.ask(look())
        await world.ledger.take_over(ORG, admit())

        await world.until(seconds=3600)

        assert world.held() == 0
        assert "call_kill" in world.types()


@in_virtual_time
async def test_a_call_that_another_owner_paid_for_goes_on() -> None:
    """Its end was decided here, and turned away: it is not decided again unless it is due."""
    limits = Limits(tenure_ms=0, sweep_s=ALONE_S)
    async with a_world(280, settings=UNCAPPED, limits=limits) as world:
        await world.ask(admit())
        await world.until(seconds=299)
        await world.ledger.take_over(
            ORG, credit(1000, key="meanwhile"), prolong(), defaults=UNCAPPED
        )
        await world.until(seconds=303)

        assert "call_kill" not in world.types()
        assert world.effects.killed == []


@in_virtual_time
async def test_a_call_that_another_owner_settled_is_not_ended() -> None:
    """It was settled here too, in vain: no timer of it is left."""
    async with a_world(1000, limits=HASTY) as world:
        await world.ask(admit())
        await world.ledger.take_over(ORG, heard(seconds=60))
        answer = await world.ask(heard(seconds=60))
        await world.until(seconds=900)

        assert answer.outcome is Outcome.REPEATED
        assert world.node.counts().live_calls == 0
        assert world.effects.killed == []


@in_virtual_time
async def test_an_answer_that_a_reload_settled_settles_nothing_more() -> None:
    """What was decided after the reload is not taken for written by it."""
    ledger = LaggingLedger()
    async with a_world(limits=FORGETFUL, ledger=ledger) as world:
        await opened(world)
        [late] = await world.asking(charge(100, key="late"))
        await ledger.take_over(ORG, admit("other"))
        [asked] = await world.asking(check("other"))  # which shows that another owner wrote
        [after] = await world.asking(charge(7, key="after"))
        ledger.poison = {"client:after"}
        ledger.commit_answers.set()
        await world.pass_time(seconds=3)

        assert late.result().outcome is Outcome.CREATED
        assert asked.done()
        assert after.exception() is not None
        assert "client:after" not in [entry.key for entry in world.journal()]


@in_virtual_time
async def test_an_answer_that_comes_while_the_wallet_is_loaded() -> None:
    """Everybody is answered: the row was found, and its answer came as well."""
    ledger = LaggingLedger()
    async with a_world(limits=FORGETFUL, ledger=ledger) as world:
        await opened(world)
        [late] = await world.asking(charge(100, key="late"))
        ledger.probe_answers.clear()
        await ledger.take_over(ORG, admit("other"))
        waiting = await world.asking(check("other"), look())
        ledger.commit_answers.set()
        await world.quiet()
        ledger.probe_answers.set()
        await world.pass_time(seconds=1)

        assert late.result().outcome is Outcome.CREATED
        assert [task.result().outcome for task in waiting] == [Outcome.ANSWERED] * 2


@in_virtual_time
async def test_a_late_hold_is_given_back_though_its_repeat_failed() -> None:
    """Both callers were told no: the one waited too long, the other's decision was abandoned."""
    async with a_world(1000, limits=Limits(sweep_s=ALONE_S)) as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        [first] = await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        [_, again] = await world.asking(charge(1, key="other"), admit())
        world.ledger.next_commits(None, *[Fault.BUSY] * MANY)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=2)
        world.ledger.forget_faults()
        await world.pass_time(seconds=5)

        assert isinstance(first.exception(), DeadlinePassed)
        assert isinstance(again.exception(), LedgerUnavailable)
        assert world.held() == 0


@in_virtual_time
async def test_the_clock_of_a_call_outlives_a_settlement_in_vain() -> None:
    """A settlement that was never written leaves the call as it was."""
    async with a_world(280, limits=Limits(sweep_s=ALONE_S)) as world:
        await world.ask(admit())
        await world.until(seconds=20)
        await world.ask(note_start(heard_ms=world.clock.now_ms()))
        world.ledger.next_commits(*[Fault.BUSY] * MANY)
        [settled] = await world.asking(heard(seconds=5), timeout_s=3)
        await world.pass_time(seconds=3)
        world.ledger.forget_faults()
        await world.until(seconds=301)

        assert settled.exception() is not None
        assert world.effects.killed == []


@in_virtual_time
async def test_what_was_read_before_another_owner_wrote_is_read_again() -> None:
    """A read waits for a write whose outcome is not known; when it is, more is known as well."""
    ledger = LaggingLedger()
    async with a_world(limits=FORGETFUL, ledger=ledger) as world:
        await opened(world)
        [late] = await world.asking(charge(100, key="late"))
        await ledger.take_over(ORG, credit(50, key="meanwhile"))
        [looked] = await world.asking(look())
        assert not looked.done()
        ledger.loses_answers = True
        ledger.commit_answers.set()
        await world.pass_time(seconds=1)

        assert late.result().outcome is Outcome.CREATED
        assert looked.result().body["balance_pence"] == 950


@in_virtual_time
async def test_nobody_goes_on_ending_what_another_owner_settled() -> None:
    """A call that is over there is no business of this node any more."""
    async with a_world(1000, limits=HASTY) as world:
        await world.ask(admit())
        await world.ask(kill())
        assert world.effects.killed
        await world.ledger.take_over(ORG, heard(seconds=60))

        await world.ask(charge(1))

        assert world.effects.left == ["call-1"]
