"""What leases in memory can do beyond the contract: fail on demand, and be looked at."""

import pytest

from wallet_engine.cluster.memory_leases import InMemoryLeases, Reach
from wallet_engine.errors import LeasesUnavailable
from wallet_testing.lease_stores import Member, held, member

ONE, TWO = "node-1:a", "node-2:b"


class World:
    """Leases, a clock that is set, and two nodes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.leases = InMemoryLeases(lambda: self.now_s)
        self.one: Member = member(self.leases, ONE)
        self.two: Member = member(self.leases, TWO)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_lease_ends_on_the_dot(world: World) -> None:
    """It lasts to the last moment before its end, and not into it."""
    await world.one.renew(1, ttl_ms=3000)
    world.now_s = 2.999
    assert world.leases.holder(1) == ONE
    assert held(await world.two.renew(1)) == {1: ONE}

    world.now_s = 3.0
    assert world.leases.holder(1) == ""
    assert held(await world.two.renew(1)) == {1: TWO}


async def test_what_is_not_asked_is_not_done(world: World) -> None:
    """A node that is cut off changes nothing, and the others do not notice."""
    world.leases.reach(Reach.NOT_ASKED, ONE)

    with pytest.raises(LeasesUnavailable):
        await world.one.renew(1)
    view = await world.two.renew(2)
    assert held(view) == {2: TWO}
    assert set(view.nodes) == {TWO}


async def test_what_is_not_answered_is_done(world: World) -> None:
    """A node that hears nothing has been heard, also when it leaves."""
    world.leases.reach(Reach.NOT_ANSWERED, ONE)

    with pytest.raises(LeasesUnavailable):
        await world.one.renew(1, 2)
    assert held(await world.two.renew()) == {1: ONE, 2: ONE}
    with pytest.raises(LeasesUnavailable):
        await world.one.leave({1: TWO})
    assert held(await world.two.renew()) == {1: TWO}


async def test_all_are_cut_off_and_come_back(world: World) -> None:
    """Without names it is for everybody, whatever was said of single ones before."""
    world.leases.reach(Reach.ANSWERED, ONE)
    world.leases.reach(Reach.NOT_ASKED)
    for node in (world.one, world.two):
        with pytest.raises(LeasesUnavailable):
            await node.renew()

    world.leases.reach(Reach.ANSWERED)
    await world.one.renew(1)
    assert held(await world.two.renew()) == {1: ONE}


async def test_flushed_it_is_empty(world: World) -> None:
    """What is forgotten is forgotten at once."""
    await world.one.renew(1)
    world.leases.flush()

    assert world.leases.holder(1) == ""
    assert set((await world.two.renew()).nodes) == {TWO}


async def test_a_view_does_not_change_later(world: World) -> None:
    """What a node was told stays as it was told."""
    view = await world.one.renew(1)
    await world.two.renew(2)
    await world.one.leave({1: TWO})

    assert held(view) == {1: ONE}
    assert set(view.nodes) == {ONE}
