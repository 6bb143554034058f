"""The journal, read: pages, moments, single decisions, and what webhooks said beside it."""

import json
from collections.abc import Sequence

import asyncpg

from wallet_engine.ports import Delivery, HistoryQuery, UnsettledCall
from wallet_engine.wallet import Entry

from .postgres import Borrowed, Pool, borrowed
from .rows import ENTRY_COLUMNS, entry_of

PAGE = f"""
-- $1 an org, $2 and $3 the first and the last seq, $4 how many, $5 a type (NULL: any).
SELECT {ENTRY_COLUMNS} FROM credit_transactions j
WHERE j.org_id = $1 AND j.seq BETWEEN $2 AND $3
  AND ($5::text IS NULL OR j.transaction_type = $5)
ORDER BY j.seq DESC LIMIT $4
"""  # noqa: S608  # a list of columns

PAGE_OF_RARE = f"""
-- As PAGE, for a type that few rows have: it is written out so that the index on those serves,
-- whatever else the wallet did.
SELECT {ENTRY_COLUMNS} FROM credit_transactions j
WHERE j.org_id = $1 AND j.seq BETWEEN $2 AND $3 AND j.transaction_type = $5
  AND j.transaction_type NOT IN
      ('reservation', 'reservation_extension', 'reservation_release', 'call_deduction')
ORDER BY j.seq DESC LIMIT $4
"""  # noqa: S608  # a list of columns

PAGE_OF_CALL = f"""
-- As PAGE, and $6 a call.
SELECT {ENTRY_COLUMNS} FROM credit_transactions j
WHERE j.org_id = $1 AND j.seq BETWEEN $2 AND $3
  AND ($5::text IS NULL OR j.transaction_type = $5) AND j.call_id = $6
ORDER BY j.seq DESC LIMIT $4
"""  # noqa: S608  # a list of columns

FREQUENT_TYPES = frozenset(
    {"reservation", "reservation_extension", "reservation_release", "call_deduction"}
)
"""The types that calls write, several times each: `idx_credit_txn_rare` leaves them out."""

SEQ_AT = """
-- $1 an org, $2 milliseconds since 1970.  The last seq that is not later, 0 if there is none.
-- Times never fall and seq has no gaps, so halving finds it over the primary key alone.  The
-- row `low` is early enough (0 always is), every row above `high` is too late.
WITH RECURSIVE search AS (
    SELECT 0::int8 AS low, coalesce((
        SELECT seq FROM credit_transactions WHERE org_id = $1 ORDER BY seq DESC LIMIT 1
    ), 0) AS high
    UNION ALL
    SELECT CASE WHEN early THEN middle ELSE low END, CASE WHEN early THEN high ELSE middle - 1 END
    FROM (SELECT low, high, (low + high + 1) / 2 AS middle FROM search WHERE low < high) s
    CROSS JOIN LATERAL (
        SELECT created_at <= timestamptz 'epoch' + $2::int8 * interval '1 millisecond' AS early
        FROM credit_transactions WHERE org_id = $1 AND seq = middle
    ) m
)
SELECT max(low) FROM search
"""

BY_KEY = f"""
-- $1 an org, $2 keys.
SELECT {ENTRY_COLUMNS} FROM credit_transactions j
WHERE j.org_id = $1 AND j.idempotency_key = ANY ($2::text[]) ORDER BY j.seq
"""  # noqa: S608  # a list of columns

BY_SEQ = f"""
-- $1 an org, $2 a seq.
SELECT {ENTRY_COLUMNS} FROM credit_transactions j WHERE j.org_id = $1 AND j.seq = $2
"""  # noqa: S608  # a list of columns

DELIVERIES = """
-- $1 an org, $2 a call, $3 how many.  What came for another org, or for none, is not told.
SELECT org_id, call_id, type, status, (extract(epoch FROM received_at) * 1000)::int8 AS received_ms,
    coalesce(http_status, 0) AS http_status, coalesce(outcome, '') AS outcome, error,
    coalesce(detail, '{}') AS detail, coalesce(latency_ms, 0) AS latency_ms
FROM webhook_delivery_log WHERE call_id = $2 AND org_id = $1
ORDER BY received_at, id LIMIT $3
"""

DELIVERIES_MAX = 1000
"""Deliveries told of one call: a call of hours has some hundreds."""

