"""Live calls when something else is wrong: stopped wallets, an absent ledger, a dead node."""

import pytest

from wallet_engine.errors import LedgerUnavailable
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.limits import Limits
from wallet_engine.settings import CapPolicy, Settings
from wallet_testing.builders import (
    ORG,
    T0_MS,
    admit,
    charge,
    check,
    heard,
    kill,
    look,
    note_start,
    reserve,
    resume,
    suspend,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world, new_node

UNCAPPED = Settings(cap_policy=CapPolicy.MAX_CALL)
SOON_S = 3.0
"""How late a call may be ended when nothing works as it should."""


def killed(world: World) -> dict[str, str]:
    """Return which calls were told to end, and why first."""
    told: dict[str, str] = {}
    for one in world.effects.killed:
        told.setdefault(one.call_id, one.reason)
    return told


# --- suspension ----------------------------------------------------------------------------


@in_virtual_time
async def test_a_suspension_ends_live_calls() -> None:
    """All of the org's calls are told to end; those of other systems end themselves."""
    async with a_world(2000) as world:
        await world.ask(admit("a"))
        await world.ask(admit("b"))
        await world.ask(reserve("theirs"))

        await world.ask(suspend(reason="unpaid"))
        await world.quiet()

        assert world.types()[3:] == ["suspend", "call_kill", "call_kill", "call_kill"]
        assert killed(world) == {"a": "suspended", "b": "suspended"}
        assert all(one.journaled for one in world.effects.killed)
        answer = await world.ask(check("theirs"))
        assert (answer.body["end_call"], answer.body["reason"]) == (True, "suspended")


@in_virtual_time
async def test_a_suspension_ends_calls_that_were_just_admitted() -> None:
    """A hold decided before the suspension, and durable with it, is no exception."""
    async with a_world(2000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(admit("a"), suspend(), admit("b"))
        world.ledger.let_commits_go()
        answers = [await task for task in asked]
        await world.quiet()

        assert answers[2].code is RefusalCode.WALLET_SUSPENDED
        assert killed(world) == {"a": "suspended"}


@in_virtual_time
async def test_a_resumed_wallet_admits_again() -> None:
    """Calls that were told to end stay so; new ones start."""
    async with a_world(2000) as world:
        await world.ask(admit("a"))
        await world.ask(suspend())
        await world.ask(resume())

        assert (await world.ask(admit("b"))).outcome is Outcome.CREATED
        await world.quiet()
        assert killed(world) == {"a": "suspended"}


@in_virtual_time
async def test_a_suspension_that_was_lifted_ends_only_what_it_found() -> None:
    """A call admitted after the wallet was resumed goes on, though both became durable at once."""
    async with a_world(2000) as world:
        await world.ask(admit("before"))
        await world.pass_time(seconds=1)
        world.ledger.hold_commits()
        asked = await world.asking(suspend(), resume())
        await world.pass_time(seconds=1)
        asked += await world.asking(admit("after"))
        world.ledger.let_commits_go()
        for task in asked:
            await task
        await world.quiet()

        assert killed(world) == {"before": "suspended"}


@in_virtual_time
async def test_a_kill_that_cannot_be_stored_ends_the_call() -> None:
    """The ledger refuses the very row that says so: the call may not go on for that."""
    async with a_world(280, settings=UNCAPPED) as world:
        await world.ask(admit())
        world.ledger.poison = {"kill:call-1"}
        await world.until(seconds=300 + SOON_S)

        assert killed(world) == {"call-1": "money"}
        world.ledger.poison = set()
        await world.pass_time(seconds=5)
        assert "call_kill" in world.types()


# --- the fleet -----------------------------------------------------------------------------


@in_virtual_time
async def test_the_fleet_is_stopped() -> None:
    """No new holds anywhere, and every live call of every wallet ends."""
    async with a_world(1000, orgs=("org-1", "org-2")) as world:
        await world.ask(admit("a"))
        await world.ask(admit("b", org_id="org-2"))

        world.node.stop_fleet(stopped=True, end_live_calls=True)
        await world.quiet()

        assert killed(world) == {"a": "fleet", "b": "fleet"}
        assert (await world.ask(admit("c"))).code is RefusalCode.WALLET_SUSPENDED


@in_virtual_time
async def test_the_fleet_is_stopped_but_calls_go_on() -> None:
    """Without `end_live_calls` only what is new is refused."""
    async with a_world(1000) as world:
        await world.ask(admit("a"))

        world.node.stop_fleet(stopped=True, end_live_calls=False)
        await world.quiet()

        assert killed(world) == {}
        assert (await world.ask(admit("b"))).code is RefusalCode.WALLET_SUSPENDED


@in_virtual_time
async def test_the_fleet_goes_on() -> None:
    """After the switch is released calls start again, and a second stop ends them again."""
    async with a_world(1000) as world:
        world.node.stop_fleet(stopped=True, end_live_calls=True)
        world.node.stop_fleet(stopped=False, end_live_calls=False)
        assert (await world.ask(admit("a"))).outcome is Outcome.CREATED

        world.node.stop_fleet(stopped=True, end_live_calls=True)
        world.node.stop_fleet(stopped=True, end_live_calls=True)
        await world.quiet()

        assert world.types() == ["reservation", "call_kill"]


@in_virtual_time
async def test_a_wallet_loaded_while_the_fleet_is_stopped() -> None:
    """Its live calls end as soon as anybody looks at it."""
    async with a_world(1000) as world:
        await world.ask(admit("a"))
        await world.crash()
        successor = new_node(world.ledger, number=2, limits=Limits(tenure_ms=0))
        await successor.node.start()
        successor.node.stop_fleet(stopped=True, end_live_calls=True)

        await successor.ask(look())
        await successor.quiet()

        assert killed(successor) == {"a": "fleet"}
        await successor.node.stop()


# --- the ledger is away --------------------------------------------------------------------


async def take_away(world: World, how: str) -> None:
    """Let the ledger be away: without anybody noticing, after a failed write, or in mid-write."""
    if how == "hanging":
        world.ledger.hold_commits()
        await world.asking(charge(1))
    else:
        world.ledger.away = True
    if how == "noticed":
        with pytest.raises(LedgerUnavailable):
            await world.ask(charge(1))


@pytest.mark.parametrize("settings", [UNCAPPED, Settings()], ids=["money", "cap"])
@pytest.mark.parametrize("how", ["silently", "noticed", "hanging"])
@pytest.mark.parametrize("at", [200, 280, 295])
@in_virtual_time
async def test_paid_time_ends_without_a_ledger(settings: Settings, how: str, at: int) -> None:
    """When durably paid time is over a call is ended, even if the ledger cannot be reached."""
    async with a_world(280, settings=settings, limits=Limits(idle_s=3600)) as world:
        await world.ask(admit())
        await world.until(seconds=at)
        await take_away(world, how)
        await world.until(seconds=299.9)
        assert world.effects.killed == []

        await world.until(seconds=300 + SOON_S)
        told = list(world.effects.killed)
        world.ledger.away = False
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        assert [one.call_id for one in told][:1] == ["call-1"]
        assert told[0].since_ms == T0_MS + 300_000
        assert "call_kill" in world.types()


@in_virtual_time
async def test_time_that_is_not_durably_paid_ends_too() -> None:
    """An extension that could not be written buys nothing: the hold that is stored counts."""
    async with a_world(1000, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=200)
        world.ledger.away = True

        await world.until(seconds=300 + SOON_S)

        assert killed(world).keys() == {"call-1"}
        world.ledger.away = False


@in_virtual_time
async def test_a_repeated_start_stretches_nothing() -> None:
    """The call is heard again while its extension waits to be written: that pays for nothing."""
    async with a_world(1000, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=265)
        world.ledger.hold_commits()
        await world.until(seconds=280)
        await world.asking(note_start())

        await world.until(seconds=300 + SOON_S)

        assert killed(world) == {"call-1": "money"}
        world.ledger.let_commits_go()


@in_virtual_time
async def test_a_short_absence_ends_nobody() -> None:
    """The extension is made when the ledger is back, in time."""
    async with a_world(1000, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=265)
        world.ledger.away = True
        await world.until(seconds=280)
        world.ledger.away = False
        await world.until(seconds=305)

        assert world.effects.killed == []
        assert world.held() >= 336


# --- a node dies ---------------------------------------------------------------------------


async def survivor(world: World) -> World:
    """Let `world` die, and start another node on its ledger."""
    await world.crash()
    successor = new_node(world.ledger, number=2, limits=Limits(tenure_ms=1000))
    await successor.node.start()
    return successor


@in_virtual_time
async def test_deadlines_survive_a_node() -> None:
    """Nobody asks for the wallet: the sweep finds the hold that falls due, and extends it."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.until(seconds=100)
        successor = await survivor(world)
        await successor.until(seconds=271)

        assert [successor.second_of(row) for row in world.rows("reservation_extension")] == [270]
        await successor.node.stop()


@in_virtual_time
async def test_a_deadline_that_passed_meanwhile_is_met_at_once() -> None:
    """A call whose paid time ended while nobody was there ends when somebody is."""
    async with a_world(280) as world:
        await world.ask(admit())
        await world.crash()
        await world.until(seconds=400)
        successor = await survivor(world)
        await successor.pass_time(seconds=5)

        first = successor.effects.killed[0]
        assert (first.call_id, first.reason) == ("call-1", "cap")
        assert first.journaled
        assert first.since_ms == T0_MS + 300_000
        await successor.node.stop()


@pytest.mark.parametrize("asked_for", [True, False], ids=["asked for", "not asked for"])
@in_virtual_time
async def test_an_ending_survives_a_node(asked_for: bool) -> None:
    """The kill is durable and the node dies before anybody was told: another one tells."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.ask(kill(key="k"))
        successor = await survivor(world)
        await successor.pass_time(seconds=2)
        if asked_for:
            await successor.ask(look())
        await successor.pass_time(seconds=10)

        assert killed(successor) == {"call-1": "fraud"}
        await successor.node.stop()


@in_virtual_time
async def test_an_old_node_that_wakes_cannot_write() -> None:
    """Paused, replaced, and awake again: what it decides is fenced and decided anew."""
    async with a_world(1000, limits=Limits(tenure_ms=0)) as world:
        await world.ask(admit())
        entries = await world.ledger.take_over(ORG, heard(seconds=60))

        answer = await world.ask(heard(seconds=90))

        assert answer.outcome is Outcome.REPEATED
        assert answer.body["seq"] == entries[0].seq
        assert world.balance() == 944
        assert world.effects.killed == []
