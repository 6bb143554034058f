"""The journal, read from a real database."""

from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from wallet_engine.errors import LedgerFault, LedgerUnavailable
from wallet_engine.ports import (
    CallFacts,
    Delivery,
    History,
    HistoryQuery,
    Org,
    UnsettledCall,
)
from wallet_engine.wallet import Entry
from wallet_persistence.calls import store_facts
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.history import PostgresHistory
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access, Pool, borrowed
from wallet_persistence.recorder import PostgresRecorder
from wallet_testing.builders import (
    ORG,
    T0_MS,
    admit,
    buy,
    charge,
    commit,
    credit,
    release,
    reserve,
    suspend,
)
from wallet_testing.owners import Owner
from wallet_testing.pools import pool_to

OTHER = "org-2"
STEP_MS = 1000


@dataclass
class Written:
    """A wallet with some history: `entries` are all of it, in pairs a second apart."""

    pool: Pool
    owner: Owner
    history: PostgresHistory
    entries: list[Entry]


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with pool_to(database) as opened:
        yield opened


@pytest_asyncio.fixture
async def written(database: str, pool: Pool) -> AsyncIterator[Written]:
    directory = PostgresDirectory(pool)
    for org_id in (ORG, OTHER, "empty"):
        await directory.create_org(
            Org(org_id=org_id, name=org_id, created_ms=T0_MS), {}, node="node-0"
        )
    ledger = PostgresLedger(Access(dsn=database, node="node-1", boot="boot-1"))
    owner = Owner(ledger, "boot-1")
    await owner.claim(ORG, OTHER)
    await owner.write(credit(500, org_id=OTHER), reserve("a", org_id=OTHER))
    entries: list[Entry] = []
    for pair in (
        (credit(5000), reserve("a", pence=100)),
        (charge(5, key="c1"), charge(6, key="c2")),
        (commit("a", seconds=60), reserve("b", pence=100)),
        (buy(1000), release("b")),
        (credit(7, key="late"), suspend()),
    ):
        entries += await owner.write(*pair)
        owner.now_ms += STEP_MS
    yield Written(pool, owner, PostgresHistory(pool), entries)
    await ledger.close()


async def page(history: History, limit: int = 100, org_id: str = ORG, **query: object) -> list[int]:
    """Return the seqs of a page."""
    asked = HistoryQuery(org_id=org_id, limit=limit, **query)  # type: ignore[arg-type]  # its fields
    return [entry.seq for entry in await history.page(asked)]


async def test_pages_come_newest_first(written: Written) -> None:
    """Rows are told as they were decided, and the last seq of a page leads to the next."""
    history = written.history

    found = await history.page(HistoryQuery(org_id=ORG, limit=4))

    assert list(found) == written.entries[:-5:-1]
    assert await page(history, 4, before_seq=7) == [6, 5, 4, 3]
    assert await page(history, 4, before_seq=3) == [2, 1]
    assert await page(history, 4, before_seq=1) == []
    assert await page(history, org_id="empty") == []
    assert await page(history, org_id="nobody") == []


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ({"type": "topup"}, [9, 1]),
        ({"type": "call_deduction"}, [5, 4, 3]),
        ({"type": "phone_number"}, [7]),
        ({"type": "clawback"}, []),
        ({"call_id": "a"}, [5, 2]),
        ({"call_id": "a", "type": "reservation"}, [2]),
        ({"call_id": "b", "before_seq": 8}, [6]),
        ({"call_id": "missing"}, []),
        ({"type": "call_deduction", "before_seq": 5}, [4, 3]),
        ({"type": "topup", "before_seq": 9}, [1]),
        ({"from_ms": T0_MS + 3 * STEP_MS}, [10, 9, 8, 7]),
        ({"from_ms": T0_MS + 3 * STEP_MS + 1}, [10, 9]),
        ({"to_ms": T0_MS + STEP_MS}, [2, 1]),
        ({"to_ms": T0_MS + STEP_MS + 1}, [4, 3, 2, 1]),
        ({"to_ms": T0_MS}, []),
        ({"from_ms": T0_MS + STEP_MS, "to_ms": T0_MS + 3 * STEP_MS}, [6, 5, 4, 3]),
        ({"from_ms": T0_MS + STEP_MS, "to_ms": T0_MS + STEP_MS}, []),
        ({"from_ms": T0_MS + STEP_MS, "before_seq": 5, "type": "call_deduction"}, [4, 3]),
        ({"from_ms": 0, "to_ms": 2**60 // 1000, "type": "topup"}, [9, 1]),
    ],
)
async def test_pages_can_be_narrowed(
    written: Written, query: dict[str, Any], seqs: list[int]
) -> None:
    """By type, by call, from a time on, before a time, and all of these at once."""
    assert await page(written.history, **query) == seqs


