"""The actor when the ledger refuses a row, or cannot work at all.

One bad row fails one caller; a ledger that is away fails everybody, and nothing is lost by it.
"""

import asyncio

import pytest

from wallet_engine.errors import LedgerFault, LedgerUnavailable
from wallet_engine.journal import Answer, Outcome
from wallet_testing.builders import admit, buy, charge, check, look, release, reserve, suspend
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world

# --- poison --------------------------------------------------------------------------------


@in_virtual_time
async def test_poison_fails_only_its_caller() -> None:
    """The ledger refuses one row: that caller hears so, everyone else is served."""
    orgs = ("org-1", "org-2", "org-3")
    async with a_world(1000, orgs=orgs) as world:
        world.ledger.poison = {"client:bad"}
        world.ledger.hold_commits()
        asked = await world.asking(
            charge(1, key="one"),
            charge(2, key="bad"),
            charge(4, key="two"),
            look(),
            charge(8, key="three", org_id="org-2"),
            charge(16, key="four", org_id="org-3"),
        )
        world.ledger.let_commits_go()

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert isinstance(results.pop(1), LedgerFault)
        assert all(isinstance(result, Answer) for result in results)
        assert [world.balance(org_id) for org_id in orgs] == [995, 992, 984]


@in_virtual_time
async def test_what_was_decided_after_poison_is_decided_again() -> None:
    """It rested on a row that is not there: its seq and its balance are new."""
    async with a_world(1000) as world:
        world.ledger.poison = {"client:bad"}
        world.ledger.hold_commits()
        asked = await world.asking(charge(900, key="bad"), buy(500, key="good"), look())
        world.ledger.let_commits_go()

        bad, good, looked = await asyncio.gather(*asked, return_exceptions=True)

        assert isinstance(bad, LedgerFault)
        assert isinstance(good, Answer)
        assert isinstance(looked, Answer)
        assert (good.outcome, good.body["seq"]) == (Outcome.CREATED, 2)
        assert looked.body["balance_pence"] == 500


@in_virtual_time
async def test_poison_that_is_repeated_stays_apart() -> None:
    """Every attempt fails, and none stops the wallet."""
    async with a_world(1000) as world:
        world.ledger.poison = {"client:bad"}
        for number in range(3):
            with pytest.raises(LedgerFault):
                await world.ask(charge(1, key="bad"))
            await world.ask(charge(1, key=f"good-{number}"))

        assert world.balance() == 997
        assert world.node.counts().undurable == 0


# --- busy ----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_short_stop_is_not_noticed() -> None:
    """The lane tries again for a while, so a caller only waits a little longer."""
    async with a_world(1000) as world:
        world.ledger.next_commits(Fault.BUSY, Fault.BUSY, Fault.BUSY)

        answer = await world.ask(charge(100, key="k"))

        assert (answer.outcome, world.balance()) == (Outcome.CREATED, 900)


@in_virtual_time
async def test_a_long_stop_is_told() -> None:
    """Past its patience everyone hears that nothing was written; nothing is."""
    async with a_world(1000) as world:
        world.ledger.away = True
        asked = await world.asking(charge(100, key="k"), look(), buy(9999), check())

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(result) for result in results] == [LedgerUnavailable] * 4
        assert world.clock.elapsed_s < 4
        assert world.balance() == 1000
        world.ledger.away = False


@in_virtual_time
async def test_it_recovers_by_itself() -> None:
    """When the ledger is back the wallet is reloaded, and a retry is a new decision."""
    async with a_world(1000) as world:
        world.ledger.away = True
        with pytest.raises(LedgerUnavailable):
            await world.ask(charge(100, key="k"))
        world.ledger.away = False

        answer = await world.ask(charge(100, key="k"))

        assert (answer.outcome, world.balance()) == (Outcome.CREATED, 900)
        assert world.node.counts().undurable == 0


@in_virtual_time
async def test_what_comes_while_it_is_away_waits_for_it() -> None:
    """Asks that arrive meanwhile are decided when the ledger is back, in time."""
    async with a_world(1000) as world:
        world.ledger.away = True
        with pytest.raises(LedgerUnavailable):
            await world.ask(charge(100, key="k"))
        [asked] = await world.asking(charge(100, key="later"))
        await world.pass_time(seconds=2)
        world.ledger.away = False

        assert (await asked).outcome is Outcome.CREATED


@in_virtual_time
async def test_what_the_engine_asks_of_itself_survives_a_stop() -> None:
    """A hold that was to be given back is given back when the ledger works again."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        [asked] = await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        assert asked.exception()
        world.ledger.next_commits(None, *[Fault.BUSY] * 30)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=60)

        assert world.types() == ["reservation", "reservation_release"]


@in_virtual_time
async def test_a_suspension_ends_calls_after_a_stop() -> None:
    """The kills that follow from it are not lost with the first attempt to write them."""
    async with a_world(1000) as world:
        await world.ask(reserve(managed=True))
        world.ledger.next_commits(None, *[Fault.BUSY] * 30)
        await world.ask(suspend())
        await world.pass_time(seconds=60)

        assert world.types() == ["reservation", "suspend", "call_kill"]
        assert [one.reason for one in world.effects.killed][:1] == ["suspended"]


@in_virtual_time
async def test_a_release_after_faults_frees_once() -> None:
    """Held money is freed once, whatever became of the answers."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        world.ledger.next_commits(Fault.LOST_AFTER)
        await world.ask(release())

        assert (await world.ask(release())).outcome is Outcome.REPEATED
        assert (world.held(), world.balance()) == (0, 1000)
