"""Claims on a real server, when others hold the wallets: in passing, for long, or for nobody."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from wallet_engine.errors import LedgerBusy, OutcomeUnknown
from wallet_engine.ports import Loaded, Taken
from wallet_persistence.wire import Statement
from wallet_testing.bench import HALF_DONE, OTHER, Bench, bench_on
from wallet_testing.builders import ORG, admit, charge
from wallet_testing.cable import Cable, cable_to
from wallet_testing.owners import Owner, claimed, look, stored


@pytest_asyncio.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with bench_on(database) as made:
        yield made


@pytest_asyncio.fixture
async def cable(database: str) -> AsyncIterator[tuple[Cable, str]]:
    async with cable_to(database) as laid:
        yield laid


async def test_one_locked_wallet_does_not_hold_up_others(bench: Bench) -> None:
    """A group with a locked wallet is refused, others are claimed meanwhile and one by one."""
    ledger = bench.ledger()
    async with bench.locked():
        group = asyncio.create_task(claimed(ledger, [ORG, OTHER], owner="boot-1"))
        await bench.waiting("claims")
        alone = await claimed(ledger, [OTHER], owner="boot-1")
        assert isinstance(alone[OTHER], Loaded)
        assert not group.done()
        with pytest.raises(LedgerBusy):
            await group

    claims = await claimed(ledger, [ORG, OTHER], owner="boot-1")
    assert [type(claim) for claim in claims.values()] == [Loaded, Loaded]


async def test_a_locked_wallet_cannot_be_given_up_now(bench: Bench) -> None:
    """Who gives up hears that it has to come again."""
    owner = await bench.owner(bench.ledger(statement_timeout_s=0.4))
    async with bench.locked():
        with pytest.raises(LedgerBusy):
            await owner.ledger.release({ORG: 1, OTHER: 1})

    await owner.ledger.release({ORG: 1, OTHER: 1})


async def test_claims_take_wallets_in_one_order(bench: Bench) -> None:
    """Two that want the same wallets, named in opposite orders, queue up at the first of them."""
    first, second = bench.ledger("boot-1"), bench.ledger("boot-2")
    async with bench.locked() as in_between:
        claims = [asyncio.create_task(claimed(first, [ORG, OTHER], owner="boot-1"))]
        await bench.waiting("claims")
        claims += [asyncio.create_task(claimed(second, [OTHER, ORG], owner="boot-2"))]
        await bench.waiting("claims", count=2)
        await in_between.execute("ROLLBACK")
        found = await asyncio.gather(*claims)

    assert [set(claimed) for claimed in found] == [{ORG, OTHER}] * 2


async def test_a_commit_and_a_claim_take_wallets_in_one_order(bench: Bench) -> None:
    """A claim that came first goes first; the commit that waited behind it is fenced."""
    owner = await bench.owner(bench.ledger())
    batches = [owner.batch(charge(1, org_id=org_id)) for org_id in (OTHER, ORG)]
    successor = bench.ledger("boot-2")
    async with bench.locked() as in_between:
        claiming = asyncio.create_task(claimed(successor, [ORG, OTHER], owner="boot-2"))
        await bench.waiting("claims")
        writing = asyncio.create_task(owner.ledger.commit(batches))
        await bench.waiting("lane")
        await in_between.execute("ROLLBACK")

        assert set(await claiming) == {ORG, OTHER}
        assert await writing == frozenset()


async def test_who_was_waited_for_keeps_the_tenure(bench: Bench) -> None:
    """Of two that claim at once, the second to get the row finds it taken."""
    first, second = bench.ledger("boot-1"), bench.ledger("boot-2")
    async with bench.locked() as in_between:
        claims = [
            asyncio.create_task(claimed(ledger, [ORG], owner=boot, tenure_ms=60_000))
            for ledger, boot in ((first, "boot-1"), (second, "boot-2"))
        ]
        await bench.waiting("claims", count=2)
        await in_between.execute("ROLLBACK")
        found = [(await claim)[ORG] for claim in claims]

    [loser] = [claim for claim in found if isinstance(claim, Taken)]
    assert loser.owner == ("boot-2" if isinstance(found[1], Loaded) else "boot-1")


@pytest.mark.parametrize("gives_up", [False, True])
async def test_what_happens_between_the_statements_of_a_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gives_up: bool
) -> None:
    """A wallet that was taken before its holds were read is not half loaded, but tried again."""
    ledger, rival = bench.ledger("boot-1"), bench.ledger("boot-2")
    wire = ledger._claims[-1]
    fetch = wire.fetch

    async def fetch_then_lose(statement: Statement, *args: object) -> list[asyncpg.Record]:
        monkeypatch.setattr(wire, "fetch", fetch)
        rows = await fetch(statement, *args)
        await claimed(rival, [ORG], owner="boot-2")
        if gives_up:
            await rival.release({ORG: 2})
        return rows

    monkeypatch.setattr(wire, "fetch", fetch_then_lose)
    claims = await claimed(ledger, [ORG], owner="boot-1", tenure_ms=60_000)

    claim = claims[ORG]
    if gives_up:
        assert isinstance(claim, Loaded)
        assert claim.epoch == 3
    else:
        assert isinstance(claim, Taken)
        assert (claim.owner, claim.epoch) == ("boot-2", 2)


async def test_a_claim_brings_when_calls_started(bench: Bench) -> None:
    """The clock of a live call survives its process: it was noted beside the ledger."""
    owner = await bench.owner(bench.ledger())
    await owner.write(admit("a"), admit("b"), admit("c"))
    await bench.admin.execute(
        "INSERT INTO calls (org_id, call_id, heard_started_at) "
        "VALUES ($1, 'a', to_timestamp(1700000000.123)), ($1, 'b', NULL), ('else', 'c', now())",
        ORG,
    )

    [loaded] = await look(owner.ledger, ORG)

    assert loaded.started_ms == {"a": 1_700_000_000_123}
    assert {hold.call_id for hold in loaded.holds} == {"a", "b", "c"}


# --- who holds a row for nobody ------------------------------------------------------------------


async def test_a_claim_ends_what_it_waits_for_too_long(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """A statement of ours that hangs is ended after a second: then it was not written."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn))
    batch = owner.batch(charge(1, key="a"))
    async with bench.locked():
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        pid = await bench.waiting("lane")
        path.cut()
        with pytest.raises(OutcomeUnknown):
            await writing

        with pytest.raises(LedgerBusy):  # somebody else holds the row still
            await owner.claim(ORG)
        assert pid not in await bench.pids("lane")

    await owner.claim(ORG)
    assert owner.wallets[ORG].seq == 1
    assert await stored(owner.ledger, batch.entries) == [None]


