"""A real Postgres for tests, and a database of its own for each of them, quickly."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.migrate import migrate

POSTGRES_VARIABLE = "WALLET_TEST_POSTGRES"
"""Names a server to use, as a DSN of a role that may create databases."""

MAINTENANCE = "postgres"
"""The database to be connected to while others are made: a template must have no sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """Makes databases on one server, each a copy of a migrated template."""

    dsn: str
    """Of the server: which database it names does not matter."""

    template: str

    @asynccontextmanager
    async def fresh(self, *, migrated: bool = True) -> AsyncIterator[str]:
        """Give the DSN of a new database, and drop it in the end whoever still uses it."""
        name = f"test_{secrets.token_hex(8)}"
        template = self.template if migrated else "template0"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield with_database(self.dsn, name)
        finally:
            await self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def execute(self, statement: str) -> None:
        """Run a statement that belongs to the server and not to a database."""
        connection = await asyncpg.connect(with_database(self.dsn, MAINTENANCE))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def migrated_databases(dsn: str) -> AsyncIterator[Databases]:
    """Migrate a template once, from which a database is copied in a few hundredths of a second."""
    databases = Databases(dsn=dsn, template=f"template_{secrets.token_hex(8)}")
    await databases.execute(f'CREATE DATABASE "{databases.template}" TEMPLATE template0')
    try:
        await migrate(with_database(dsn, databases.template))
        yield databases
    finally:
        await databases.execute(f'DROP DATABASE "{databases.template}" WITH (FORCE)')


@asynccontextmanager
async def postgres_server() -> AsyncIterator[str]:
    """Give the DSN of the server that `WALLET_TEST_POSTGRES` names, else of an embedded one."""
    if named := os.environ.get(POSTGRES_VARIABLE):
        yield named
        return
    async with EmbeddedPostgres(None) as postgres:
        yield postgres.dsn


def with_database(dsn: str, database: str) -> str:
    """Return `dsn` with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))
