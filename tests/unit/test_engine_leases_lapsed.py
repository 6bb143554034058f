"""A lease that ran out or was forgotten: what was known under it is confirmed before it counts."""

import asyncio
from collections.abc import Mapping

import pytest

from wallet_engine.cluster.memory_leases import Reach
from wallet_engine.cluster.ownership import LEASE_MS, MARGIN_S, RENEW_S
from wallet_engine.errors import LeasesUnavailable, NotMine
from wallet_engine.limits import Limits
from wallet_engine.ports import Taken
from wallet_engine.settings import CapPolicy, Settings
from wallet_engine.sharding import SHARD_COUNT, shard_of
from wallet_testing.builders import ORG, admit, charge, credit, look, prolong
from wallet_testing.clock import LoopClock
from wallet_testing.held import Held
from wallet_testing.ledgers import OTHER, Fault, FaultyLedger
from wallet_testing.owners import Owner
from wallet_testing.town import ALL, Town, settled
from wallet_testing.virtual_time import in_virtual_time, virtual_loop
from wallet_testing.world import a_world


@in_virtual_time
async def test_what_was_known_in_one_term_is_confirmed_in_the_next() -> None:
    """Another owner wrote between two leases of ours: the first read of the next term tells."""
    async with a_world(1000, limits=Limits(tenure_ms=0)) as world:
        world.node.ownership = held = Held()
        await world.ask(charge(1))
        await world.ledger.take_over(ORG, charge(100, key="theirs"))
        probes = len(world.ledger.probed)
        assert (await world.ask(look())).body["balance_pence"] == 999  # nobody can have come

        held.number += 1

        assert (await world.ask(look())).body["balance_pence"] == 899
        assert len(world.ledger.probed) > probes
        probes = len(world.ledger.probed)
        await world.ask(look())
        assert len(world.ledger.probed) == probes  # once is enough


@in_virtual_time
async def test_a_confirmed_wallet_is_not_confirmed_again() -> None:
    """The next term costs one look-up per wallet."""
    async with a_world(1000) as world:
        world.node.ownership = held = Held()
        await world.ask(charge(1))
        held.number += 1
        probes = len(world.ledger.probed)
        for _ in range(3):
            await world.ask(look())

        assert len(world.ledger.probed) == probes + 1


@in_virtual_time
async def test_who_is_cut_off_takes_nothing_from_who_came_since() -> None:
    """Its lease ran out, and somebody it does not know has the wallet: that one has the lease."""
    async with a_world(1000, limits=Limits(tenure_ms=0)) as world:
        world.node.ownership = held = Held()
        await world.pass_time(seconds=10)
        held.lapsed = 5.0
        await world.ledger.take_over(ORG, keep=True)
        epoch = world.ledger.rows[ORG].epoch

        asked = await world.asking(look(), charge(1))
        await world.pass_time(seconds=2)

        assert world.ledger.rows[ORG].epoch == epoch
        assert not any(one.done() for one in asked)
        held.lapsed = 0.0
        await world.pass_time(seconds=2)
        assert [one.result().outcome.value for one in asked] == ["answered", "created"]


@in_virtual_time
async def test_who_is_cut_off_goes_on_with_what_it_had() -> None:
    """Who had the wallet before our lease ran out is no reason to wait: it was ours since."""
    async with a_world(1000, limits=Limits(tenure_ms=0)) as world:
        await world.ledger.take_over(ORG, credit(1, key="theirs"), keep=True)
        await world.pass_time(seconds=10)
        world.node.ownership = held = Held()
        held.lapsed = 5.0

        assert (await world.ask(look())).body["balance_pence"] == 1001


