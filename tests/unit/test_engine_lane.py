"""The commit lane: all that waits goes together, within caps, and a hot wallet starves nobody."""

import asyncio
from itertools import pairwise

import pytest

from wallet_engine.journal import Outcome
from wallet_engine.limits import Limits
from wallet_engine.ports import WalletBatch
from wallet_engine.wallet import HoldStatus
from wallet_testing.builders import ORG, charge, commit, extend, look, reserve
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world

MANY = tuple(f"org-{number}" for number in range(10))


def groups(world: World) -> list[dict[str, int]]:
    """Return what was sent since `forget`: entries per org, group by group."""
    return [{batch.org_id: len(batch.entries) for batch in group} for group in world.ledger.sent]


@in_virtual_time
async def test_a_single_decision_is_written_at_once() -> None:
    """There is no timer that it would have to wait for."""
    async with a_world() as world:
        before = world.clock.now_ms()

        await world.ask(charge(1))

        assert world.clock.now_ms() == before


@in_virtual_time
async def test_what_gathers_meanwhile_goes_together() -> None:
    """While one statement is under way, decisions of all wallets gather for the next."""
    async with a_world(orgs=MANY) as world:
        world.ledger.sent.clear()
        world.ledger.hold_commits()
        asked = await world.asking(charge(1, key="first", org_id="org-0"))
        for number in range(3):
            asked += await world.asking(
                *(charge(1, key=f"k{number}", org_id=org_id) for org_id in MANY)
            )
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        assert groups(world) == [{"org-0": 1}, dict.fromkeys(MANY, 3)]


@in_virtual_time
async def test_one_statement_at_a_time() -> None:
    """Nothing is sent while another one is under way."""
    async with a_world(orgs=MANY) as world:
        world.ledger.sent.clear()
        world.ledger.hold_commits()
        asked = await world.asking(*(charge(1, org_id=org_id) for org_id in MANY))
        await world.asking(look())
        assert len(world.ledger.sent) == 1

        world.ledger.let_commits_go()
        await asyncio.gather(*asked)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(batch_entries_per_wallet=4), [1, 4, 4, 1]),
        (Limits(batch_entries=3), [1, 3, 3, 3]),
        (Limits(), [1, 9]),
    ],
    ids=["of one wallet", "of all", "none"],
)
@in_virtual_time
async def test_entries_are_capped(limits: Limits, expected: list[int]) -> None:
    """Of one wallet, and of all together; the rest goes with the next statement."""
    async with a_world(limits=limits) as world:
        world.ledger.sent.clear()
        world.ledger.hold_commits()
        asked = await world.asking(charge(1, key="first"))
        asked += await world.asking(*(charge(1, key=f"k{number}") for number in range(9)))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        assert [sum(group.values()) for group in groups(world)] == expected


@in_virtual_time
async def test_wallets_are_capped() -> None:
    """A statement touches so many wallets at most; the others are in the next."""
    async with a_world(orgs=MANY, limits=Limits(batch_wallets=4)) as world:
        world.ledger.sent.clear()
        asked = await world.asking(*(charge(1, org_id=org_id) for org_id in MANY))
        await asyncio.gather(*asked)

        assert [len(group) for group in groups(world)] == [4, 4, 2]
        assert [org_id for group in groups(world) for org_id in group] == list(MANY)


@in_virtual_time
async def test_a_hot_wallet_starves_nobody() -> None:
    """Wallets take turns: one decision of another is written with the next statement."""
    limits = Limits(batch_entries=8, batch_entries_per_wallet=8)
    async with a_world(10**6, orgs=("hot", "cold"), limits=limits) as world:
        world.ledger.sent.clear()
        world.ledger.hold_commits()
        asked = await world.asking(
            *(charge(1, key=f"k{number}", org_id="hot") for number in range(80))
        )
        asked += await world.asking(charge(1, key="one", org_id="cold"))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        at = [position for position, group in enumerate(groups(world)) if "cold" in group]
        assert at == [1]
        assert len(groups(world)) == 11


