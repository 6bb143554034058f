"""The notes beside the money, on a real database that may be away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
import pytest_asyncio

from wallet_engine.errors import LedgerUnavailable
from wallet_engine.ports import CallFacts, Delivery
from wallet_persistence.history import PostgresHistory
from wallet_persistence.postgres import Pool
from wallet_persistence.recorder import BATCH, PostgresRecorder
from wallet_testing.builders import ORG, T0_MS
from wallet_testing.pools import pool_to

POLL_S = 0.005


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with pool_to(database) as opened:
        yield opened


@pytest_asyncio.fixture
async def nowhere(database: str) -> AsyncIterator[Pool]:
    """Give a pool whose database is away."""
    async with pool_to(database.rpartition("/")[0] + "/nowhere") as opened:
        yield opened


def delivery(number: int = 0, **fields: object) -> Delivery:
    values = {
        "org_id": ORG,
        "call_id": "c",
        "type": "status-update",
        "status": "ringing",
        "received_ms": T0_MS + number,
        "http_status": 200,
        "outcome": "done",
        "error": None,
        "detail": {"number": number},
        "latency_ms": 1,
    }
    return Delivery(**{**values, **fields})  # type: ignore[arg-type]  # its fields


def facts(call_id: str = "c", **told: object) -> CallFacts:
    return CallFacts(org_id=ORG, call_id=call_id, **told)  # type: ignore[arg-type]  # its fields


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(POLL_S)


async def numbers(pool: Pool) -> list[object]:
    """Return the deliveries that are stored, in the order of writing."""
    rows = await pool.fetch("SELECT detail ->> 'number' AS n FROM webhook_delivery_log ORDER BY id")
    return [int(row["n"]) for row in rows]


async def call(pool: Pool, call_id: str = "c") -> asyncpg.Record:
    row = await pool.fetchrow(
        "SELECT * FROM calls WHERE org_id = $1 AND call_id = $2", ORG, call_id
    )
    assert row is not None
    return row


async def test_notes_are_written_soon_and_in_order(pool: Pool) -> None:
    """Nobody waits for them: they gather, are written, and counted."""
    recorder = PostgresRecorder(pool)
    await recorder.start()
    total = 2 * BATCH + 7
    for number in range(total):
        recorder.delivery(delivery(number))
    assert recorder.counts()["waiting"] == total

    await until(lambda: recorder.written == total)

    assert await numbers(pool) == list(range(total))
    assert recorder.counts() == {"waiting": 0, "active": 0, "completed": total, "failed": 0}
    await recorder.stop()


async def test_what_waits_is_written_before_the_end(pool: Pool) -> None:
    """`stop` loses nothing when the database is there."""
    recorder = PostgresRecorder(pool)
    await recorder.start()
    recorder.delivery(delivery(1))
    recorder.call(facts(status="ended"))

    await recorder.stop()

    assert await numbers(pool) == [1]
    assert (await call(pool))["status"] == "ended"


async def test_facts_add_up(pool: Pool) -> None:
    """In one batch or over several, in memory or in the database: the same rules."""
    for in_one_batch in (True, False):
        call_id = f"call-{in_one_batch}"
        recorder = PostgresRecorder(pool)
        for told in (
            facts(call_id, type="inboundPhoneCall", status="ringing", provider_cost_usd="0.1"),
            facts(call_id, status="in-progress", heard_started_ms=T0_MS + 5, started_ms=T0_MS),
            facts(call_id, status="ended", ended_ms=T0_MS + 9, ended_reason="hangup"),
            facts(call_id, status="in-progress", heard_started_ms=T0_MS + 7),
            facts(call_id, provider_cost_usd="0.123456", cost_pence=56, duration_ms=4),
        ):
            recorder.call(told)
            if not in_one_batch:
                await recorder.flush()
        await recorder.flush()

        row = await call(pool, call_id)
        assert (row["type"], row["status"], row["ended_reason"]) == (
            "inboundPhoneCall", "ended", "hangup",
        )  # fmt: skip
        assert (row["cost_pence"], row["duration_ms"]) == (56, 4)
        assert str(row["provider_cost_usd"]) == "0.123456"
        moments = [row[name].timestamp() for name in ("started_at", "heard_started_at", "ended_at")]
        assert [round(moment * 1000) - T0_MS for moment in moments] == [0, 5, 9]


async def test_notes_outlive_an_outage(pool: Pool, nowhere: Pool) -> None:
    """While the database is away they are kept, newer facts on top; then all is written."""
    recorder = PostgresRecorder(nowhere)
    recorder.delivery(delivery(1))
    recorder.call(facts(status="ringing", type="webCall"))
    with pytest.raises(LedgerUnavailable):
        await recorder.flush()
    recorder.delivery(delivery(2))
    recorder.call(facts(status="in-progress"))
    with pytest.raises(LedgerUnavailable):
        await recorder.flush()
    assert recorder.counts()["waiting"] == 3

    recorder._pool = pool
    await recorder.flush()

    assert await numbers(pool) == [1, 2]
    row = await call(pool)
    assert (row["status"], row["type"]) == ("in-progress", "webCall")
    assert recorder.lost == 0


async def test_the_task_outlives_an_outage(
    pool: Pool, nowhere: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """It tries again by itself."""
    recorder = PostgresRecorder(nowhere)
    await recorder.start()
    recorder.delivery(delivery(1))
    await until(lambda: "wait for the database" in caplog.text)

    recorder._pool = pool
    await until(lambda: recorder.written == 1)

    await recorder.stop()


async def test_the_end_is_not_held_up_by_an_outage(
    nowhere: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is told, and the program ends."""
    recorder = PostgresRecorder(nowhere)
    await recorder.start()
    recorder.delivery(delivery(1))

    await recorder.stop()

    assert "1 notes of webhooks were not written" in caplog.text


