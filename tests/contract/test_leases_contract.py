"""What every store of leases promises: in memory, in Valkey and in Redis."""

import asyncio

import pytest

from wallet_engine.sharding import SHARD_COUNT
from wallet_testing.lease_stores import (
    ONE,
    SHORT_MS,
    THREE,
    TWO,
    LeaseStore,
    Member,
    held,
    member,
)

ODD_TOKENS = [
    "eu.west/node 1:a",
    'quoted "node":\\b',
    "{wallet}:nodes:c",
    "Knoten-Ä-結:d",
    "line\r\nline\0\x7f:e",
    "3,17 4:5",
    "12",
    "%d $1 ' -- ]]:f",
]


# --- taking and renewing --------------------------------------------------------------------------


async def test_a_node_that_wants_nothing_only_lives(one: Member) -> None:
    """The first look registers a node, and shows every shard free."""
    view = await one.renew()

    assert list(view.holders) == [""] * SHARD_COUNT
    assert dict(view.nodes) == {ONE: one.address}


async def test_what_is_free_is_taken(one: Member, two: Member) -> None:
    """Shards that nobody holds are theirs who want them; all see it."""
    assert held(await one.renew(0, 7, 255)) == {0: ONE, 7: ONE, 255: ONE}
    view = await two.renew()

    assert held(view) == {0: ONE, 7: ONE, 255: ONE}
    assert dict(view.nodes) == {ONE: one.address, TWO: two.address}


async def test_all_shards_in_one_call(one: Member) -> None:
    """A single node holds everything."""
    view = await one.renew(*range(SHARD_COUNT))

    assert set(view.holders) == {ONE}


async def test_what_another_holds_is_not_taken(one: Member, two: Member) -> None:
    """A shard that is wanted by two stays with the first; the second is told whose it is."""
    await one.renew(1, 2)

    assert held(await two.renew(2, 3)) == {1: ONE, 2: ONE, 3: TWO}


async def test_a_repeated_renewal_changes_nothing(one: Member, two: Member) -> None:
    """A call whose answer was lost is made again, and finds what it did."""
    await two.renew(9)
    await one.renew(2)
    first = await one.renew(1, 2, 9, give={2: TWO})
    again = await one.renew(1, 2, 9, give={2: TWO})

    assert held(first) == {1: ONE, 2: TWO, 9: TWO}
    assert again == first


async def test_an_address_is_replaced(one: Member, two: Member) -> None:
    """The last renewal says where a node is, and an address may be any text."""
    await one.renew()
    moved = Member(one.leases, ONE, 'http://[fe80::1%eth0]:3001/ ä\n"x"')
    await moved.renew()

    assert (await two.renew()).nodes[ONE] == moved.address


async def test_two_nodes_at_once_share_without_overlap(one: Member, two: Member) -> None:
    """Of two nodes that want everything at the same time, each shard has one, the same for both."""
    await asyncio.gather(one.renew(*range(SHARD_COUNT)), two.renew(*range(SHARD_COUNT)))
    seen_by_one, seen_by_two = await one.renew(), await two.renew()

    assert seen_by_one.holders == seen_by_two.holders
    assert set(seen_by_one.holders) <= {ONE, TWO}


async def test_who_was_forgotten_is_told_so(store: LeaseStore, one: Member, two: Member) -> None:
    """A node is known since its first call, until its time is over or everything is lost."""
    assert [(await one.renew(1, call=call)).since for call in (1, 2, 3)] == [1, 1, 1]

    await store.flush()
    assert [(await one.renew(1, call=call)).since for call in (4, 5)] == [4, 4]

    await two.renew(ttl_ms=SHORT_MS, call=1)
    await store.wait_ms(SHORT_MS)
    assert [(await two.renew(call=call)).since for call in (2, 3)] == [2, 2]


async def test_who_was_forgotten_is_told_so_though_a_late_call_came(
    store: LeaseStore, one: Member
) -> None:
    """A call that was under way when everything was lost does not make its node known as before."""
    await one.renew(1, call=1)
    await store.flush()
    await one.renew(1, call=2)  # whose answer is lost

    assert (await one.renew(1, call=3)).since == 2


async def test_a_call_that_comes_after_a_later_one_only_looks(one: Member, two: Member) -> None:
    """It was under way while the store was frozen: its node has taken or kept more by now."""
    await two.renew(9)
    await one.renew(1, 2, call=7)

    late = await one.renew(3, give={1: TWO}, call=6)

    assert held(late) == held(await two.renew(9)) == {1: ONE, 2: ONE, 9: TWO}
    assert late.nodes[ONE] == one.address
    assert held(await one.renew(1, 2, 3, give={1: TWO}, call=8)) == {1: TWO, 2: ONE, 3: ONE, 9: TWO}


# --- handing over ---------------------------------------------------------------------------------


async def test_a_shard_is_handed_over(one: Member, two: Member) -> None:
    """What is given is the other's at once, who had not to want it; the giver sees it so."""
    await two.renew()
    await one.renew(1, 2)

    assert held(await one.renew(1, give={2: TWO})) == {1: ONE, 2: TWO}
    assert held(await two.renew(2)) == {1: ONE, 2: TWO}


