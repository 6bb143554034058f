"""Fixtures of the tests that kill things: a stage each, and a Postgres that may be stopped."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.migrate import migrate
from wallet_testing.processes import Stage, staged

IMPATIENT = {
    "WALLET_HTTP__REQUEST_DEADLINE_S": "1",
    "WALLET_POSTGRES__STATEMENT_TIMEOUT_MS": "1000",
    "WALLET_POSTGRES__LOCK_TIMEOUT_MS": "500",
}
"""A node that gives up after a second, so that an outage of a few seconds is a long one."""


@pytest_asyncio.fixture
async def stage(database: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage whose node may be killed."""
    async with staged(database, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def own_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """Give a Postgres of the test's own, migrated, that may be stopped."""
    async with EmbeddedPostgres(None) as postgres:
        await migrate(postgres.dsn)
        yield postgres


@pytest_asyncio.fixture
async def impatient_stage(own_postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage whose Postgres may be stopped, and whose node waits only a second for it."""
    async with staged(own_postgres.dsn, tmp_path, settings=IMPATIENT) as made:
        yield made
