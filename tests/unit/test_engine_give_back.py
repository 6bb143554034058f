"""Holds of callers who were told no, given back through outages, refusals and changes of owner."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from wallet_engine.cluster.ownership import Ownership
from wallet_engine.cluster.router import Neighbours, Router
from wallet_engine.commands import Ask, Release
from wallet_engine.errors import DeadlinePassed, LedgerFault, NotMine, OwnerUnreachable
from wallet_engine.journal import Answer, Outcome
from wallet_engine.limits import Limits
from wallet_engine.ports import WalletBatch
from wallet_engine.sharding import shard_of
from wallet_engine.unwanted import release_of
from wallet_testing.builders import ORG, admit, charge, commit, credit
from wallet_testing.clock import LoopClock
from wallet_testing.held import Held
from wallet_testing.ledgers import FaultyLedger
from wallet_testing.town import Town
from wallet_testing.virtual_time import in_virtual_time, virtual_loop
from wallet_testing.world import World, a_world

HEIR = "node-2:boot-2"
BRISK = Limits(tenure_ms=0, sweep_s=1e6)


class SlowAnswers(FaultyLedger):
    """What the first node commits is durable at once; `heard` says so."""

    def __init__(self) -> None:
        super().__init__(LoopClock(virtual_loop()))
        self.heard = asyncio.Event()
        self.heard.set()

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        done = await super().commit(batches)
        if batches[0].owner == "boot-1":
            await self.heard.wait()
        return done


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[World, World, SlowAnswers]]:
    """Run two nodes; what is not the first one's it asks of the second."""
    ledger = SlowAnswers()
    ledger.create(ORG)
    async with (
        a_world(ledger=ledger, limits=BRISK) as one,
        a_world(ledger=ledger, limits=BRISK, number=2) as two,
    ):

        async def reach(ask: Ask, *, timeout_s: float) -> Answer:
            try:
                return await one.node.decide(ask, timeout_s=timeout_s)
            except NotMine:
                return await two.node.decide(ask, timeout_s=timeout_s)

        one.node.ownership, two.node.ownership = Held(), Held()
        one.node.reach = reach
        await one.ask(credit(1000, key="opening"))
        yield one, two, ledger


def hand_over(world: World) -> None:
    """Have a node lose all its shards."""
    world.node.ownership = Held(shards=(), heir=HEIR)
    world.node.shards.lost({shard_of(ORG): HEIR})


@in_virtual_time
@pytest.mark.parametrize("how", ["too late", "hung up"])
async def test_what_a_repeat_was_told_yes_about_is_kept_through_a_hand_over(how: str) -> None:
    """The next owner said yes; that the first one was told no is heard of afterwards."""
    async with two_nodes() as (one, two, ledger):
        ledger.heard.clear()
        [first] = await one.asking(admit(), timeout_s=0.2)
        if how == "hung up":
            first.cancel()
        else:
            await one.pass_time(seconds=0.3)
        hand_over(one)
        assert (await one.ask(admit(attempt=2))).outcome is Outcome.REPEATED

        ledger.heard.set()
        await one.pass_time(seconds=2)

        assert one.held() == 280
        await two.ask(commit(seconds=60))  # and after the call nothing of it is left
        assert (one.held(), two.actor().takers, two.actor().late) == (0, {}, {})


@in_virtual_time
async def test_what_nobody_wants_is_given_back_through_a_hand_over() -> None:
    """There was no repeat: the next owner gives the hold back."""
    async with two_nodes() as (one, _, ledger):
        ledger.heard.clear()
        await one.asking(admit(), timeout_s=0.2)
        await one.pass_time(seconds=0.3)
        hand_over(one)

        ledger.heard.set()
        await one.pass_time(seconds=2)

        assert one.held() == 0


