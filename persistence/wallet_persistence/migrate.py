"""Brings a database to the schema that this program needs, and says at which revision it is.

Alembic keeps the order and the revision; the schema itself is SQL text.  Its contexts are used
directly, without `env.py` and `alembic.context`: those are global to a process, and two
upgrades on one event loop would run on each other's connection.
"""

from functools import partial
from pathlib import Path
from typing import cast

import asyncpg
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from wallet_engine.errors import LedgerUnavailable

HEAD = "0001"
"""The revision that this program was written for.  Revisions sort as text."""

MIGRATIONS = Path(__file__).with_name("migrations")

CONNECT_S_MAX = 10
"""How long a server may take to let us in: a start-up must not hang on a dead address."""

LOCK_KEY = 0x77616C6C6574
"""Names the advisory lock that upgrades of one database queue for: "wallet" in ASCII."""

BEGIN = (
    # A server's default is meant for requests, not for waiting here or for building an index.
    "SET LOCAL statement_timeout = 0",
    # Another upgrade may take minutes; a crashed one leaves no lock behind.
    "SET LOCAL lock_timeout = '10min'",
    f"SELECT pg_advisory_xact_lock({LOCK_KEY})",
    # Whoever waits for a table blocks all who come after: give up before callers notice.
    "SET LOCAL lock_timeout = '3s'",
)

CURRENT = "SELECT version_num FROM alembic_version"


async def migrate(dsn: str) -> str:
    """Bring the database to `HEAD`, in one transaction, and return its revision.

    Any number of processes may do so at once: one works, the others find it done.  A database
    that a newer program has migrated is left as it is, for migrations only add.  Whatever
    fails is undone whole, and so is a cancelled call; both may be run again.

    Args:
        dsn: `postgresql://user[:password]@host:port/database`.

    Raises:
        LedgerUnavailable: no connection; nothing was changed.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(connect, dsn),
        poolclass=NullPool,
        # Whoever waited for the lock must see what the one before it committed.
        isolation_level="READ COMMITTED",
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def current(dsn: str) -> str | None:
    """Return the revision of the database, `None` before the first migration.

    Raises:
        LedgerUnavailable: no connection.
    """
    connection = await connect(dsn)
    try:
        return await revision_of(connection)
    finally:
        await connection.close(timeout=CONNECT_S_MAX)


async def revision_of(connection: asyncpg.Connection) -> str | None:
    """Return the revision of the database behind `connection`, `None` if there is none."""
    try:
        found = await connection.fetchval(CURRENT)
    except asyncpg.UndefinedTableError:
        return None
    return None if found is None else str(found)


async def connect(dsn: str) -> asyncpg.Connection:
    """Open a connection for maintenance; who calls closes it.

    Raises:
        LedgerUnavailable: the server cannot be reached, or will not let us in.
    """
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_S_MAX, server_settings={"application_name": "wallet maintenance"}
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise LedgerUnavailable(f"The database cannot be reached: {error}") from error


def _upgrade(connection: Connection) -> str:
    scripts = ScriptDirectory(MIGRATIONS)
    context = MigrationContext.configure(connection, opts={"fn": partial(_steps, scripts)})
    # Before this transaction no statement may run on the connection: Alembic would take the
    # one that SQLAlchemy then begins for the caller's own, and never commit it.
    with context.begin_transaction():
        for statement in BEGIN:
            connection.exec_driver_sql(statement)
        context.run_migrations(run_script=partial(_run_script, connection))
        [revision] = context.get_current_heads()
    return revision


def _steps(
    scripts: ScriptDirectory, heads: tuple[str, ...], _: MigrationContext
) -> list[MigrationStep]:
    """Return what leads from `heads`, where the database is, to `HEAD`, first step first."""
    if any(head > HEAD for head in heads):
        return []
    newest_first = scripts.iterate_revisions(HEAD, heads or "base")
    steps = [MigrationStep.upgrade_from_script(scripts.revision_map, it) for it in newest_first]
    return list(reversed(steps))


def _run_script(connection: Connection, script: Path) -> None:
    """Run a text of many statements inside the transaction that `connection` has begun.

    On the driver's own connection: SQLAlchemy prepares what it runs, and only single
    statements can be prepared.
    """
    driver = cast("AdaptedConnection", connection.connection.dbapi_connection)
    driver.run_async(lambda raw: raw.execute(script.read_text(encoding="utf-8")))