@in_virtual_time
async def test_two_hot_wallets_take_turns() -> None:
    """Neither is written twice before the other was."""
    limits = Limits(batch_entries=4, batch_entries_per_wallet=4)
    async with a_world(10**6, orgs=("a", "b"), limits=limits) as world:
        world.ledger.sent.clear()
        world.ledger.hold_commits()
        asked = await world.asking(
            *(charge(1, key=f"k{n}", org_id=org_id) for n in range(40) for org_id in ("a", "b"))
        )
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        turns = [next(iter(group)) for group in groups(world)]
        assert all(one != other for one, other in pairwise(turns))


@in_virtual_time
async def test_a_batch_continues_where_the_last_one_ended() -> None:
    """Each names the row that it expects, so a gap could not be written."""
    async with a_world(limits=Limits(batch_entries_per_wallet=2)) as world:
        world.ledger.sent.clear()
        asked = await world.asking(*(charge(100, key=f"k{number}") for number in range(6)))
        await asyncio.gather(*asked)

        batches = [batch for group in world.ledger.sent for batch in group]
        assert [batch.expected_seq for batch in batches] == [1, 3, 5]
        assert [batch.balance_before_pence for batch in batches] == [1000, 800, 600]
        assert [entry.seq for batch in batches for entry in batch.entries] == [2, 3, 4, 5, 6, 7]
        assert {(batch.epoch, batch.owner) for batch in batches} == {(1, "boot-1")}


@in_virtual_time
async def test_a_batch_has_the_last_state_of_each_hold() -> None:
    """A call that was opened, extended and settled in one batch is one row, in its last state."""
    async with a_world() as world:
        world.ledger.hold_commits()
        asked = await world.asking(charge(1, key="first"))
        asked += await world.asking(reserve(), extend(seconds=60), commit(seconds=60), reserve("b"))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        [batch] = world.ledger.sent[-1]
        assert {call_id: hold.status for call_id, hold in batch.holds().items()} == {
            "call-1": HoldStatus.COMMITTED,
            "b": HoldStatus.ACTIVE,
        }


@in_virtual_time
async def test_other_wallets_go_on_while_one_is_isolated() -> None:
    """The refused group is taken apart beside the lane."""
    async with a_world(orgs=MANY) as world:
        world.ledger.poison = {"client:bad"}
        apart: list[str] = []
        gate = asyncio.Event()

        async def slowly(batch: WalletBatch) -> bool:
            apart.append(batch.org_id)
            await gate.wait()
            return bool(await world.ledger.commit([batch]))

        world.ledger.commit_apart = slowly  # type: ignore[method-assign]  # one slow connection
        bad = await world.asking(charge(1, key="bad", org_id="org-0"))

        answer = await world.ask(charge(1, key="good", org_id="org-1"))

        assert answer.outcome is Outcome.CREATED
        assert apart == ["org-0"]
        gate.set()
        await asyncio.gather(*bad, return_exceptions=True)


@in_virtual_time
async def test_a_bug_in_a_ledger_stops_no_lane() -> None:
    """What no ledger may raise is taken for an unknown outcome; the next write goes well."""
    async with a_world() as world:
        write = world.ledger._write_all
        failures = [RuntimeError("a bug")]

        async def buggy(batches: list[WalletBatch]) -> frozenset[str]:
            if failures:
                raise failures.pop()
            return await write(batches)

        world.ledger._write_all = buggy  # type: ignore[method-assign,assignment]  # once
        answer = await world.ask(charge(1))

        assert answer.body["duplicate"] is False
        assert world.balance() == 999


@in_virtual_time
async def test_what_was_written_is_counted() -> None:
    """Each durable batch, by wallets and entries; each failure, by its cause."""
    async with a_world() as world:
        world.stats.groups.clear()
        world.ledger.next_commits(Fault.LOST_BEFORE)
        await world.ask(charge(1, key="a"))
        world.ledger.poison = {"client:bad"}
        await asyncio.gather(
            *await world.asking(charge(1, key="bad"), charge(1, key="b")), return_exceptions=True
        )

        assert world.stats.groups == [(1, 1), (1, 1)]
        assert [cause for cause in world.stats.causes if "lost" not in cause] == [
            "unknown",
            "poison",
        ]
        assert world.balance(ORG) == 998
