"""What the database says of a wallet: the only witness of an outcome that counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

WALLET = """
-- The stored state of one wallet.  $1 org.
SELECT wallet_balance_pence AS balance, held_pence AS held, seq FROM organizations WHERE id = $1
"""

SUMS = """
-- What the journal of one wallet adds up to, and how often a row does not begin where the row
-- before it ended.  $1 org.
SELECT count(*) AS rows, coalesce(max(seq), 0) AS last, coalesce(sum(amount_pence), 0) AS balance,
       coalesce(sum(held_delta_pence), 0) AS held,
       count(*) FILTER (WHERE balance_before_pence <> before) AS breaks
FROM (
    SELECT seq, amount_pence, held_delta_pence, balance_before_pence,
           coalesce(lag(balance_after_pence) OVER (ORDER BY seq), 0) AS before
    FROM credit_transactions WHERE org_id = $1
) AS journal
"""

TYPES = """
-- How many rows of each type one wallet has, and what they moved.  $1 org.
SELECT transaction_type AS name, count(*) AS rows, sum(amount_pence) AS pence
FROM credit_transactions WHERE org_id = $1 GROUP BY transaction_type
"""

HOLDS = """
-- How many holds of each status one wallet has, and what they hold.  $1 org.
SELECT status AS name, count(*) AS rows, sum(reserved_pence) AS pence
FROM credit_reservations WHERE org_id = $1 GROUP BY status
"""

SETTLED = """
-- What each of these calls was charged.  $1 call ids.
SELECT call_id, status, committed_pence FROM credit_reservations WHERE call_id = ANY($1)
"""

ROWS = """
-- How many rows all journals have.
SELECT count(*) FROM credit_transactions
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of one kind: how many, and the pence they move or hold."""

    rows: int = 0
    pence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """One wallet as stored.  `faults`: where its tables contradict each other."""

    balance_pence: int
    held_pence: int
    journal: dict[str, Kind]
    holds: dict[str, Kind]
    faults: list[str] = field(default_factory=list)

    def wrote(self, transaction_type: str) -> Kind:
        """Return what the journal has of one type."""
        return self.journal.get(transaction_type, Kind())

    @property
    def active(self) -> Kind:
        """The live holds."""
        return self.holds.get("active", Kind())

    @property
    def spent_pence(self) -> int:
        """What was charged for, and what is held."""
        charged = [kind.pence for kind in self.journal.values() if kind.pence < 0]
        return -sum(charged) + self.held_pence


class Auditor:
    """Reads wallets from the database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def books(self, org_id: str) -> Books:
        """Return one wallet, read at one moment."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            wallet = await self._connection.fetchrow(WALLET, org_id)
            sums = await self._connection.fetchrow(SUMS, org_id)
            journal = await self._kinds(TYPES, org_id)
            holds = await self._kinds(HOLDS, org_id)
        assert wallet is not None, f"there is no wallet {org_id}"
        assert sums is not None
        active = holds.get("active", Kind())
        found = (
            (sums["rows"] == wallet["seq"], "the journal has gaps"),
            (sums["last"] == wallet["seq"], "the journal's last row is not the wallet's"),
            (sums["balance"] == wallet["balance"], "the journal's sum is not the balance"),
            (sums["held"] == wallet["held"], "the journal's holds are not what is held"),
            (sums["breaks"] == 0, "a row does not begin where the one before it ended"),
            (active.pence == wallet["held"], "the live holds are not what is held"),
        )
        return Books(
            balance_pence=wallet["balance"],
            held_pence=wallet["held"],
            journal=journal,
            holds=holds,
            faults=[fault for holds_true, fault in found if not holds_true],
        )

    async def settled(self, call_ids: list[str]) -> dict[str, tuple[str, int]]:
        """Return status and charge of each of these calls that is known."""
        rows = await self._connection.fetch(SETTLED, call_ids)
        return {row["call_id"]: (row["status"], row["committed_pence"]) for row in rows}

    async def rows(self) -> int:
        """Return how many decisions were ever journaled."""
        return int(await self._connection.fetchval(ROWS))

    async def setting(self, name: str) -> str:
        """Return a setting of the server."""
        return str(await self._connection.fetchval("SELECT current_setting($1)", name))

    async def _kinds(self, query: str, org_id: str) -> dict[str, Kind]:
        rows = await self._connection.fetch(query, org_id)
        return {row["name"]: Kind(row["rows"], int(row["pence"])) for row in rows}


@asynccontextmanager
async def auditing(dsn: str) -> AsyncIterator[Auditor]:
    """Give an auditor with a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield Auditor(connection)
    finally:
        await connection.close()