CONTROL_URL = "SELECT control_url FROM calls WHERE org_id = $1 AND call_id = $2"

UNSETTLED = """
-- $1 milliseconds since 1970, $2 how many.  From the live holds, of which there are never many,
-- and not from the calls that ended, of which there are ever more.  A call whose length nobody
-- knows is left to its report or to the expiry of its hold.
SELECT org_id, call_id, greatest(duration_ms, 0) FROM (
    SELECT c.org_id, c.call_id, c.ended_at, coalesce(
        c.duration_ms,
        (extract(epoch FROM c.ended_at - coalesce(c.started_at, c.heard_started_at)) * 1000)::int8
    ) AS duration_ms
    FROM credit_reservations r
    JOIN calls c ON c.org_id = r.org_id AND c.call_id = r.call_id
    WHERE r.status = 'active'
      AND c.ended_at < timestamptz 'epoch' + $1::int8 * interval '1 millisecond'
) ended
WHERE duration_ms IS NOT NULL
ORDER BY ended_at LIMIT $2
"""


class PostgresHistory:
    """The engine's `History`.

    Every method raises `LedgerUnavailable` if the database cannot be read now, and
    `LedgerFault` if it refuses to.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, query: HistoryQuery) -> Sequence[Entry]:
        """Return one page of rows, newest first: from `from_ms` on, before `to_ms`."""
        async with borrowed(self._pool) as connection:
            first, last = await _bounds(connection, query)
            if first > last:
                return []
            args = (query.org_id, first, last, query.limit, query.type)
            if query.call_id is not None:
                rows = await connection.fetch(PAGE_OF_CALL, *args, query.call_id)
            elif query.type is None or query.type in FREQUENT_TYPES:
                rows = await connection.fetch(PAGE, *args)
            else:
                rows = await connection.fetch(PAGE_OF_RARE, *args)
            return [entry_of(row) for row in rows]

    async def at(self, org_id: str, at_ms: int) -> Entry | None:
        """Return the last row at or before `at_ms`."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                BY_SEQ, org_id, await _seq_at(connection, org_id, at_ms)
            )
        return None if row is None else entry_of(row)

    async def by_key(self, org_id: str, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the rows under these keys."""
        async with borrowed(self._pool) as connection:
            return [entry_of(row) for row in await connection.fetch(BY_KEY, org_id, keys)]

    async def by_seq(self, org_id: str, seq: int) -> Entry | None:
        """Return one row."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(BY_SEQ, org_id, seq)
        return None if row is None else entry_of(row)

    async def deliveries(self, org_id: str, call_id: str) -> Sequence[Delivery]:
        """Return what webhooks said of a call, oldest first."""
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(DELIVERIES, org_id, call_id, DELIVERIES_MAX)
        return [_delivery_of(row) for row in rows]

    async def control_url(self, org_id: str, call_id: str) -> str | None:
        """Return where a live call can be spoken to, if its provider has told."""
        async with borrowed(self._pool) as connection:
            found: str | None = await connection.fetchval(CONTROL_URL, org_id, call_id)
        return found

    async def unsettled(self, *, ended_before_ms: int, limit: int) -> Sequence[UnsettledCall]:
        """Return calls whose provider said they ended, but whose hold is still live."""
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(UNSETTLED, ended_before_ms, limit)
        return [UnsettledCall(*row) for row in rows]


async def _bounds(connection: Borrowed, query: HistoryQuery) -> tuple[int, int]:
    """Return the first and the last seq of what `query` asks for."""
    first, last = 1, SEQ_MAX
    if query.before_seq:
        last = query.before_seq - 1
    if query.from_ms is not None:
        first = await _seq_at(connection, query.org_id, query.from_ms - 1) + 1
    if query.to_ms is not None:
        last = min(last, await _seq_at(connection, query.org_id, query.to_ms - 1))
    return first, last


async def _seq_at(connection: Borrowed, org_id: str, at_ms: int) -> int:
    seq: int = await connection.fetchval(SEQ_AT, org_id, at_ms)
    return seq


SEQ_MAX = 2**63 - 1


def _delivery_of(row: asyncpg.Record) -> Delivery:
    values = dict(row)
    return Delivery(**{**values, "detail": json.loads(values["detail"])})
