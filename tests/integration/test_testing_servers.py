"""The fixtures themselves: what a test gets is real, its own, and gone afterwards."""

import asyncpg
from redis.asyncio import Redis

from wallet_persistence.embedded import EmbeddedValkey
from wallet_testing.servers import Databases, with_database

TABLES = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
DATABASES = "SELECT count(*) FROM pg_database WHERE datname = $1"


async def fetch(dsn: str, query: str, *values: object) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()


async def test_a_database_is_migrated(database: str) -> None:
    """A test begins with the tables and without rows."""
    assert await fetch(database, "SELECT count(*) FROM organizations") == 0


async def test_an_empty_database_is_empty(empty_database: str) -> None:
    """A test of the migrations begins with nothing."""
    assert await fetch(empty_database, TABLES) == 0


async def test_databases_are_apart_and_are_dropped(databases: Databases) -> None:
    """What one test writes no other sees, and an open connection does not keep it alive."""
    async with databases.fresh() as one, databases.fresh() as other:
        forgotten = await asyncpg.connect(one)
        await forgotten.execute("CREATE TABLE mine ()")
        assert await fetch(other, "SELECT to_regclass('mine')") is None
        name = one.rpartition("/")[2]

    forgotten.terminate()
    assert await fetch(with_database(databases.dsn, "postgres"), DATABASES, name) == 0


async def test_valkey_answers(valkey: EmbeddedValkey) -> None:
    """The shared server speaks Redis."""
    async with Redis.from_url(valkey.url) as client:
        assert await client.ping()


def test_with_database_keeps_the_rest() -> None:
    """Only the name of the database changes, whatever else the DSN says."""
    dsn = "postgresql://wallet:p%40ss@db:5433/wallet?sslmode=require"

    assert with_database(dsn, "x") == "postgresql://wallet:p%40ss@db:5433/x?sslmode=require"