async def test_a_moment_is_found(written: Written) -> None:
    """The last row at or before a moment, also between rows and beyond both ends."""
    times = [entry.at_ms for entry in written.entries]
    for at_ms in sorted({at_ms + delta for at_ms in times for delta in (-1, 0, 1)}):
        count = bisect_right(times, at_ms)

        found = await written.history.at(ORG, at_ms)

        assert found == (written.entries[count - 1] if count else None)
    assert await written.history.at("empty", T0_MS) is None
    assert await written.history.at("nobody", T0_MS) is None


async def test_single_rows_are_found(written: Written) -> None:
    """By their number, and by their keys: only the wallet's own."""
    history, entries = written.history, written.entries

    assert await history.by_seq(ORG, 5) == entries[4]
    assert await history.by_seq(ORG, 11) is None
    assert await history.by_seq("nobody", 1) is None
    found = await history.by_key(ORG, ["commit:a", "client:c1", "missing"])
    assert list(found) == [entries[2], entries[4]]
    assert await history.by_key(OTHER, ["commit:a"]) == []


async def test_deliveries_of_a_call_are_told_to_its_org(written: Written) -> None:
    """Oldest first, as they were noted; never what came for another org."""

    def delivery(received_ms: int, org_id: str | None = ORG, call_id: str | None = "a") -> Delivery:
        return Delivery(
            org_id=org_id,
            call_id=call_id,
            type="status-update",
            status=None,
            received_ms=received_ms,
            http_status=200,
            outcome="done",
            error=None,
            detail={"of": [received_ms, None, "ü"]},
            latency_ms=3,
        )

    recorder = PostgresRecorder(written.pool)
    ours = [delivery(T0_MS + 7), delivery(T0_MS + 1)]
    for one in (*ours, delivery(T0_MS, OTHER), delivery(T0_MS, None), delivery(T0_MS, ORG, "b")):
        recorder.delivery(one)
    await recorder.flush()

    assert await written.history.deliveries(ORG, "a") == ours[::-1]
    assert await written.history.deliveries(ORG, "c") == []


async def test_where_a_call_can_be_spoken_to(written: Written) -> None:
    """As its provider told last; None for a call of which nothing was told."""
    told = CallFacts(org_id=ORG, call_id="a", control_url="https://x.vapi.ai/1")
    async with borrowed(written.pool) as connection:
        await store_facts(connection, [told])

    assert await written.history.control_url(ORG, "a") == "https://x.vapi.ai/1"
    assert await written.history.control_url(OTHER, "a") is None


async def test_calls_that_ended_with_a_live_hold_are_found(written: Written) -> None:
    """Earliest end first; not those that are settled, still live, or of unknown length."""
    owner = written.owner
    names = ("told", "clocked", "heard", "live", "unknown", "late", "backwards")
    await owner.write(credit(10_000, key="more", org_id=OTHER))
    await owner.write(*(admit(f"u-{name}", org_id=OTHER) for name in names))

    def facts(name: str, **told: object) -> CallFacts:
        return CallFacts(org_id=OTHER, call_id=f"u-{name}", **told)  # type: ignore[arg-type]  # its fields

    noted = [
        facts("told", ended_ms=T0_MS + 50, duration_ms=40, started_ms=T0_MS),
        facts("clocked", ended_ms=T0_MS + 40, started_ms=T0_MS + 10, heard_started_ms=T0_MS),
        facts("heard", ended_ms=T0_MS + 30, heard_started_ms=T0_MS + 10),
        facts("live", heard_started_ms=T0_MS),
        facts("unknown", ended_ms=T0_MS + 30),
        facts("late", ended_ms=T0_MS + 60, duration_ms=1),
        facts("backwards", ended_ms=T0_MS + 20, started_ms=T0_MS + 30),
        CallFacts(org_id=ORG, call_id="a", ended_ms=T0_MS, duration_ms=1),
    ]
    async with borrowed(written.pool) as connection:
        await store_facts(connection, noted)

    found = await written.history.unsettled(ended_before_ms=T0_MS + 60, limit=10)

    assert found == [
        UnsettledCall(OTHER, "u-backwards", 0),
        UnsettledCall(OTHER, "u-heard", 20),
        UnsettledCall(OTHER, "u-clocked", 30),
        UnsettledCall(OTHER, "u-told", 40),
    ]
    assert await written.history.unsettled(ended_before_ms=T0_MS + 60, limit=1) == found[:1]


async def test_a_database_that_is_away_or_refuses(written: Written, database: str) -> None:
    """Two errors, and only those: come again, or there is no use."""
    with pytest.raises(LedgerFault):
        await written.history.by_seq("a\0b", 1)
    assert await written.history.by_seq(ORG, 1) == written.entries[0]

    away = database.rpartition("/")[0] + "/nowhere"
    async with pool_to(away) as pool:
        with pytest.raises(LedgerUnavailable):
            await PostgresHistory(pool).by_seq(ORG, 1)
