"""The node: bounds before deciding, deadlines, starting and stopping."""

import asyncio

import pytest

from wallet_engine.errors import DeadlinePassed, Overloaded
from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_testing.builders import ORG, buy, charge, credit, look, reserve
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world, new_node

THREE = ("org-1", "org-2", "org-3")


# --- bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        Limits(mailbox_per_wallet=3),
        Limits(undurable_per_wallet=3),
        Limits(undurable_per_node=3),
        Limits(waiting_per_node=3),
    ],
    ids=["mailbox", "undurable of a wallet", "undurable of the node", "waiting on the node"],
)
@in_virtual_time
async def test_a_bound_is_reached(limits: Limits) -> None:
    """What is too much is refused before it is decided; when there is room, it goes on."""
    async with a_world(limits=limits) as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(charge(1, key=f"k{number}") for number in range(5)))
        world.ledger.let_commits_go()

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [isinstance(result, Overloaded) for result in results] == [False] * 3 + [True] * 2
        assert world.balance() == 997
        assert (await world.ask(charge(1, key="k4"))).body["duplicate"] is False


@in_virtual_time
async def test_reads_and_refusals_that_wait_are_bounded() -> None:
    """They take room too until they are released."""
    async with a_world(limits=Limits(mailbox_per_wallet=3)) as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(1), look(), buy(5000), look())

        assert isinstance(asked[3].exception(), Overloaded)
        world.ledger.let_commits_go()
        await asyncio.gather(*asked, return_exceptions=True)


@in_virtual_time
async def test_what_waits_for_a_wallet_to_load_is_bounded() -> None:
    """A wallet that cannot be loaded gathers no endless mailbox."""
    async with a_world(orgs=(), limits=Limits(mailbox_per_wallet=3)) as world:
        world.ledger.create(ORG)
        world.ledger.away = True
        asked = await world.asking(*(credit(1, key=f"k{number}") for number in range(5)))
        world.ledger.away = False

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [isinstance(result, Overloaded) for result in results] == [False] * 3 + [True] * 2


@in_virtual_time
async def test_who_finds_no_room_is_counted() -> None:
    """An operator sees that callers are turned away, like every other answer."""
    async with a_world(limits=Limits(mailbox_per_wallet=1)) as world:
        world.stats.answers.clear()
        world.ledger.hold_commits()
        asked = await world.asking(charge(1, key="a"), charge(1, key="b"))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked, return_exceptions=True)

        assert ("deduct", "error", "Overloaded") in world.stats.answers


@in_virtual_time
async def test_a_full_wallet_does_not_fill_the_node() -> None:
    """Another wallet is served as ever."""
    async with a_world(orgs=THREE, limits=Limits(undurable_per_wallet=2)) as world:
        world.ledger.hold_commits()
        asked = await world.asking(
            *(charge(1, key=f"k{number}") for number in range(4)), charge(1, org_id="org-2")
        )
        world.ledger.let_commits_go()

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [isinstance(result, Overloaded) for result in results] == [
            False, False, True, True, False,
        ]  # fmt: skip


# --- deadlines -----------------------------------------------------------------------------


