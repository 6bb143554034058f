"""Fixtures of all tests: real servers, started once and only when a test asks for one."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from wallet_persistence.embedded import EmbeddedValkey
from wallet_testing.servers import Databases, migrated_databases, postgres_server

WHOLE_MACHINE = (
    "tests/simulation/",
    "tests/chaos/test_cluster_faults.py",
    "tests/integration/test_http_cluster_processes.py",
)
"""Tests that start as many processes as there are cores: beside each other they starve."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """With several workers, as in `make test`, the tests of a file stay on one of them."""
    for item in items:
        path = item.nodeid.partition("::")[0]
        group = "whole machine" if path.startswith(WHOLE_MACHINE) else path
        item.add_marker(pytest.mark.xdist_group(group))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases() -> AsyncIterator[Databases]:
    """Make databases on a real Postgres, for tests that need several, or other than migrated."""
    async with postgres_server() as dsn, migrated_databases(dsn) as made:
        yield made


@pytest_asyncio.fixture
async def database(databases: Databases) -> AsyncIterator[str]:
    """Give the DSN of a fresh, migrated database of the test's own."""
    async with databases.fresh() as dsn:
        yield dsn


@pytest_asyncio.fixture
async def empty_database(databases: Databases) -> AsyncIterator[str]:
    """Give the DSN of a database of the test's own in which nothing is."""
    async with databases.fresh(migrated=False) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey() -> AsyncIterator[EmbeddedValkey]:
    """Give a real Valkey that all tests share: use keys of your own, and do not kill it."""
    async with EmbeddedValkey() as server:
        yield server
