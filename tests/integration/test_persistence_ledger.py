"""The ledger when things go wrong on a real server: what is lost, what is late, what is locked."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from wallet_engine.errors import LedgerBusy, NotCommitted, OutcomeUnknown
from wallet_engine.ports import Loaded, Org, Taken, WalletBatch
from wallet_engine.wallet import Entry
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.migrate import migrate
from wallet_persistence.postgres import Access, open_pool
from wallet_testing.builders import ORG, T0_MS, admit, charge, credit, reserve
from wallet_testing.cable import Cable, cable_to
from wallet_testing.owners import Owner, look, stored

OTHER = "org-2"

POLL_S = 0.005

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
    async def locked(self, org_id: str = ORG) -> AsyncIterator[asyncpg.transaction.Transaction]:
        """Hold the row of a wallet, as a statement or a person in between would."""
        connection = await asyncpg.connect(self.dsn)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT 1 FROM organizations WHERE id = $1 FOR UPDATE", org_id)
        try:
            yield transaction
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
        while len(found := await self.pids(role, "wait_event_type = 'Lock'")) < count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(POLL_S)
        return found[0]

    async def gone(self, pid: int) -> None:
        """Wait until a backend has ended."""
        while await self.admin.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(POLL_S)


@pytest_asyncio.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as opened:
        admin = await asyncpg.connect(database)
        opened.push_async_callback(admin.close)
        await create_wallets(database)
        yield Bench(database, admin, opened)


@pytest_asyncio.fixture
async def cable(database: str) -> AsyncIterator[tuple[Cable, str]]:
    async with cable_to(database) as laid:
        yield laid


async def create_wallets(dsn: str) -> None:
    access = Access(dsn=dsn, node="node-0", boot="fixture")
    pool = await open_pool(access, connections_min=1, connections_max=1)
    for org_id in (ORG, OTHER):
        org = Org(org_id=org_id, name=org_id, created_ms=T0_MS)
        await PostgresDirectory(pool).create_org(org, {}, node="node-0")
    await pool.close()


# --- a statement is broken off -------------------------------------------------------------------


async def test_a_killed_backend_leaves_the_outcome_unknown(bench: Bench) -> None:
    """FATAL in the middle of a statement: unknown; then a claim shows that nothing was written."""
    owner = await bench.owner(bench.ledger())
    batch = owner.batch(charge(1, key="a"))
    async with bench.locked():
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        pid = await bench.waiting("lane")
        await bench.admin.execute("SELECT pg_terminate_backend($1)", pid)

        with pytest.raises(OutcomeUnknown):
            await writing

    await owner.claim(ORG)
    assert owner.wallets[ORG].seq == 1
    assert await stored(owner.ledger, batch.entries) == [None]
    await owner.write(charge(1, key="a"))
    assert await bench.pids("lane") != [pid]


async def test_a_cancelled_statement_was_not_committed(bench: Bench) -> None:
    """The server says ERROR: nothing was written, and the connection goes on."""
    owner = await bench.owner(bench.ledger())
    batch = owner.batch(charge(1, key="a"))
    async with bench.locked():
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        pid = await bench.waiting("lane")
        await bench.admin.execute("SELECT pg_cancel_backend($1)", pid)

        with pytest.raises(NotCommitted):
            await writing

    assert await owner.ledger.commit([batch]) == {ORG}
    assert await bench.pids("lane") == [pid]


async def test_a_locked_wallet_is_no_fault_of_its_entries(bench: Bench) -> None:
    """In a group it is refused, so that the others are written; apart it is told to wait."""
    owner = await bench.owner(bench.ledger(lock_timeout_s=0.05))
    batch = owner.batch(charge(1, key="a"))
    beside = owner.batch(charge(1, key="a", org_id=OTHER))
    async with bench.locked():
        with pytest.raises(NotCommitted):
            await owner.ledger.commit([batch, beside])
        with pytest.raises(LedgerBusy):
            await owner.ledger.commit_apart(batch)
        assert await owner.ledger.commit_apart(beside)

    assert await owner.ledger.commit_apart(batch)


async def test_a_silent_server_leaves_the_outcome_unknown(bench: Bench) -> None:
    """No answer in time: unknown.  What was sent is fenced when the server goes on at last."""
    owner = await bench.owner(bench.ledger(statement_timeout_s=0.3))
    [pid] = await bench.pids("lane")
    batch = owner.batch(charge(1, key="a"))
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(OutcomeUnknown):
            await owner.ledger.commit([batch])
        await owner.claim(ORG)
    finally:
        os.kill(pid, signal.SIGCONT)
    await bench.gone(pid)

    assert await stored(owner.ledger, batch.entries) == [None]
    await owner.write(charge(2, key="a"))


async def test_a_cancelled_caller_leaves_a_working_ledger(bench: Bench) -> None:
    """The engine never cancels a write; if somebody does, the next one has its own connection."""
    owner = await bench.owner(bench.ledger())
    batch = owner.batch(charge(1, key="a"))
    async with bench.locked():
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        pid = await bench.waiting("lane")
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await bench.admin.execute("SELECT pg_terminate_backend($1)", pid)

    await owner.claim(ORG)
    await owner.write(charge(1, key="a"))


# --- an answer is lost ---------------------------------------------------------------------------


async def test_a_lost_answer_of_a_committed_statement(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """Written, but nobody heard: unknown, and the claim finds it."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn))
    batch = owner.batch(reserve("c", pence=100))
    path.lose_answers = True
    writing = asyncio.create_task(owner.ledger.commit([batch]))
    await path.lost.wait()
    path.cut()
    with pytest.raises(OutcomeUnknown):
        await writing
    path.lose_answers = False

    await owner.claim(ORG)

    assert (owner.wallets[ORG].seq, owner.wallets[ORG].held_pence) == (2, 100)
    assert await stored(owner.ledger, batch.entries) == list(batch.entries)


