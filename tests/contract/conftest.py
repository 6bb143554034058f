"""The ledgers that are held to the one contract, and the stores of leases to theirs."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from wallet_engine.memory_ledger import MemoryLedger
from wallet_engine.ports import Ledger, Org
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.embedded import EmbeddedValkey
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access, Pool, open_pool
from wallet_testing.builders import ORG, T0_MS, credit
from wallet_testing.clock import ManualClock
from wallet_testing.lease_stores import (
    ONE,
    THREE,
    TWO,
    LeaseStore,
    Member,
    MemoryStore,
    RedisStore,
    ServerWith,
    debian_redis,
    member,
)
from wallet_testing.owners import Owner
from wallet_testing.servers import Databases

OTHER = "org-2"


class Ledgers(Protocol):
    """Makes ledgers over one storage, each as a process of its own would have."""

    def ledger(self, boot: str) -> Ledger:
        """Return the ledger of the process `boot`."""

    async def create(self, *org_ids: str, overrides: Mapping[str, object] | None = None) -> None:
        """Store new wallets."""


class MemoryLedgers:
    """One dictionary, which every process sees."""

    def __init__(self) -> None:
        self._shared = MemoryLedger(ManualClock())

    def ledger(self, boot: str) -> Ledger:
        assert boot
        return self._shared

    async def create(self, *org_ids: str, overrides: Mapping[str, object] | None = None) -> None:
        for org_id in org_ids:
            self._shared.create(org_id, overrides)


class PostgresLedgers:
    """One database, to which every process has connections of its own."""

    def __init__(self, dsn: str, pool: Pool, opened: AsyncExitStack) -> None:
        self._dsn = dsn
        self._directory = PostgresDirectory(pool)
        self._opened = opened

    def ledger(self, boot: str) -> Ledger:
        made = PostgresLedger(Access(dsn=self._dsn, node="node-1", boot=boot))
        self._opened.push_async_callback(made.close)
        return made

    async def create(self, *org_ids: str, overrides: Mapping[str, object] | None = None) -> None:
        for org_id in org_ids:
            org = Org(org_id=org_id, name=org_id, created_ms=T0_MS - 1)
            assert await self._directory.create_org(org, overrides or {}, node="node-0")


@pytest.fixture(params=["memory", "postgres"])
def server(request: pytest.FixtureRequest) -> Databases | None:
    """Start a server only for the ledger that needs one."""
    if request.param == "memory":
        return None
    started: Databases = request.getfixturevalue("databases")
    return started


@pytest_asyncio.fixture
async def ledgers(server: Databases | None) -> AsyncIterator[Ledgers]:
    """Give each kind of ledger in turn."""
    if server is None:
        yield MemoryLedgers()
        return
    async with AsyncExitStack() as opened:
        dsn = await opened.enter_async_context(server.fresh())
        access = Access(dsn=dsn, node="node-1", boot="fixture")
        pool = await open_pool(access, connections_min=1, connections_max=2)
        opened.push_async_callback(pool.close)
        yield PostgresLedgers(dsn, pool, opened)


@pytest_asyncio.fixture
async def owner(ledgers: Ledgers) -> Owner:
    """Give an owner of `ORG` and `OTHER`, with 1000 pence each."""
    await ledgers.create(ORG, OTHER)
    made = Owner(ledgers.ledger("boot-1"), "boot-1")
    await made.claim(ORG, OTHER)
    for org_id in (ORG, OTHER):
        await made.write(credit(1000, key="first", org_id=org_id))
    return made


@pytest.fixture
def ledger(owner: Owner) -> Ledger:
    return owner.ledger


# --- leases ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def redis() -> AsyncIterator[EmbeddedValkey]:
    """Give a real Redis that the tests of this module share."""
    if not debian_redis():
        pytest.skip("no redis-server on PATH; Valkey is tested all the same")
    async with ServerWith([debian_redis()]) as server:
        yield server


@pytest.fixture(params=["memory", "valkey", "redis"])
def lease_server(request: pytest.FixtureRequest) -> EmbeddedValkey | None:
    """Start a server only for the store that needs one."""
    if request.param == "memory":
        return None
    started: EmbeddedValkey = request.getfixturevalue(request.param)
    return started


@pytest_asyncio.fixture
async def store(lease_server: EmbeddedValkey | None) -> AsyncIterator[LeaseStore]:
    """Give each kind of store in turn, empty."""
    if lease_server is None:
        yield MemoryStore()
        return
    async with AsyncExitStack() as opened:
        admin = await opened.enter_async_context(Redis.from_url(lease_server.url))
        yield RedisStore(lease_server.url, f"test-{secrets.token_hex(8)}", admin, opened)


@pytest.fixture
def one(store: LeaseStore) -> Member:
    return member(store.leases(), ONE)


@pytest.fixture
def two(store: LeaseStore) -> Member:
    return member(store.leases(), TWO)


@pytest.fixture
def three(store: LeaseStore) -> Member:
    return member(store.leases(), THREE)
