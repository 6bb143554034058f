"""Live calls when something else is wrong: an absent ledger, a poisoned row, a dead node."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest

from wallet_engine.errors import LedgerUnavailable
from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_engine.ports import Claim
from wallet_engine.settings import CapPolicy, Settings
from wallet_testing.builders import (
    ORG,
    T0_MS,
    admit,
    charge,
    credit,
    heard,
    kill,
    look,
    note_start,
)
from wallet_testing.clock import LoopClock
from wallet_testing.ledgers import Fault, FaultyLedger
from wallet_testing.virtual_time import in_virtual_time, virtual_loop
from wallet_testing.world import World, a_world, new_node

UNCAPPED = Settings(cap_policy=CapPolicy.MAX_CALL)
SOON_S = 3.0
"""How late a call may be ended when nothing works as it should."""


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

        assert world.told().keys() == {"call-1"}
        world.ledger.away = False


@pytest.mark.parametrize("how", ["silently", "hanging"])
@in_virtual_time
async def test_a_call_told_to_end_stays_so(how: str) -> None:
    """There is money for more, but the caller was told: the kill is journaled, nothing extended."""
    async with a_world(1000, settings=UNCAPPED, limits=Limits(idle_s=3600)) as world:
        await world.ask(admit())
        await world.until(seconds=260)
        await take_away(world, how)
        await world.until(seconds=300 + SOON_S)
        assert world.told() == {"call-1": "money"}
        world.ledger.away = False
        world.ledger.let_commits_go()

        await world.until(seconds=420)

        assert "call_kill" in world.types()
        assert world.held() <= 336


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

        assert world.told() == {"call-1": "money"}
        world.ledger.let_commits_go()


@in_virtual_time
async def test_what_may_be_paid_for_just_now_is_not_ended() -> None:
    """The extension is being written: if its answer comes soon, it tells."""
    async with a_world(1000, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=269)
        world.ledger.hold_commits()
        await world.until(seconds=300.5)
        assert world.effects.killed == []

        world.ledger.let_commits_go()
        await world.until(seconds=320)
        assert world.effects.killed == []
        assert "reservation_extension" in world.types()


class SlowClaims(FaultyLedger):
    """Takes a while to claim a wallet: until `claims` is set."""

    def __init__(self) -> None:
        super().__init__(LoopClock(virtual_loop()))
        self.claims = asyncio.Event()
        self.claims.set()

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        await self.claims.wait()
        return await super().activate(org_ids, owner=owner, seen=seen, anew=anew)


@in_virtual_time
async def test_what_may_be_paid_for_is_not_ended_while_that_is_looked_for() -> None:
    """The extension is durable and its answer lost: the wallet is being loaded to find it."""
    ledger = SlowClaims()
    ledger.create(ORG)
    async with a_world(settings=UNCAPPED, ledger=ledger) as world:
        await world.ask(credit(280, key="opening"))
        await world.ask(admit())
        await world.until(seconds=299.7)
        ledger.claims.clear()
        ledger.next_commits(None, Fault.LOST_AFTER)
        await world.ask(credit(1000, key="topup"))
        await world.until(seconds=300.2)
        ledger.claims.set()
        await world.until(seconds=330)

        assert world.effects.killed == []
        assert "reservation_extension" in world.types()


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


@in_virtual_time
async def test_a_kill_that_cannot_be_stored_ends_the_call() -> None:
    """The ledger refuses the very row that says so: the call may not go on for that."""
    async with a_world(280, settings=UNCAPPED) as world:
        await world.ask(admit())
        world.ledger.poison = {"kill:call-1"}
        await world.until(seconds=300 + SOON_S)

        assert world.told() == {"call-1": "money"}
        world.ledger.poison = set()
        await world.pass_time(seconds=5)
        assert "call_kill" in world.types()


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

        assert successor.told() == {"call-1": "fraud"}
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


@in_virtual_time
async def test_the_clock_of_a_call_survives_a_reload() -> None:
    """The wallet was fenced and loaded again: when the call began is still known here."""
    async with a_world(280) as world:
        await world.ask(admit())
        await world.until(seconds=20)
        await world.ask(note_start(heard_ms=world.clock.now_ms()))
        await world.ledger.take_over(ORG)
        await world.ask(charge(1))
        await world.until(seconds=319.9)
        assert world.effects.killed == []

        await world.until(seconds=321)

        assert world.effects.killed[0].since_ms == T0_MS + 320_000