async def test_the_oldest_are_lost_when_there_are_too_many(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is bounded, losses are counted, and told until it has caught up."""
    recorder = PostgresRecorder(pool, capacity=3)
    for number in range(5):
        recorder.delivery(delivery(number))
        recorder.call(facts(f"c{number}", status="ringing"))
    assert recorder.counts() == {"waiting": 6, "active": 0, "completed": 0, "failed": 4}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

    await recorder.flush()

    assert await numbers(pool) == [2, 3, 4]
    assert await pool.fetchval("SELECT count(*) FROM calls") == 3
    assert recorder.counts()["failed"] == 0
    assert recorder.lost == 4


@pytest.mark.parametrize(
    "poison",
    [
        {"outcome": "a\0b"},
        {"http_status": 2**40},
        {"type": None},
        {"received_ms": 2**60},
        {"detail": {"a": "\ud800"}},
    ],
)
async def test_a_note_that_is_refused_takes_no_other_with_it(
    pool: Pool, poison: dict[str, object]
) -> None:
    """One by one, the others are written; that one is lost and counted."""
    recorder = PostgresRecorder(pool)
    for number in range(3):
        recorder.delivery(delivery(number))
    recorder.delivery(delivery(3, **poison))
    recorder.delivery(delivery(4))

    await recorder.flush()

    assert await numbers(pool) == [0, 1, 2, 4]
    assert (recorder.written, recorder.lost) == (4, 1)


async def test_facts_that_are_refused_take_no_others_with_them(pool: Pool) -> None:
    """The same for what providers say of calls."""
    recorder = PostgresRecorder(pool)
    for name in ("a", "b", "c"):
        recorder.call(facts(name, provider_cost_usd="much" if name == "b" else "1"))

    await recorder.flush()

    assert [row["call_id"] for row in await pool.fetch("SELECT call_id FROM calls ORDER BY 1")] == [
        "a", "c",
    ]  # fmt: skip


async def test_notes_of_nobody_and_of_odd_things(pool: Pool) -> None:
    """An unknown org or call is NULL; what is not JSON in a detail is told in words."""
    recorder = PostgresRecorder(pool)
    recorder.delivery(delivery(7, org_id=None, call_id=None, status=None, error="no", latency_ms=0))
    recorder.delivery(delivery(8, detail={"number": 8, "when": object}))
    await recorder.flush()

    assert await numbers(pool) == [7, 8]
    assert await PostgresHistory(pool).deliveries(ORG, "c") != []


async def test_nodes_that_note_the_same_calls_do_not_wait_for_each_other(pool: Pool) -> None:
    """Whatever order facts came in, they are written in one order: no deadlock."""
    names = [f"c{number:03}" for number in range(200)]

    async def note(order: list[str]) -> None:
        recorder = PostgresRecorder(pool)
        for _ in range(5):
            for name in order:
                recorder.call(facts(name, status="ringing"))
            await recorder.flush()
        assert recorder.lost == 0

    await asyncio.gather(note(names), note(names[::-1]))
