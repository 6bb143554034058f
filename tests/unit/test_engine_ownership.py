"""Whose the shards are when nodes come and go in the same moment."""

import asyncio
from collections.abc import Mapping, Sequence

from wallet_engine.cluster.memory_leases import Reach
from wallet_engine.cluster.ownership import LAST_LOOK_S
from wallet_engine.ports import Leases, LeaseView
from wallet_testing.town import ALL, ROUNDS, Town, settled
from wallet_testing.virtual_time import in_virtual_time


class Gate:
    """Leases of which a call waits at the gate while that is shut.  Implements `Leases`."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.opened = asyncio.Event()
        self.opened.set()
        self.left = asyncio.Event()

    async def renew(
        self,
        *,
        token: str,
        address: str,
        ttl_ms: int,
        want: Sequence[int],
        give: Mapping[int, str],
        call: int,
    ) -> LeaseView:
        await self.opened.wait()
        return await self._leases.renew(
            token=token, address=address, ttl_ms=ttl_ms, want=want, give=give, call=call
        )

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        self.left.set()
        await self.opened.wait()
        await self._leases.leave(token=token, give=give)


@in_virtual_time
async def test_two_that_leave_at_once_do_not_choose_each_other() -> None:
    """What the two had is the third's, in the moment in which they have left."""
    town = Town()
    a, b, c = (town.node(f"node-{name}:1") for name in "abc")
    await settled(a, b, c)

    await asyncio.gather(a.leave(), b.leave())

    assert town.held(c) == ALL
    assert c.token in town.seen[a.token].poked
    assert set(town.seen[b.token].lost_to.values()) == {c.token}
    await c._round()
    assert set(c.shards) == ALL
    assert set(c.nodes) == {c.token}


@in_virtual_time
async def test_who_leaves_first_gives_nothing_to_who_leaves_too() -> None:
    """Between the last look of one and its leave the other says that it leaves: it gets nothing."""
    town = Town()
    gate = Gate(town.leases)
    a, b = town.node("node-a:1", gate), town.node("node-b:1")
    c = town.node("node-c:1")
    await settled(a, b, c)
    gate.opened.clear()
    leaving = asyncio.create_task(a.leave())
    await asyncio.sleep(0)  # it stands at the gate
    gate.opened.set()
    for _ in range(3):
        await asyncio.sleep(0)  # it has looked, and asks to leave
    await b._leases.renew(
        token=b.token, address="", ttl_ms=3_000, want=list(b.shards), give={}, call=99
    )
    await leaving
    await b.leave()

    assert town.held(a) == town.held(b) == set()
    for _ in range(2):
        await c._round()
    assert town.held(c) == ALL


@in_virtual_time
async def test_nothing_is_given_to_a_node_that_leaves() -> None:
    """A node that joined and leaves again is in the view of its neighbour, and gets nothing."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    for _ in range(ROUNDS):
        await a._round()
    await b._round()
    await a._round()
    await a._round()
    assert set(a._to_give().values()) == {b.token}
    await b.leave()

    await a._round()
    assert town.held(a) == ALL == set(a.shards)
    assert a.counts().handed_over == a.counts().lost == 0


@in_virtual_time
async def test_what_was_given_in_the_last_moment_is_given_on() -> None:
    """A node that leaves hands over also what it did not know that it had."""
    town = Town()
    a, b, c = (town.node(f"node-{name}:1") for name in "abc")
    await settled(a, b, c)
    given = dict.fromkeys(sorted(a.shards)[:5], b.token)
    await a._leases.renew(
        token=a.token, address="at a", ttl_ms=3_000, want=list(a.shards), give=given, call=99
    )
    assert not set(given) & set(b.shards)

    await b.leave()
    assert town.held(a) | town.held(c) == ALL


@in_virtual_time
async def test_the_last_of_all_frees_what_it_has_or_keeps_it() -> None:
    """As it is told: while it still decides what is open, nobody else can."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    await settled(a, b)
    assert await a.leave(alone_too=False)

    assert not await b.leave(alone_too=False)
    assert town.held(b) == ALL == set(b.shards)
    assert await b.leave()
    assert town.held(b) == set(b.shards) == set()


@in_virtual_time
async def test_an_end_does_not_wait_for_the_leases() -> None:
    """Without an answer in time a node hands over to whom it knew."""
    town = Town()
    gate = Gate(town.leases)
    a, b = town.node("node-a:1", gate), town.node("node-b:1")
    await settled(a, b)
    gate.opened.clear()
    began_s = town.now_s()
    leaving = asyncio.create_task(a.leave())
    await gate.left.wait()
    assert town.now_s() - began_s < LAST_LOOK_S * 1.01  # of virtual time
    gate.opened.set()

    assert await leaving
    assert town.held(b) == ALL


@in_virtual_time
async def test_leases_that_cannot_be_reached_keep_nobody() -> None:
    """The wallets are given up all the same; their leases run out."""
    town = Town()
    a, b = town.node("node-a:1"), town.node("node-b:1")
    await settled(a, b)
    town.leases.reach(Reach.NOT_ASKED)

    assert await a.leave()
    assert set(a.shards) == set()
    assert set(town.seen[a.token].lost_to.values()) == {b.token}