async def test_a_claim_waits_for_a_late_commit(bench: Bench, cable: tuple[Cable, str]) -> None:
    """The client gave up, the statement waits for a lock and then commits: the claim sees it."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn))
    batch = owner.batch(admit("c"))
    async with bench.locked() as in_between:
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        await bench.waiting("lane")
        path.cut()
        with pytest.raises(OutcomeUnknown):
            await writing
        claiming = asyncio.create_task(owner.claim(ORG))
        await bench.waiting("claims")
        await in_between.rollback()
        await claiming

    wallet = owner.wallets[ORG]
    assert wallet.seq == 2
    assert wallet.holds == batch.holds()
    assert await stored(owner.ledger, batch.entries) == list(batch.entries)


async def test_a_claim_ends_what_it_waits_for_too_long(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """A statement of ours that hangs is ended after a second: then it was not written."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn))
    batch = owner.batch(charge(1, key="a"))
    async with bench.locked():
        writing = asyncio.create_task(owner.ledger.commit([batch]))
        pid = await bench.waiting("lane")
        path.cut()
        with pytest.raises(OutcomeUnknown):
            await writing

        with pytest.raises(LedgerBusy):  # somebody else holds the row still
            await owner.claim(ORG)
        assert pid not in await bench.pids("lane")

    await owner.claim(ORG)
    assert owner.wallets[ORG].seq == 1
    assert await stored(owner.ledger, batch.entries) == [None]