@in_virtual_time
async def test_a_rival_is_asked_for_a_while() -> None:
    """Two nodes feel sure, each by a Redis of its own: nobody waits for a tenure to end."""
    async with a_world(1000, limits=Limits(tenure_ms=1000)) as world:
        world.node.ownership = held = Held()
        held.rivals = {OTHER}
        await world.pass_time(seconds=2)
        await world.ledger.take_over(ORG, charge(100, key="theirs"), keep=True)

        written, *others = await world.asking(charge(1, key="ours"), look())
        await world.pass_time(seconds=0.1)
        others += await world.asking(charge(2, key="later"), look())
        for one in (written, *others):
            error = one.exception()
            assert isinstance(error, NotMine)
            assert error.owner == f"node-2:{OTHER}"
        assert world.balance() == 900

        world.node.residents.not_elsewhere(ORG)  # it was asked, and said no
        await world.pass_time(seconds=1)
        assert (await world.ask(look())).body["balance_pence"] == 900
        assert world.ledger.rows[ORG].owner == world.node.boot_id


@in_virtual_time
async def test_a_claim_on_its_way_takes_nothing_from_who_came_meanwhile() -> None:
    """What is claimed is the wallet as it was seen, not as it is when the claim arrives."""
    async with a_world(1000) as world:
        ledger = world.ledger
        seen = {ORG: ledger.rows[ORG].epoch}
        await ledger.take_over(ORG, keep=True)
        newcomer = Owner(ledger, OTHER)
        await newcomer.claim(ORG)

        claims = await ledger.activate([ORG], owner="boot-late", seen=seen)

        assert isinstance(claims[ORG], Taken)
        await newcomer.write(charge(1, key="still theirs"))


@in_virtual_time
async def test_terms_go_on_while_leases_are_renewed_in_time() -> None:
    """A renewal is no new term; one that comes too late is."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    await settled(a, b)
    [shard, *_] = a.shards
    term = a.term(shard)
    await town.pass_time(RENEW_S)
    await a._round()
    assert a.fresh(shard)
    assert (a.term(shard), a.lapsed_s(shard)) == (term, 0.0)

    await town.pass_time(LEASE_MS / 1000)

    assert a.lapsed_s(shard) == MARGIN_S
    await a._round()
    assert a.fresh(shard)
    assert a.term(shard) != term
    assert a.lapsed_s((ALL - set(a.shards)).pop()) == float("inf")


@in_virtual_time
async def test_forgotten_leases_move_no_shard_of_a_live_node() -> None:
    """Whoever looks first keeps to its own until the others had the time to look as well."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    await settled(a, b)
    own = {one.token: set(one.shards) for one in (a, b)}
    terms = {shard: a.term(shard) for shard in a.shards}

    town.leases.flush()
    for _ in range(3):
        await a._round()
    assert set(a.shards) == own[a.token]
    assert all(a.term(shard) != term for shard, term in terms.items())
    await b._round()
    assert (town.held(a), town.held(b)) == (own[a.token], own[b.token])

    town.leases.flush()
    await a._round()
    await town.pass_time(RENEW_S + MARGIN_S)
    await a._round()
    assert set(a.shards) == ALL, "nobody else said that it lives"


@in_virtual_time
async def test_a_term_begins_with_a_claim() -> None:
    """Whoever sees the wallet from now on sees since when it is ours, and comes too late."""
    async with a_world(1000, limits=Limits(tenure_ms=0)) as world:
        world.node.ownership = held = Held()
        await world.ask(charge(1))
        seen = {ORG: world.ledger.rows[ORG].epoch}
        await world.pass_time(seconds=60)
        held.number += 1
        assert (await world.ask(look())).body["balance_pence"] == 999

        [taken] = (await world.ledger.activate([ORG], owner=OTHER, seen=seen)).values()

        assert isinstance(taken, Taken)
        assert taken.held_ms < 1000


