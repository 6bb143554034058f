"""Ledgers on one database, and somebody who looks at it from the side and gets in the way."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from wallet_engine.ports import Org
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access, open_pool

from .builders import ORG, T0_MS, credit
from .owners import Owner
from .processes import until

OTHER = "org-2"

RUNNING = "SELECT 1 FROM pg_stat_activity WHERE pid = $1"

LOCKED = "wait_event_type = 'Lock'"

HALF_DONE = "wait_event = 'ClientRead' AND state = 'active'"
"""A backend that holds locks and waits for the rest of what its client has to say."""


class Bench:
    """One database, ledgers on it, and somebody who looks at it from the side."""

    def __init__(self, dsn: str, admin: asyncpg.Connection, opened: AsyncExitStack) -> None:
        self.dsn = dsn
        self.admin = admin
        self._opened = opened

    def ledger(
        self,
        boot: str = "boot-1",
        *,
        dsn: str = "",
        statement_timeout_s: float = 30.0,
        lock_timeout_s: float = 30.0,
    ) -> PostgresLedger:
        """Return a ledger of the process `boot`, closed in the end."""
        access = Access(
            dsn=dsn or self.dsn,
            node="node-1",
            boot=boot,
            statement_timeout_s=statement_timeout_s,
            lock_timeout_s=lock_timeout_s,
        )
        made = PostgresLedger(access)
        self._opened.push_async_callback(made.close)
        return made

    async def owner(self, ledger: PostgresLedger, boot: str = "boot-1") -> Owner:
        """Return an owner of `ORG` and `OTHER`, with 1000 pence each."""
        owner = Owner(ledger, boot)
        await owner.claim(ORG, OTHER)
        for org_id in (ORG, OTHER):
            await owner.write(credit(1000, key="first", org_id=org_id))
        return owner

    @asynccontextmanager
    async def locked(self, org_id: str = ORG) -> AsyncIterator[asyncpg.Connection]:
        """Hold the row of a wallet, as a statement or a person in between would.

        The transaction may be ended on the connection that is given.
        """
        connection = await asyncpg.connect(self.dsn)
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1 FROM organizations WHERE id = $1 FOR UPDATE", org_id)
        try:
            yield connection
        finally:
            connection.terminate()

    async def pids(self, role: str, condition: str = "true") -> list[int]:
        """Return the backends of a role that are in some condition."""
        query = f"""
            SELECT pid FROM pg_stat_activity WHERE datname = current_database()
            AND application_name LIKE 'wallet-{role}:%' AND {condition}
        """  # noqa: S608  # both are the tests' own
        return [row["pid"] for row in await self.admin.fetch(query)]

    async def waiting(self, role: str, count: int = 1) -> int:
        """Wait until `count` backends of a role wait for a lock, and return one of them."""
        found: list[int] = []

        async def wait() -> bool:
            found[:] = await self.pids(role, LOCKED)
            return len(found) >= count

        await until(wait, f"{count} of {role} wait for a lock")
        return found[0]

    async def gone(self, pid: int) -> None:
        """Wait until a backend has ended."""

        async def ended() -> bool:
            return not await self.admin.fetch(RUNNING, pid)

        await until(ended, f"the backend {pid} has ended")


@asynccontextmanager
async def bench_on(dsn: str) -> AsyncIterator[Bench]:
    """Create the wallets in a migrated database; give a bench on it."""
    async with AsyncExitStack() as opened:
        admin = await asyncpg.connect(dsn)
        opened.push_async_callback(admin.close)
        await create_wallets(dsn)
        yield Bench(dsn, admin, opened)


async def create_wallets(dsn: str) -> None:
    access = Access(dsn=dsn, node="node-0", boot="fixture")
    pool = await open_pool(access, connections_min=1, connections_max=1)
    for org_id in (ORG, OTHER):
        org = Org(org_id=org_id, name=org_id, created_ms=T0_MS)
        await PostgresDirectory(pool).create_org(org, {}, node="node-0")
    await pool.close()
