"""What a database holds, as a few numbers: two looks that are equal saw the same state.

Made to be taken after every single request of a fuzzer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import asyncpg

from wallet_engine.settings import Settings
from wallet_persistence.audit import LedgerAudit

NOTES = frozenset({"webhook_delivery_log", "calls"})
"""Written off the money path, some time after the answer.  Source: SPEC §5.1, §7."""

TABLES = """
-- All tables of the engine, each with the column that names the org, if there is one.
SELECT t.tablename, min(c.column_name) FILTER (
    WHERE c.column_name = CASE t.tablename WHEN 'organizations' THEN 'id' ELSE 'org_id' END
) AS org
FROM pg_tables t
JOIN information_schema.columns c ON c.table_schema = t.schemaname AND c.table_name = t.tablename
WHERE t.schemaname = 'public' GROUP BY t.tablename ORDER BY t.tablename
"""

TABLE = """
SELECT '{table}', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t
WHERE {orgs}
"""

WALLETS = """
-- What wallets have, and how far their journals reach.  $1 orgs.
SELECT id, seq, wallet_balance_pence, held_pence, debt_limit_pence FROM organizations
WHERE id = ANY($1::text[])
"""

BROKEN_CALLS = """
-- Calls that were admitted twice, charged twice, or corrected twice.
SELECT org_id, call_id, transaction_type, count(*) FROM credit_transactions
WHERE transaction_type IN ('reservation', 'call_deduction', 'adjustment') AND call_id IS NOT NULL
GROUP BY org_id, call_id, transaction_type HAVING count(*) > 1
"""

State = Mapping[str, tuple[int, int]]
"""How many rows each table has, and the sum of their hashes."""


class Purse(NamedTuple):
    """What one wallet has."""

    seq: int
    balance_pence: int
    held_pence: int
    debt_limit_pence: int

    @property
    def effective_pence(self) -> int:
        """What could be spent."""
        return self.balance_pence - self.held_pence


@dataclass(frozen=True, slots=True)
class Digest:
    """Takes digests: row counts and a sum of hashes by table."""

    connection: asyncpg.Connection
    statement: str

    @classmethod
    async def over(
        cls, connection: asyncpg.Connection, *, without: Collection[str] = NOTES
    ) -> Self:
        """Return what digests every table but those `without`."""
        parts = []
        for table, org in await connection.fetch(TABLES):
            orgs = f"($1::text[] IS NULL OR t.{org} = ANY($1))" if org else "true"
            if table not in without:
                parts.append(TABLE.format(table=table, orgs=orgs))
        assert parts, "a migrated database"
        return cls(connection, "UNION ALL".join(parts))

    async def taken(self, orgs: Sequence[str] | None = None) -> State:
        """Return the state of `orgs`, or of everything."""
        rows = await self.connection.fetch(self.statement, orgs)
        return {name: (count, int(hashes)) for name, count, hashes in rows}


async def purses(connection: asyncpg.Connection, orgs: Sequence[str]) -> dict[str, Purse]:
    """Return what the wallets of `orgs` have."""
    default = Settings().debt_limit_pence
    return {
        org_id: Purse(seq, balance, held, default if limit is None else limit)
        for org_id, seq, balance, held, limit in await connection.fetch(WALLETS, orgs)
    }


async def findings(dsn: str) -> list[str]:
    """Return what `wallet audit` would find, and calls that were booked more than once."""
    async with LedgerAudit(dsn, Settings()) as audit:
        found = [one async for wallet in audit.wallets(None) for one in wallet.findings]
    connection = await asyncpg.connect(dsn)
    try:
        twice = await connection.fetch(BROKEN_CALLS)
    finally:
        await connection.close()
    return [*found, *(f"more than once: {tuple(row)}" for row in twice)]
