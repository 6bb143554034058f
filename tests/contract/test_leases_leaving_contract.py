"""What every store of leases promises to nodes that leave: in memory, in Valkey and in Redis."""

from wallet_testing.lease_stores import ONE, SHORT_MS, THREE, TWO, LeaseStore, Member, held


async def test_a_node_leaves(one: Member, two: Member, three: Member) -> None:
    """It hands over what it names, frees the rest of its own, touches no other's, and is gone."""
    await one.renew(1, 2, 3)
    await two.renew(4)
    await one.leave({1: TWO, 4: THREE, 5: THREE})

    view = await two.renew()
    assert held(view) == {1: TWO, 4: TWO}
    assert dict(view.nodes) == {TWO: two.address}
    assert held(await three.renew(2, 3)) == {1: TWO, 2: THREE, 3: THREE, 4: TWO}


async def test_leaving_again_does_nothing(one: Member, two: Member) -> None:
    """A leave whose answer was lost is made again; so is one of a node that never was there."""
    await two.renew()
    await one.renew(1, 2)
    await one.leave({1: TWO})
    await one.leave({1: TWO, 2: TWO})

    assert held(await two.renew()) == {1: TWO}


async def test_a_leaver_gives_for_its_own_term(store: LeaseStore, one: Member, two: Member) -> None:
    """The successor has it for the term of the leaver's last renewal."""
    await two.renew()
    await one.renew(1)
    await one.renew(ttl_ms=SHORT_MS)
    await one.leave({1: TWO})
    await store.wait_ms(SHORT_MS)

    assert held(await two.renew()) == {}


async def test_who_is_not_known_gives_what_is_left(
    store: LeaseStore, one: Member, two: Member
) -> None:
    """A node whose time is over hands over what it still has, as it has it."""
    await two.renew()
    await one.renew(1)
    await one.renew(ttl_ms=SHORT_MS)
    await store.wait_ms(SHORT_MS)
    await one.leave({1: TWO})
    await store.wait_ms(SHORT_MS)

    assert held(await two.renew()) == {1: TWO}


async def test_a_call_that_comes_after_the_leave_only_looks(one: Member, two: Member) -> None:
    """It was under way while the store was frozen: its node has left, and does not live again."""
    await two.renew(9)
    await one.renew(1, call=1)
    await one.leave({1: TWO})

    late = await one.renew(2, give={9: ONE}, call=2)

    assert held(late) == held(await two.renew()) == {1: TWO, 9: TWO}
    assert dict(late.nodes) == {TWO: two.address}


async def test_a_call_that_comes_after_the_last_look_only_looks(one: Member, two: Member) -> None:
    """Whoever said that it leaves does not live again by what it said before."""
    await one.renew(1, call=1)
    await one.leaving(1, call=3)

    assert dict((await one.renew(1, call=2)).nodes) == {}
    assert dict((await two.renew()).nodes) == {TWO: two.address}


async def test_who_leaves_is_nobodys_successor(one: Member, two: Member, three: Member) -> None:
    """It is known no longer, but keeps and renews what it has until it has left."""
    await one.renew(1)
    await two.renew(2)
    view = await one.leaving(1)
    assert held(view) == {1: ONE, 2: TWO}
    assert dict(view.nodes) == {TWO: two.address}

    await two.leave({2: ONE})
    assert held(await three.renew(1, 2)) == {1: ONE, 2: THREE}


async def test_a_leaver_gives_nothing_to_the_dead(
    store: LeaseStore, one: Member, two: Member, three: Member
) -> None:
    """What was for a dead node is free, as the rest of its own."""
    await two.renew(ttl_ms=SHORT_MS)
    await one.renew(1, 2, 3)
    await store.wait_ms(SHORT_MS)
    await one.leave({1: TWO, 2: "node-4:never"})

    assert held(await three.renew()) == {}