async def test_a_claim_ends_a_statement_whose_commit_got_lost(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """No time-out ends a backend that did all but the commit and waits for the word to do that."""
    path, dsn = cable
    owner = await bench.owner(bench.ledger(dsn=dsn, statement_timeout_s=0.5))
    batch = owner.batch(charge(1, key="a"))
    path.lose_syncs = True
    with pytest.raises(OutcomeUnknown):
        await owner.ledger.commit([batch])
    path.lose_syncs = False
    assert await bench.pids("lane", HALF_DONE)

    await owner.claim(ORG)

    assert await stored(owner.ledger, batch.entries) == [None]
    assert not await bench.pids("lane", HALF_DONE)


async def test_a_claim_ends_what_a_stopped_node_left_half_sent(
    bench: Bench, cable: tuple[Cable, str]
) -> None:
    """A node stopped between two packets holds the row: its successor does not wait for it."""
    path, dsn = cable
    stopped = await bench.owner(bench.ledger(dsn=dsn))
    batch = stopped.batch(charge(1, key="a"))
    path.lose_syncs = True
    writing = asyncio.create_task(stopped.ledger.commit([batch]))
    await path.lost.wait()
    path.lose_syncs = False
    assert await bench.pids("lane", HALF_DONE)

    successor = Owner(bench.ledger("boot-2"), "boot-2")
    await successor.claim(ORG)
    await successor.write(charge(2, key="a"))

    with pytest.raises(OutcomeUnknown):
        await writing
    assert await stored(successor.ledger, batch.entries) != list(batch.entries)


# --- claims --------------------------------------------------------------------------------------


async def test_one_locked_wallet_does_not_hold_up_others(bench: Bench) -> None:
    """A group with a locked wallet is refused, others are claimed meanwhile and one by one."""
    ledger = bench.ledger()
    async with bench.locked():
        group = asyncio.create_task(ledger.activate([ORG, OTHER], owner="boot-1", tenure_ms=0))
        await bench.waiting("claims")
        alone = await ledger.activate([OTHER], owner="boot-1", tenure_ms=0)
        assert isinstance(alone[OTHER], Loaded)
        assert not group.done()
        with pytest.raises(LedgerBusy):
            await group

    claims = await ledger.activate([ORG, OTHER], owner="boot-1", tenure_ms=0)
    assert [type(claim) for claim in claims.values()] == [Loaded, Loaded]


async def test_who_was_waited_for_keeps_the_tenure(bench: Bench) -> None:
    """Of two that claim at once, the second to get the row finds it taken."""
    first, second = bench.ledger("boot-1"), bench.ledger("boot-2")
    async with bench.locked() as in_between:
        claims = [
            asyncio.create_task(ledger.activate([ORG], owner=boot, tenure_ms=60_000))
            for ledger, boot in ((first, "boot-1"), (second, "boot-2"))
        ]
        await bench.waiting("claims", count=2)
        await in_between.rollback()
        found = [(await claim)[ORG] for claim in claims]

    [loser] = [claim for claim in found if isinstance(claim, Taken)]
    assert loser.owner == ("boot-2" if isinstance(found[1], Loaded) else "boot-1")


async def test_a_claim_brings_when_calls_started(bench: Bench) -> None:
    """The clock of a live call survives its process: it was noted beside the ledger."""
    owner = await bench.owner(bench.ledger())
    await owner.write(admit("a"), admit("b"), admit("c"))
    await bench.admin.execute(
        "INSERT INTO calls (org_id, call_id, heard_started_at) "
        "VALUES ($1, 'a', to_timestamp(1700000000.123)), ($1, 'b', NULL), ('else', 'c', now())",
        ORG,
    )

    [loaded] = await look(owner.ledger, ORG)

    assert loaded.started_ms == {"a": 1_700_000_000_123}
    assert {hold.call_id for hold in loaded.holds} == {"a", "b", "c"}


# --- poison --------------------------------------------------------------------------------------


def too_many_bits(entry: Entry) -> Entry:
    return entry._replace(amount_pence=2**63)


def no_such_type(entry: Entry) -> Entry:
    return entry._replace(type="magic")


def nul(entry: Entry) -> Entry:
    return entry._replace(description="a\0b")


def nul_in_a_key(entry: Entry) -> Entry:
    return entry._replace(key="a\0b")


def lone_surrogate(entry: Entry) -> Entry:
    return entry._replace(description="\ud800")


def lone_surrogate_in_detail(entry: Entry) -> Entry:
    return entry._replace(detail={"a": "\ud800"})


def nul_in_detail(entry: Entry) -> Entry:
    return entry._replace(detail={"a": "\0"})


def not_a_number(entry: Entry) -> Entry:
    return entry._replace(detail={"a": float("nan")})


def no_amount(entry: Entry) -> Entry:
    return entry._replace(amount_pence=None)  # type: ignore[arg-type]  # that is the point


def half_a_penny(entry: Entry) -> Entry:
    return entry._replace(amount_pence=0.5)  # type: ignore[arg-type]  # that is the point


def far_future(entry: Entry) -> Entry:
    return entry._replace(at_ms=2**60)


@pytest.mark.parametrize(
    "poisoned",
    [
        too_many_bits,
        no_such_type,
        nul,
        nul_in_a_key,
        lone_surrogate,
        lone_surrogate_in_detail,
        nul_in_detail,
        not_a_number,
        no_amount,
        half_a_penny,
        far_future,
    ],
)
async def test_poison_is_refused_on_a_connection_that_lives(
    bench: Bench, poisoned: Callable[[Entry], Entry]
) -> None:
    """Whatever Postgres or its driver cannot store is refused whole; nothing else suffers."""
    owner = await bench.owner(bench.ledger())
    pids = await bench.pids("lane")
    batch = owner.batch(charge(1, key="a"))
    batch = batch._replace(entries=[poisoned(batch.entries[0])])
    beside = owner.batch(charge(1, key="a", org_id=OTHER))

    with pytest.raises(NotCommitted):
        await owner.ledger.commit([batch, beside])

    assert await owner.ledger.commit([beside]) == {OTHER}
    assert await bench.pids("lane") == pids
    assert [loaded.seq for loaded in await look(owner.ledger, ORG, OTHER)] == [1, 2]


# --- connections ---------------------------------------------------------------------------------


async def test_connections_are_made_when_needed_and_durable(bench: Bench) -> None:
    """Opened or not, closed or not: the next statement has a connection that waits for the disk."""
    ledger = bench.ledger()
    await ledger.open()
    assert [len(await bench.pids(role)) for role in ("lane", "probes", "claims", "side")] == [
        1, 1, 1, 0,
    ]  # fmt: skip
    connection = ledger._lane._connection
    assert connection is not None
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await ledger.close()
    await ledger.close()

    owner = await bench.owner(ledger)

    assert await owner.ledger.commit_apart(owner.batch(charge(1)))


async def test_a_server_that_takes_no_writes_is_busy(bench: Bench) -> None:
    """A standby, or a database that is read-only, is not worked with."""
    name = await bench.admin.fetchval("SELECT current_database()")
    await bench.admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    with pytest.raises(LedgerBusy):
        await bench.ledger().now_ms()


@pytest_asyncio.fixture
async def own_server() -> AsyncIterator[EmbeddedPostgres]:
    """Give a server that may be killed."""
    async with EmbeddedPostgres(None) as server:
        await migrate(server.dsn)
        await create_wallets(server.dsn)
        yield server


async def test_a_server_that_dies_and_comes_back(own_server: EmbeddedPostgres) -> None:
    """While it is away nothing is written, and it says so; then all goes on by itself."""
    ledger = PostgresLedger(Access(dsn=own_server.dsn, node="node-1", boot="boot-1"))
    owner = Owner(ledger, "boot-1")
    await owner.claim(ORG)
    await owner.write(credit(1000))
    batch: WalletBatch = owner.batch(charge(1, key="a"))

    own_server.kill()
    with pytest.raises((LedgerBusy, OutcomeUnknown)):
        await ledger.commit([batch])  # unknown, if the loss of the connection was not noticed yet
    with pytest.raises(LedgerBusy):
        await ledger.commit([batch])
    with pytest.raises(LedgerBusy):
        await ledger.commit_apart(batch)
    with pytest.raises(LedgerBusy):
        await ledger.now_ms()
    with pytest.raises(LedgerBusy):
        await look(ledger, ORG)

    await own_server.start()
    assert await ledger.commit([batch]) == {ORG}
    assert await stored(ledger, batch.entries) == list(batch.entries)
    await ledger.close()