@in_virtual_time
async def test_nobody_waits_longer_than_asked() -> None:
    """Each waits as long as it said, and is told within a tick."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [short] = await world.asking(charge(1, key="a"), timeout_s=0.5)
        [long] = await world.asking(charge(1, key="b"), timeout_s=2)
        await world.pass_time(seconds=0.6)

        assert isinstance(short.exception(), DeadlinePassed)
        assert not long.done()

        await world.pass_time(seconds=1.5)
        assert isinstance(long.exception(), DeadlinePassed)
        world.ledger.let_commits_go()


@in_virtual_time
async def test_a_ledger_that_is_away_is_told_in_time() -> None:
    """A wallet that cannot be loaded ends in a time-out, not in silence."""
    async with a_world(orgs=()) as world:
        world.ledger.create(ORG)
        world.ledger.away = True

        with pytest.raises(DeadlinePassed):
            await world.ask(look(), timeout_s=0.5)

        assert world.clock.elapsed_s < 0.6
        world.ledger.away = False


@in_virtual_time
async def test_time_outs_of_any_length_leave_nothing_behind() -> None:
    """Callers choose their deadlines; a node that runs for a year remembers none of them."""
    async with a_world() as world:
        for number in range(50):
            await world.ask(look(), timeout_s=1 + number / 1000)
            [asked] = await world.asking(charge(1, key=f"k{number}"), timeout_s=2 + number / 1000)
            await asked
        await world.pass_time(seconds=5)

        assert len(world.node.patience._lines) < 10


# --- starting and stopping -----------------------------------------------------------------


@in_virtual_time
async def test_a_node_that_stops_finishes_what_it_decided() -> None:
    """What was decided becomes durable and is answered; nothing new is taken."""
    async with a_world() as world:
        world.ledger.hold_commits()
        [asked] = await world.asking(charge(100))
        stopping = asyncio.create_task(world.node.stop(grace_s=5))
        await world.pass_time(seconds=1)
        with pytest.raises(Overloaded):
            await world.ask(charge(1, key="late"))
        world.ledger.let_commits_go()
        await stopping

        assert (await asked).outcome is Outcome.CREATED
        assert world.ledger.rows[ORG].owner == ""


@in_virtual_time
async def test_the_next_node_need_not_wait() -> None:
    """A node that stopped in order gave its wallets up: another claims them at once."""
    async with a_world() as world:
        ledger = world.ledger
    async with a_world(ledger=ledger, number=2) as successor:
        before = successor.clock.now_ms()

        assert (await successor.ask(charge(1))).outcome is Outcome.CREATED

        assert successor.clock.now_ms() == before
        assert ledger.rows[ORG].owner == "boot-2"


@pytest.mark.parametrize("stuck", ["commits", "probes", "loading"])
@in_virtual_time
async def test_a_node_that_cannot_finish_tells_everyone(stuck: str) -> None:
    """After its grace it stops all the same, and nobody waits for ever."""
    async with a_world(limits=Limits(remembered_keys=0)) as world:
        world.ledger.create("org-2")
        match stuck:
            case "commits":
                world.ledger.hold_commits()
                [asked] = await world.asking(reserve(), timeout_s=60)
                world.ledger.hold_commits()
            case "probes":
                world.ledger.hold_probes()
                [asked] = await world.asking(charge(1, key="k"), timeout_s=60)
            case _:
                world.ledger.away = True
                [asked] = await world.asking(look(org_id="org-2"), timeout_s=60)
        await world.node.stop(grace_s=1)
        await world.quiet()

        assert asked.done()
        assert isinstance(asked.exception(), DeadlinePassed)
        world.ledger.away = False


@in_virtual_time
async def test_what_a_node_counts() -> None:
    """Wallets, live calls, what waits, what is not durable, and whether the ledger answers."""
    async with a_world(orgs=THREE) as world:
        await world.ask(reserve())
        world.ledger.hold_commits()
        asked = await world.asking(charge(1), look(), charge(1, org_id="org-2"))
        counts = world.node.counts()
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        assert (counts.wallets, counts.live_calls) == (3, 1)
        assert (counts.waiting, counts.undurable, counts.ledger_ok) == (3, 2, True)

        world.ledger.away = True
        await world.pass_time(seconds=2)
        assert world.node.counts().ledger_ok is False
        world.ledger.away = False
        await world.pass_time(seconds=2)
        assert world.node.counts().ledger_ok is True


@in_virtual_time
async def test_two_nodes_do_not_take_turns_on_every_request() -> None:
    """A wallet stays with its owner for the tenure, however often the other one asks."""
    async with a_world(limits=Limits(tenure_ms=1000)) as world:
        rival = new_node(world.ledger, number=2, limits=Limits(tenure_ms=1000))
        await rival.node.start()
        await world.pass_time(seconds=2)
        epoch = world.ledger.rows[ORG].epoch
        asked = []
        for number in range(20):
            asked += await world.asking(charge(1, key=f"a{number}"))
            asked += await rival.asking(charge(1, key=f"b{number}"))
            await world.pass_time(seconds=0.1)
        results = await asyncio.gather(*asked, return_exceptions=True)
        await rival.node.stop(grace_s=2)

        assert not [result for result in results if isinstance(result, BaseException)]
        assert world.balance() == 960
        assert world.ledger.rows[ORG].epoch - epoch <= 14