@in_virtual_time
async def test_who_was_told_that_a_wallet_is_taken_ends_no_call() -> None:
    """Its write's answer was lost, and whoever has the wallet by now has prolonged the call."""
    uncapped = Settings(cap_policy=CapPolicy.MAX_CALL)
    limits = Limits(tenure_ms=0, sweep_s=3600.0)
    async with a_world(280, settings=uncapped, limits=limits) as world:
        world.node.ownership = held = Held()
        await world.ask(admit())
        await world.until(seconds=200)
        held.lapsed = 3600.0
        world.ledger.hold_commits()
        await world.asking(charge(1))
        await world.ledger.take_over(
            ORG, credit(1000, key="theirs"), prolong(), defaults=uncapped, keep=True
        )
        world.ledger.next_commits(Fault.LOST_BEFORE)
        world.ledger.let_commits_go()
        await world.until(seconds=330)

        assert world.ledger.rows[ORG].holds["call-1"].paid_seconds == 360
        assert world.effects.killed == []


@in_virtual_time
async def test_nobody_claims_more_often_because_more_were_asking() -> None:
    """One look in a while at a wallet that is taken, however many asked for it."""
    async with a_world(1000, limits=Limits(tenure_ms=1000)) as world:
        world.node.ownership = held = Held()
        await world.pass_time(seconds=10)
        held.lapsed = 5.0
        await world.ledger.take_over(ORG, keep=True)
        for _ in range(50):
            await world.asking(look())
        await world.pass_time(seconds=10)
        claims = len(world.ledger.claimed)
        await world.pass_time(seconds=10)

        assert len(world.ledger.claimed) - claims <= 41


@in_virtual_time
async def test_what_is_handed_over_is_not_ours_though_nobody_says_so() -> None:
    """The answer was lost: until the next one the shards may be, or have been, the other's."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    for _ in range(3):
        await a._round()
    await b._round()
    while not (given := a._to_give()):
        await a._round()
        await b._round()
    terms = {shard: a.term(shard) for shard in given}
    town.leases.reach(Reach.NOT_ANSWERED, a.token)
    with pytest.raises(LeasesUnavailable):
        await a._round()
    assert not any(a.fresh(shard) for shard in given)
    assert all(a.fresh(shard) for shard in set(a.shards) - set(given))

    town.leases.reach(Reach.ANSWERED, a.token)
    await b._round()
    await b.leave()
    await a._round()

    assert all(a.fresh(shard) and a.term(shard) != term for shard, term in terms.items())


@in_virtual_time
async def test_what_is_given_is_ours_for_sure_when_it_is_renewed() -> None:
    """Nobody knows how much of the giver's lease is left: we look again at once."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    for node in (b, b, b, a, b, b):
        await node._round()
    await town.pass_time(RENEW_S)
    await b._round()
    assert town.held(a)

    await a._round()
    assert set(a.shards) == town.held(a)
    assert not any(a.fresh(shard) for shard in a.shards)
    assert a._wake.is_set()

    await a._round()
    assert all(a.fresh(shard) for shard in a.shards)


class SlowReleases(FaultyLedger):
    """Gives wallets up when `releases` is set."""

    def __init__(self) -> None:
        super().__init__(LoopClock(virtual_loop()))
        self.releases = asyncio.Event()

    async def release(self, epochs: Mapping[str, int]) -> None:
        await self.releases.wait()
        await super().release(epochs)


@in_virtual_time
async def test_what_is_given_up_late_stays_with_who_has_it_again() -> None:
    """The wallet left this node and came back before the ledger was told that it is free."""
    ledger = SlowReleases()
    ledger.create(ORG)
    async with a_world(ledger=ledger) as world:
        await world.ask(credit(1000, key="opening"))
        world.node.ownership = held = Held()
        held.shards = ()
        world.node.shards.lost({shard_of(ORG): "node-2:boot-2"})
        await world.pass_time(seconds=0.1)
        held.shards, held.number = range(SHARD_COUNT), 1
        await world.ask(look())
        ledger.releases.set()
        await world.quiet()

        assert ledger.rows[ORG].owner == "boot-1"