async def test_a_claim_ends_a_statement_whose_commit_got_lost(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """No time-out ends a backend that did all but the commit and waits for the word to do that."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn, statement_timeout_s=0.5))
    batch = owner.batch(charge(1, key="a"))
    path.lose_syncs = True
    with pytest.raises(OutcomeUnknown):
        await owner.ledger.commit([batch])
    path.lose_syncs = False
    assert await bench.pids("lane", HALF_DONE)

    await owner.claim(ORG)

    assert await stored(owner.ledger, batch.entries) == [None]
    assert not await bench.pids("lane", HALF_DONE)


async def test_a_claim_ends_what_a_stopped_node_left_half_sent(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """A node stopped between two packets holds the row: its successor does not wait for it."""
    path, dsn = cable
    stopped = await bench.owner(bench.ledger(dsn=dsn))
    batch = stopped.batch(charge(1, key="a"))
    path.lose_syncs = True
    writing = asyncio.create_task(stopped.ledger.commit([batch]))
    await path.lost.wait()
    path.lose_syncs = False
    assert await bench.pids("lane", HALF_DONE)

    successor = Owner(bench.ledger("boot-2"), "boot-2")
    await successor.claim(ORG)
    await successor.write(charge(2, key="a"))

    with pytest.raises(OutcomeUnknown):
        await writing
    assert await stored(successor.ledger, batch.entries) != list(batch.entries)
