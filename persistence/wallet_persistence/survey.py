"""Numbers of the whole ledger, for metrics: exact while it is small, estimated when it is not."""

from collections.abc import Mapping

from .postgres import Pool, borrowed

EXACT_BYTES_MAX = 64 * 1024 * 1024
"""A larger table is not read as a whole for a number on a dashboard."""

SIZES = """
SELECT pg_relation_size('organizations'), pg_relation_size('credit_reservations')
"""

AVERAGE = """
-- $1 the share of the table that is looked at, in percent.
SELECT coalesce(avg(wallet_balance_pence), 0)::float8 FROM organizations TABLESAMPLE SYSTEM ($1)
"""

HOLDS = "SELECT status, count(*) FROM credit_reservations GROUP BY status"

LIVE_HOLDS = "SELECT 'active', count(*) FROM credit_reservations WHERE status = 'active'"

ENDED_HOLDS = """
-- What the planner believes, as of the last ANALYZE.
SELECT status, (share * greatest(c.reltuples, 0))::int8
FROM pg_class c, pg_stats s,
    unnest(s.most_common_vals::text::text[], s.most_common_freqs) AS v (status, share)
WHERE c.oid = 'credit_reservations'::regclass
  AND s.schemaname = c.relnamespace::regnamespace::text
  AND s.tablename = c.relname AND s.attname = 'status' AND status <> 'active'
"""


async def survey(pool: Pool) -> tuple[float, Mapping[str, int]]:
    """Return the average balance in pence, and how many holds there are by status.

    Raises:
        LedgerUnavailable, LedgerFault: it cannot be told now.
    """
    async with borrowed(pool) as connection:
        [[wallets_bytes, holds_bytes]] = await connection.fetch(SIZES)
        share = 100.0 * min(1.0, EXACT_BYTES_MAX / max(wallets_bytes, 1))
        average: float = await connection.fetchval(AVERAGE, share)
        if holds_bytes <= EXACT_BYTES_MAX:
            rows = await connection.fetch(HOLDS)
        else:
            rows = [*await connection.fetch(LIVE_HOLDS), *await connection.fetch(ENDED_HOLDS)]
    return average, {row[0]: row[1] for row in rows}
