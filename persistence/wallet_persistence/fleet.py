"""The kill switch of the whole fleet, stored: rows are added, the newest one counts."""

import asyncpg

from wallet_engine.ports import FleetSwitch

from .postgres import Pool, borrowed

NEWEST = """
SELECT id AS switch_id, engaged, end_live_calls, reason, actor,
    (extract(epoch FROM created_at) * 1000)::int8 AS at_ms
FROM fleet_switches ORDER BY id DESC LIMIT 1
"""

THROW = """
-- $1 key, $2 engaged, $3 end live calls, $4 reason, $5 actor.  No row: the key was used before.
INSERT INTO fleet_switches (idempotency_key, engaged, end_live_calls, reason, actor, created_at)
VALUES ($1, $2, $3, $4, $5, date_trunc('milliseconds', clock_timestamp()))
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id AS switch_id, engaged, end_live_calls, reason, actor,
    (extract(epoch FROM created_at) * 1000)::int8 AS at_ms
"""

BY_KEY = """
-- $1 key.
SELECT id AS switch_id, engaged, end_live_calls, reason, actor,
    (extract(epoch FROM created_at) * 1000)::int8 AS at_ms
FROM fleet_switches WHERE idempotency_key = $1
"""


class PostgresFleet:
    """The engine's `FleetStore`.

    Every method raises `LedgerUnavailable` if the database cannot be asked now, and
    `LedgerFault` if it refuses.  Repeating one is safe.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(self) -> FleetSwitch | None:
        """Return the switch as it stands, or None if it was never touched."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(NEWEST)
        return None if row is None else _switch_of(row)

    async def throw(
        self, *, key: str, engaged: bool, end_live_calls: bool, reason: str, actor: str
    ) -> tuple[FleetSwitch, bool]:
        """Store a new state under `key`; return it and whether it is a repeat."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(THROW, key, engaged, end_live_calls, reason, actor)
            repeat = row is None
            if row is None:
                row = await connection.fetchrow(BY_KEY, key)
        assert row is not None, "rows are never removed, so the key that was in the way is there"
        return _switch_of(row), repeat


def _switch_of(row: asyncpg.Record) -> FleetSwitch:
    return FleetSwitch(**dict(row))
