"""Live calls when somebody stops them: one wallet, or the whole fleet.  SPEC §3, Kill switch."""

from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.limits import Limits
from wallet_testing.builders import (
    admit,
    check,
    look,
    reserve,
    resume,
    suspend,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world, new_node

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
        assert world.told() == {"a": "suspended", "b": "suspended"}
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
        assert world.told() == {"a": "suspended"}


@in_virtual_time
async def test_a_resumed_wallet_admits_again() -> None:
    """Calls that were told to end stay so; new ones start."""
    async with a_world(2000) as world:
        await world.ask(admit("a"))
        await world.ask(suspend())
        await world.ask(resume())

        assert (await world.ask(admit("b"))).outcome is Outcome.CREATED
        await world.quiet()
        assert world.told() == {"a": "suspended"}


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

        assert world.told() == {"before": "suspended"}


# --- the fleet -----------------------------------------------------------------------------


@in_virtual_time
async def test_the_fleet_is_stopped() -> None:
    """No new holds anywhere, and every live call of every wallet ends."""
    async with a_world(1000, orgs=("org-1", "org-2")) as world:
        await world.ask(admit("a"))
        await world.ask(admit("b", org_id="org-2"))

        world.node.stop_fleet(stopped=True, end_live_calls=True)
        await world.quiet()

        assert world.told() == {"a": "fleet", "b": "fleet"}
        assert (await world.ask(admit("c"))).code is RefusalCode.WALLET_SUSPENDED


@in_virtual_time
async def test_the_fleet_is_stopped_but_calls_go_on() -> None:
    """Without `end_live_calls` only what is new is refused."""
    async with a_world(1000) as world:
        await world.ask(admit("a"))

        world.node.stop_fleet(stopped=True, end_live_calls=False)
        await world.quiet()

        assert world.told() == {}
        assert (await world.ask(admit("b"))).code is RefusalCode.WALLET_SUSPENDED


@in_virtual_time
async def test_calls_of_a_stopped_fleet_are_extended() -> None:
    """A call that shall go on goes on while there is money, not only until its hold is used up."""
    async with a_world(1000) as world:
        await world.ask(admit("a"))
        world.node.stop_fleet(stopped=True, end_live_calls=False)

        await world.until(seconds=310)

        assert world.told() == {}
        assert world.held() == 336


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

        assert successor.told() == {"a": "fleet"}
        await successor.node.stop()