@in_virtual_time
async def test_an_errand_meets_a_repeat_that_is_about_to_be_told_yes() -> None:
    """Its owner takes it over: the hold stays if the yes is heard, else it is given back."""
    for heard in (True, False):
        async with a_world(1000) as world:
            await world.ask(admit())
            world.ledger.hold_commits()
            await world.asking(charge(1, key="first"))
            [repeat] = await world.asking(admit(attempt=2))
            world.node.shards.errand(release_of(ORG, "call-1", unheard=1))
            await world.pass_time(seconds=0.1)
            if not heard:
                repeat.cancel()
            world.ledger.let_commits_go()
            await world.pass_time(seconds=1)

            assert world.held() == (280 if heard else 0)
            assert not world.node.shards.errands


@in_virtual_time
@pytest.mark.parametrize(
    "error", [DeadlinePassed("no answer"), LedgerFault("refused"), OwnerUnreachable("away")]
)
async def test_an_errand_is_repeated_until_it_is_answered(error: Exception) -> None:
    """A lost channel, a refusal by the ledger, an owner that is away: none is the end of it."""
    async with a_world(1000) as world:
        await world.ask(admit())
        failures = [error, error]

        async def reach(ask: Ask, *, timeout_s: float) -> Answer:
            if failures:
                raise failures.pop()
            return await world.node.decide(ask, timeout_s=timeout_s)

        world.node.reach = reach
        world.node.shards.errand(release_of(ORG, "call-1", unheard=1))
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
async def test_an_errand_outlives_an_outage() -> None:
    """A minute without a ledger, and the hold is given back all the same."""
    async with a_world(1000) as world:
        await world.ask(admit())
        world.ledger.away = True
        world.node.shards.errand(release_of(ORG, "call-1", unheard=1))
        await world.pass_time(seconds=60)
        world.ledger.away = False
        await world.pass_time(seconds=10)

        assert world.held() == 0


@in_virtual_time
async def test_a_refused_release_is_tried_again() -> None:
    """The ledger would not store it, once."""
    async with a_world(1000) as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        world.ledger.poison = {"release:call-1"}
        world.ledger.let_commits_go()
        await world.pass_time(seconds=0.1)
        assert world.held() == 280

        world.ledger.poison = set()
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
async def test_a_refused_look_up_is_tried_again() -> None:
    """The ledger would not look it up, once."""
    async with a_world(1000, limits=Limits(remembered_keys=0)) as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        world.ledger.poisoned_probes = {"reserve:call-1"}
        world.ledger.let_commits_go()
        await world.pass_time(seconds=0.1)
        assert world.held() == 280

        world.ledger.poisoned_probes = set()
        await world.pass_time(seconds=5)

        assert world.held() == 0


class Passing:
    """Implements `Peers`: another node that says yes to everything."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    async def ask(self, address: str, ask: Ask, *, timeout_s: float) -> Answer:
        assert address
        assert timeout_s > 0
        self.asked.append(ask)
        return Answer(Outcome.CREATED, {})

    def poke(self, address: str) -> None: ...


@in_virtual_time
async def test_a_node_that_leaves_has_its_heir_give_back() -> None:
    """What became durable in its last moments, for a caller who was told no."""
    async with a_world(1000) as world:
        town, peers = Town(), Passing()
        neighbours = Neighbours(node=world.node, peers=peers)
        own = neighbours.ownership = Ownership(
            token="node-1:boot-1",
            address="here",
            leases=town.leases,
            neighbourhood=neighbours,
            now_s=town.now_s,
        )
        for node in (own, own, own, town.node(HEIR), own):
            await node._round()
        world.node.ownership = own
        world.node.reach = Router(node=world.node, ownership=own, peers=peers).ask
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        await own.leave()
        stopping = asyncio.create_task(world.node.stop())
        await world.pass_time(seconds=0.2)

        world.ledger.let_commits_go()
        await stopping

        assert [ask for ask in peers.asked if isinstance(ask, Release)]
        world.node._tasks = []  # it is stopped
