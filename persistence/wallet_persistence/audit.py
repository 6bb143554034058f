"""The audit of what is stored: every journal, replayed, must give its wallet's row and holds.

Each wallet is read in one snapshot, so a running engine does not disturb it, nor it the engine.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self

import asyncpg

from wallet_engine.audit import Auditor, StoredWallet
from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import Settings

from .migrate import connect
from .postgres import Connection, asking
from .rows import ENTRY_COLUMNS, HOLD_COLUMNS, entry_of, hold_of, overrides_of

COUNT = """
-- $1 an org, or NULL for all of them.
SELECT count(*) FROM organizations WHERE $1::text IS NULL OR id = $1
"""

PAGE = """
-- $1 the last org that was audited, $2 how many more.
SELECT id FROM organizations WHERE id > $1 ORDER BY id LIMIT $2
"""

WALLET = """
-- $1 an org.
SELECT seq, epoch, wallet_balance_pence, held_pence, suspended, settings, debt_limit_pence
FROM organizations WHERE id = $1
"""

JOURNAL = f"""
-- $1 an org.  Oldest first.
SELECT {ENTRY_COLUMNS}, j.balance_after_pence
FROM credit_transactions j WHERE j.org_id = $1 ORDER BY j.seq
"""  # noqa: S608  # a list of columns

HOLDS = f"""
-- $1 an org.  All calls that were ever held or settled.
SELECT {HOLD_COLUMNS} FROM credit_reservations r WHERE r.org_id = $1
"""  # noqa: S608  # a list of columns

PAGE_ORGS = 1000
FETCHED_ROWS = 1000
"""Rows fetched at a time: a journal may have millions."""

FINDINGS_MAX = 20
"""Findings told of one wallet: what is wrong once is often wrong in every row after."""


class Audited(NamedTuple):
    """One wallet: how many rows its journal has, and what is wrong with it."""

    org_id: str
    rows: int
    findings: list[str]


class LedgerAudit:
    """Audits the wallets of one database: `async with LedgerAudit(dsn, defaults) as audit`.

    Every method raises `LedgerUnavailable` if the database cannot be read.
    """

    def __init__(self, dsn: str, defaults: Settings) -> None:
        self._dsn = dsn
        self._defaults = defaults
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._connection = await connect(self._dsn)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Disconnect."""
        assert self._connection is not None, "entered"
        await self._connection.close()

    async def count(self, org_id: str | None) -> int:
        """Return how many wallets there are to audit: one, or all for None."""
        with asking():
            found: int = await self._reader.fetchval(COUNT, org_id)
        return found

    async def wallets(self, org_id: str | None) -> AsyncIterator[Audited]:
        """Audit one wallet, or all for None, in the order of their names."""
        if org_id is not None:
            yield await self._audited(org_id)
            return
        last = ""
        while True:
            with asking():
                page = await self._reader.fetch(PAGE, last, PAGE_ORGS)
            for row in page:
                yield await self._audited(row[0])
            if not page:
                return
            last = page[-1][0]

    @property
    def _reader(self) -> Connection:
        assert self._connection is not None, "entered"
        return self._connection

    async def _audited(self, org_id: str) -> Audited:
        auditor = Auditor(org_id, self._defaults)
        findings: list[str] = []
        rows = 0
        reader = self._reader
        with asking():
            async with reader.transaction(isolation="repeatable_read", readonly=True):
                wallet = await reader.fetchrow(WALLET, org_id)
                if wallet is None:
                    return Audited(org_id, 0, [f"{org_id}: there is no such wallet"])
                async for row in reader.cursor(JOURNAL, org_id, prefetch=FETCHED_ROWS):
                    rows += 1
                    findings += _replayed(auditor, row)
                holds = [hold_of(row) for row in await reader.fetch(HOLDS, org_id)]
        findings += auditor.finish(_stored(org_id, wallet), holds)
        return Audited(org_id, rows, findings[:FINDINGS_MAX])


def _replayed(auditor: Auditor, row: asyncpg.Record) -> list[str]:
    entry = entry_of(row[:-1])
    findings = []
    if row[-1] != entry.balance_after_pence:
        findings.append(f"{entry.org_id} seq {entry.seq}: its balances do not add up")
    try:
        auditor.row(entry)
    except InvalidCommand as error:  # settings that were allowed once
        findings.append(f"{entry.org_id} seq {entry.seq}: {error}")
    return findings


def _stored(org_id: str, row: Any) -> StoredWallet:  # noqa: ANN401  # a record
    return StoredWallet(
        org_id=org_id,
        seq=row["seq"],
        epoch=row["epoch"],
        balance_pence=row["wallet_balance_pence"],
        held_pence=row["held_pence"],
        suspended=row["suspended"],
        overrides=overrides_of(row["settings"], row["debt_limit_pence"]),
    )
