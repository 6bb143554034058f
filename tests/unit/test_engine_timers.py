"""Live calls against the clock: extended while there is money, ended when it is gone.

Source: SPEC §3, Extension, Release, expiry and Kill switch.
"""

from dataclasses import replace

import pytest

from wallet_engine.commands import Command
from wallet_engine.deadlines import CAP_GRACE_MS
from wallet_engine.settings import CapPolicy, Settings
from wallet_engine.tariff import whole_seconds
from wallet_testing.builders import (
    T0_MS,
    admit,
    charge,
    commit,
    credit,
    extend,
    heard,
    kill,
    note_start,
    release,
    reserve,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world

UNCAPPED = Settings(cap_policy=CapPolicy.MAX_CALL)
"""Calls are as long as the money lasts, and a top-up prolongs them."""

QUICKLY_ABANDONED = Settings(hold_expiry_minutes=1, max_call_seconds=600)
"""A hold expires 11 minutes after it was opened: its cap and the grace."""

BY_THE_SECOND = replace(UNCAPPED, first_increment_seconds=1, increment_seconds=1)


def extended_at(world: World) -> list[float]:
    return [world.second_of(entry) for entry in world.rows("reservation_extension")]


def killed_at(world: World) -> list[tuple[str, str, float]]:
    return [(one.call_id, one.reason, (one.at_ms - T0_MS) / 1000) for one in world.effects.killed]


# --- extension -----------------------------------------------------------------------------


@in_virtual_time
async def test_a_managed_call_is_extended_in_time() -> None:
    """30 s before its paid time is up, minute by minute, up to the cap, and not before."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.until(seconds=269.9)
        assert extended_at(world) == []

        await world.until(seconds=599)

        assert extended_at(world) == [270, 330, 390, 450, 510]
        assert world.held() == 560
        assert world.effects.killed == []


@in_virtual_time
async def test_the_clock_starts_with_the_call() -> None:
    """A call that rang for 20 s is extended, and ends, 20 s later."""
    async with a_world(280) as world:
        await world.ask(admit())
        await world.until(seconds=20)
        await world.ask(note_start(heard_ms=world.clock.now_ms()))
        await world.until(seconds=60)
        await world.ask(note_start(heard_ms=world.clock.now_ms()))
        await world.until(seconds=319.9)
        assert world.effects.killed == []

        await world.until(seconds=321)

        assert killed_at(world) == [("call-1", "cap", 320)]


@pytest.mark.parametrize("ended", [commit(seconds=200), release()], ids=["settled", "released"])
@in_virtual_time
async def test_a_call_that_ended_is_left_alone(ended: Command) -> None:
    """Nothing is extended or ended after its settlement."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.until(seconds=200)
        await world.ask(ended)
        rows = len(world.journal())
        await world.until(seconds=700)

        assert len(world.journal()) == rows
        assert world.effects.killed == []
        assert world.effects.ended == ["call-1"]
        assert world.node.counts().live_calls == 0


@in_virtual_time
async def test_a_call_of_others_is_left_alone() -> None:
    """A hold made over `/v1` is neither extended nor ended by the engine; it only expires."""
    async with a_world(1000, settings=QUICKLY_ABANDONED) as world:
        await world.ask(reserve())
        await world.until(seconds=659)
        assert world.types() == ["reservation"]

        await world.until(seconds=661)

        assert world.types() == ["reservation", "reservation_expiry"]
        assert (world.held(), world.balance()) == (0, 1000)
        assert world.effects.killed == []


@in_virtual_time
async def test_others_extend_by_themselves() -> None:
    """`/v1/extend` enlarges what they hold, and nothing else does."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        await world.ask(extend(seconds=60))
        await world.until(seconds=1000)

        assert world.held() == 336


# --- the end of the money ------------------------------------------------------------------


@in_virtual_time
async def test_a_call_ends_with_its_money() -> None:
    """Warned when it is final, tried once more, and ended when its paid time ends."""
    async with a_world(335, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=269.9)
        assert world.effects.final == []
        await world.until(seconds=271)
        assert world.effects.final == [("call-1", T0_MS + 300_000)]
        await world.until(seconds=299.9)
        assert world.effects.killed == []

        await world.until(seconds=301)

        [one] = world.effects.killed
        assert (one.reason, one.since_ms) == ("money", T0_MS + 300_000)
        assert one.at_ms - one.since_ms <= 250
        assert one.journaled
        assert world.types() == ["reservation", "call_kill"]


@in_virtual_time
async def test_the_last_attempt() -> None:
    """Money that another call frees in the last half minute is tried at 15 s."""
    async with a_world(335 + 280, settings=UNCAPPED) as world:
        await world.ask(admit("a"))
        await world.ask(reserve("b"))
        await world.until(seconds=275)
        await world.ask(release("b"))
        await world.until(seconds=284.9)
        assert extended_at(world) == []

        await world.until(seconds=286)

        assert extended_at(world) == [285]


@in_virtual_time
async def test_by_single_increments_if_that_is_all() -> None:
    """The last 20 pence buy the last 21 seconds, and then the call ends."""
    async with a_world(300, settings=BY_THE_SECOND) as world:
        await world.ask(admit())
        await world.until(seconds=400)

        assert extended_at(world) == [270]
        assert killed_at(world) == [("call-1", "money", 321)]
        assert world.held() == 300


@in_virtual_time
async def test_a_killed_call_is_not_extended() -> None:
    """The call is cut and billing ends with it: no money is set aside for it any more."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.until(seconds=100)
        await world.ask(kill(key="k"))
        await world.until(seconds=700)

        assert world.types() == ["reservation", "call_kill"]
        assert killed_at(world) == [("call-1", "fraud", 100)]
        await world.ask(heard(seconds=101))
        assert world.balance() == 1000 - 112


@in_virtual_time
async def test_a_call_ends_at_its_cap() -> None:
    """What Vapi was told is the end, with all the money of the world."""
    async with a_world(10_000, settings=Settings(max_call_seconds=90)) as world:
        await world.ask(admit())
        await world.until(seconds=89.9)
        assert world.effects.killed == []

        await world.until(seconds=91)

        assert killed_at(world) == [("call-1", "cap", 90)]


# --- a credit revives ----------------------------------------------------------------------


@pytest.mark.parametrize("at", [271, 286, 299])
@in_virtual_time
async def test_a_credit_revives_a_final_call(at: int) -> None:
    """Money that arrives in the last seconds prolongs the call at once."""
    async with a_world(280, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=at)
        await world.ask(credit(1000))
        await world.quiet()
        assert extended_at(world) == [at]

        await world.until(seconds=305)
        assert world.effects.killed == []


@in_virtual_time
async def test_a_credit_revives_all_final_calls() -> None:
    """Each of them gets its attempt, in turn."""
    async with a_world(560, settings=UNCAPPED) as world:
        await world.ask(admit("a"))
        await world.ask(admit("b"))
        await world.until(seconds=290)
        await world.ask(credit(112))
        await world.until(seconds=301)

        assert extended_at(world) == [290, 290]
        assert world.effects.killed == []


@in_virtual_time
async def test_a_credit_prolongs_no_call_beyond_its_cap() -> None:
    """Vapi was told when it ends, and ends it itself."""
    async with a_world(280) as world:
        await world.ask(admit())
        await world.until(seconds=290)
        await world.ask(credit(10_000))
        await world.until(seconds=301)

        assert extended_at(world) == []
        assert killed_at(world) == [("call-1", "cap", 300)]


@in_virtual_time
async def test_a_credit_brings_no_killed_call_back() -> None:
    """The decision that it must end was made, and told."""
    async with a_world(280, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=301)
        await world.ask(credit(10_000))
        await world.until(seconds=400)

        assert extended_at(world) == []
        assert world.types() == ["reservation", "call_kill", "topup"]


# --- one balance for all -------------------------------------------------------------------


@pytest.mark.parametrize("settings", [UNCAPPED, BY_THE_SECOND], ids=["60/60", "1/1"])
@pytest.mark.parametrize("apart", [0, 17, 59])
@in_virtual_time
async def test_two_calls_drink_from_one_balance(settings: Settings, apart: int) -> None:
    """On 300 pence they last until it is gone, and together cost no more than that."""
    async with a_world(300, settings=replace(settings, hold_minutes=1)) as world:
        await world.ask(admit("a"))
        await world.until(seconds=apart)
        await world.ask(admit("b"))
        began = {"a": T0_MS, "b": T0_MS + apart * 1000}
        await world.until(seconds=900)

        ended = {one.call_id: one.at_ms for one in world.effects.killed}
        assert ended.keys() == {"a", "b"}
        for call_id, at_ms in ended.items():
            lasted_s = whole_seconds(at_ms - began[call_id])
            await world.ask(heard(call_id, seconds=lasted_s))
        assert 0 <= world.balance() < 56
        assert world.held() == 0
        assert sum(entry.uncollected_pence for entry in world.journal()) == 0


@in_virtual_time
async def test_what_another_call_overruns_cuts_no_paid_minute() -> None:
    """A call that goes into debt takes nothing of what a live one has paid for."""
    async with a_world(560, settings=UNCAPPED) as world:
        await world.ask(admit("a"))
        await world.ask(admit("b"))
        await world.until(seconds=100)
        await world.ask(heard("b", seconds=900))
        await world.ask(charge(1, key="more"))
        await world.until(seconds=299.9)
        assert world.effects.killed == []

        await world.until(seconds=301)
        assert killed_at(world) == [("a", "money", 300)]


# --- expiry --------------------------------------------------------------------------------


@in_virtual_time
async def test_a_killed_call_whose_end_is_never_heard_expires() -> None:
    """Its money is freed after `hold_expiry_minutes`, once."""
    async with a_world(280, settings=replace(QUICKLY_ABANDONED, hold_expiry_minutes=7)) as world:
        await world.ask(admit())
        await world.until(seconds=419)
        assert world.held() == 280

        await world.until(seconds=421)

        assert world.types() == ["reservation", "call_kill", "reservation_expiry"]
        assert (world.held(), world.balance()) == (0, 280)


@in_virtual_time
async def test_a_live_call_does_not_expire() -> None:
    """A call that may last longer than `hold_expiry_minutes` outlives them: its cap counts."""
    async with a_world(100_000, settings=QUICKLY_ABANDONED) as world:
        await world.ask(admit())
        await world.until(seconds=599)
        assert world.rows("reservation_expiry") == []
        assert world.held() == 560

        await world.until(seconds=601)
        assert killed_at(world) == [("call-1", "cap", 600)]


@in_virtual_time
async def test_a_call_that_rang_for_long_does_not_expire() -> None:
    """Its cap counts from when it began, so its expiry may not come before its end."""
    rang_s = CAP_GRACE_MS // 1000 + 60
    async with a_world(100_000, settings=QUICKLY_ABANDONED) as world:
        await world.ask(admit())
        await world.until(seconds=rang_s)
        await world.ask(note_start(heard_ms=world.clock.now_ms()))
        await world.until(seconds=rang_s + 599)

        assert world.rows("reservation_expiry") == []

        await world.until(seconds=rang_s + 601)
        assert killed_at(world) == [("call-1", "cap", rang_s + 600)]