async def test_what_is_handed_over_lasts_as_long_as_the_giver_says(
    store: LeaseStore, one: Member, two: Member
) -> None:
    """The successor has it for the term of the hand-over, not for what was left to the giver."""
    await two.renew()
    await one.renew(1, 2)
    await one.renew(give={1: TWO}, ttl_ms=SHORT_MS)
    await one.renew(give={2: TWO})
    await store.wait_ms(SHORT_MS)

    assert held(await two.renew()) == {2: TWO}


async def test_what_is_not_ours_is_not_given(one: Member, two: Member, three: Member) -> None:
    """A free shard stays free, another's stays another's, and what is given already stays given."""
    await two.renew(1)

    assert held(await one.renew(give={1: THREE, 2: THREE})) == {1: TWO}
    assert held(await three.renew(1, 2)) == {1: TWO, 2: THREE}


async def test_a_late_repeat_of_a_hand_over_takes_nothing_back(
    one: Member, two: Member, three: Member
) -> None:
    """A hand-over that is carried out again, when the shard has moved on, does nothing."""
    await three.renew()
    await two.renew()
    await one.renew(1)
    await one.renew(give={1: TWO})
    await two.renew(give={1: THREE})

    assert held(await one.renew(give={1: TWO})) == {1: THREE}
    assert held(await three.renew(1)) == {1: THREE}


async def test_what_is_given_and_wanted_is_given(one: Member, two: Member) -> None:
    """Giving comes first: a shard in both lists is the successor's; it stays, if there is none."""
    await two.renew()
    await one.renew(1, 2)

    assert held(await one.renew(1, 2, give={1: TWO, 2: THREE})) == {1: TWO, 2: ONE}


async def test_what_is_given_to_the_dead_is_free(
    store: LeaseStore, one: Member, two: Member, three: Member
) -> None:
    """Who never lived, lives no longer or leaves gets nothing; the shard is anybody's at once."""
    await one.renew(1, 2, 3)
    await two.renew(ttl_ms=SHORT_MS)
    await store.wait_ms(SHORT_MS)
    await three.leaving()

    view = await one.renew(give={1: TWO, 2: THREE, 3: "node-4:never"})
    assert held(view) == {}
    assert held(await two.renew(1, 2, 3)) == {1: TWO, 2: TWO, 3: TWO}


# --- running out ----------------------------------------------------------------------------------


async def test_what_is_not_renewed_runs_out(store: LeaseStore, one: Member, two: Member) -> None:
    """A dead node's shards are free, and it lives no longer, when its last renewal has run out."""
    await one.renew(1, 2, ttl_ms=SHORT_MS)
    await two.renew(3)
    await store.wait_ms(SHORT_MS)

    view = await two.renew(2)
    assert held(view) == {2: TWO, 3: TWO}
    assert dict(view.nodes) == {TWO: two.address}


async def test_what_is_not_wanted_any_more_runs_out(store: LeaseStore, one: Member) -> None:
    """A renewal renews what it wants and nothing else; the node lives on."""
    await one.renew(1, 2, ttl_ms=SHORT_MS)
    await one.renew(2)
    await store.wait_ms(SHORT_MS)

    view = await one.renew()
    assert held(view) == {2: ONE}
    assert dict(view.nodes) == {ONE: one.address}


async def test_a_renewal_sets_the_term_anew(store: LeaseStore, one: Member, two: Member) -> None:
    """The last renewal counts, not the first: also when it is for less."""
    await one.renew(1)
    await one.renew(1, ttl_ms=SHORT_MS)
    await store.wait_ms(SHORT_MS)

    view = await two.renew(1)
    assert held(view) == {1: TWO}
    assert dict(view.nodes) == {TWO: two.address}


async def test_a_node_that_was_away_comes_back(store: LeaseStore, one: Member, two: Member) -> None:
    """Who wakes after its leases ran out gets what is still free, and is told what is not."""
    await one.renew(1, 2, ttl_ms=SHORT_MS)
    await store.wait_ms(SHORT_MS)
    await two.renew(2)

    view = await one.renew(1, 2)
    assert held(view) == {1: ONE, 2: TWO}
    assert set(view.nodes) == {ONE, TWO}


async def test_everything_is_forgotten(store: LeaseStore, one: Member, two: Member) -> None:
    """After a store lost its data everyone is free to take, and nobody is known."""
    await one.renew(1)
    await two.renew(2)
    await store.flush()

    view = await two.renew(1, 2)
    assert held(view) == {1: TWO, 2: TWO}
    assert dict(view.nodes) == {TWO: two.address}
    assert held(await one.renew(1, 3)) == {1: TWO, 2: TWO, 3: ONE}


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_restarted_node_is_another(store: LeaseStore, one: Member) -> None:
    """The same node id with another boot id neither has nor renews what the former one had."""
    again = member(store.leases(), "node-1:b")
    await one.renew(1)

    view = await again.renew(1, 2, give={1: TWO})
    assert held(view) == {1: ONE, 2: "node-1:b"}
    assert set(view.nodes) == {ONE, "node-1:b"}


@pytest.mark.parametrize("token", ODD_TOKENS)
async def test_a_token_is_any_text(store: LeaseStore, two: Member, token: str) -> None:
    """What a token is made of does not matter: it comes back as it was, and is compared whole."""
    odd = member(store.leases(), token)
    await two.renew(2)
    await odd.renew()
    await two.renew(give={2: token})

    view = await odd.renew(1, 2)
    assert held(view) == {1: token, 2: token}
    assert view.nodes[token] == odd.address
    await odd.leave({1: TWO})
    assert held(await two.renew(1)) == {1: TWO}
