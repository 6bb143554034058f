"""Wallets that come, leave, and do not exist: what is loaded, and for how long it stays."""

import asyncio

import pytest

from wallet_engine.errors import LedgerFault, Overloaded, UnknownOrg
from wallet_engine.journal import Answer, Outcome
from wallet_engine.limits import Limits
from wallet_testing.builders import ORG, charge, credit, look, release, reserve
from wallet_testing.ledgers import OTHER
from wallet_testing.owners import claimed
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world

THREE = ("org-1", "org-2", "org-3")


# --- unknown orgs --------------------------------------------------------------------------


@in_virtual_time
async def test_an_unknown_org() -> None:
    """There is no wallet: that is said, and nothing is made."""
    async with a_world() as world:
        with pytest.raises(UnknownOrg):
            await world.ask(credit(1, org_id="nobody"))

        assert "nobody" not in world.ledger.rows


@in_virtual_time
async def test_an_unknown_org_is_remembered_briefly() -> None:
    """Asking again costs nothing for a while, and then it is looked up again."""
    async with a_world(limits=Limits(unknown_s=2.0)) as world:
        world.ledger.claimed.clear()
        for _ in range(3):
            with pytest.raises(UnknownOrg):
                await world.ask(look(org_id="nobody"))
        assert len(world.ledger.claimed) == 1

        await world.pass_time(seconds=2.1)
        world.ledger.create("nobody")

        assert (await world.ask(look(org_id="nobody"))).outcome is Outcome.ANSWERED


@in_virtual_time
async def test_a_new_org_is_welcome_at_once() -> None:
    """Whoever creates it clears what was remembered."""
    async with a_world() as world:
        with pytest.raises(UnknownOrg):
            await world.ask(look(org_id="new"))
        world.ledger.create("new")
        world.node.residents.welcome("new")

        assert (await world.ask(credit(1, org_id="new"))).outcome is Outcome.CREATED


@in_virtual_time
async def test_unknown_orgs_are_bounded() -> None:
    """Whoever asks for a thousand names fills no memory."""
    async with a_world(limits=Limits(unknown_max=10)) as world:
        for number in range(25):
            with pytest.raises(UnknownOrg):
                await world.ask(look(org_id=f"nobody-{number}"))

        assert len(world.node.residents._unknown) <= 10
        assert world.node.counts().wallets == 1


# --- wallets come and leave ----------------------------------------------------------------


@in_virtual_time
async def test_wallets_are_loaded_together() -> None:
    """All that wait are claimed in one query, in the order of their names."""
    async with a_world(orgs=()) as world:
        for org_id in THREE:
            world.ledger.create(org_id)
        asked = await world.asking(*(look(org_id=org_id) for org_id in reversed(THREE)))
        await asyncio.gather(*asked)

        assert world.ledger.claimed == [list(THREE)]


@in_virtual_time
async def test_a_wallet_that_cannot_be_loaded_fails_only_its_own_callers() -> None:
    """What is stored of one org makes no sense: the orgs loaded with it are served."""
    async with a_world(orgs=()) as world:
        for org_id in THREE:
            world.ledger.create(org_id)
        world.ledger.rows["org-2"].overrides = {"hold_minutes": -1}
        asked = await world.asking(*(credit(1, org_id=org_id) for org_id in THREE))

        results = await asyncio.gather(*asked, return_exceptions=True)

        world.ledger.rows["org-2"].overrides = {}
        assert [type(result) for result in results] == [Answer, LedgerFault, Answer]


@in_virtual_time
async def test_the_least_recently_used_wallet_leaves() -> None:
    """When there is no room, the one that nobody used for longest makes it."""
    async with a_world(orgs=THREE, limits=Limits(wallets_max=3)) as world:
        world.ledger.create("org-4")
        await world.ask(look(org_id="org-1"))

        await world.ask(credit(7, org_id="org-4"))

        assert world.in_memory() == {"org-1", "org-3", "org-4"}


@in_virtual_time
async def test_a_wallet_that_left_comes_back_as_it_was() -> None:
    """It is loaded under a new epoch; its keys are found in the journal."""
    async with a_world(orgs=THREE, limits=Limits(wallets_max=2)) as world:
        first = await world.ask(charge(100, key="k", org_id="org-1"))
        await world.ask(look(org_id="org-2"))
        await world.ask(look(org_id="org-3"))
        assert "org-1" not in world.in_memory()

        again = await world.ask(charge(100, key="k", org_id="org-1"))

        assert again.body == {**first.body, "duplicate": True}
        assert world.balance("org-1") == 900


@in_virtual_time
async def test_wallets_with_live_calls_do_not_leave() -> None:
    """Their timers are here: who has room for no other wallet says so."""
    async with a_world(orgs=("org-1", "org-2"), limits=Limits(wallets_max=2)) as world:
        world.ledger.create("org-3")
        for org_id in ("org-1", "org-2"):
            await world.ask(reserve(org_id=org_id))

        with pytest.raises(Overloaded):
            await world.ask(look(org_id="org-3"))

        await world.ask(release(org_id="org-1"))
        assert (await world.ask(look(org_id="org-3"))).outcome is Outcome.ANSWERED


@in_virtual_time
async def test_wallets_with_something_under_way_do_not_leave() -> None:
    """What waits there for its write, or for its look-up, is not forgotten."""
    async with a_world(orgs=("org-1",), limits=Limits(wallets_max=1)) as world:
        world.ledger.create("org-2")
        world.ledger.hold_commits()
        [asked] = await world.asking(charge(1))

        with pytest.raises(Overloaded):
            await world.ask(look(org_id="org-2"))

        world.ledger.let_commits_go()
        await asked
        assert await world.ask(look(org_id="org-2"))


@in_virtual_time
async def test_a_wallet_that_rests_forgets_its_journal() -> None:
    """Not used for a while it keeps no keys; they are looked up when they come again."""
    async with a_world(limits=Limits(idle_s=10)) as world:
        await world.ask(charge(100, key="k"))
        actor = world.actor()
        await world.pass_time(seconds=5)
        assert actor.memory.entries

        await world.pass_time(seconds=6)

        assert not actor.memory.entries
        assert (await world.ask(charge(100, key="k"))).outcome is Outcome.REPEATED


@in_virtual_time
async def test_remembered_keys_are_bounded() -> None:
    """What is durable makes room; what is not never leaves."""
    async with a_world(limits=Limits(remembered_keys=8)) as world:
        for number in range(20):
            await world.ask(charge(1, key=f"k{number}"))
        assert len(world.actor().memory.entries) == 8

        world.ledger.hold_commits()
        asked = await world.asking(*(charge(1, key=f"n{number}") for number in range(20)))
        assert len(world.actor().memory.entries) >= 20
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)
        assert len(world.actor().memory.entries) == 8


@in_virtual_time
async def test_a_claim_names_this_very_process() -> None:
    """The fence is the boot, not the name: a node that was restarted is another owner."""
    async with a_world() as world:
        await claimed(world.ledger, [ORG], owner=OTHER)

        assert (await world.ask(charge(1))).outcome is Outcome.CREATED
        assert world.ledger.rows[ORG].owner == "boot-1"
