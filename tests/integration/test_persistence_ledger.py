"""The ledger when things go wrong on a real server: what is lost, what is late, what is locked."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from wallet_engine.errors import LedgerBusy, NotCommitted, OutcomeUnknown
from wallet_engine.ports import WalletBatch
from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.migrate import migrate
from wallet_persistence.postgres import Access
from wallet_testing.bench import OTHER, Bench, bench_on, create_wallets
from wallet_testing.builders import ORG, admit, charge, credit, reserve
from wallet_testing.cable import Cable, cable_to
from wallet_testing.owners import Owner, look, stored, stored_hold


@pytest_asyncio.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with bench_on(database) as made:
        yield made


@pytest_asyncio.fixture
async def cable(database: str) -> AsyncIterator[tuple[Cable, str]]:
    async with cable_to(database) as laid:
        yield laid


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


async def test_a_commit_apart_does_not_wait_for_a_row_as_a_group_does(bench: Bench) -> None:
    """The group before it did, and others stand behind it."""
    ledger = bench.ledger(lock_timeout_s=30)
    owner = await bench.owner(ledger)

    assert await ledger.commit_apart(owner.batch(charge(1)))

    side = ledger._side._connection
    assert side is not None
    assert await side.fetchval("SHOW lock_timeout") == "200ms"


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


async def test_a_statement_is_fenced_by_what_it_waited_for(bench: Bench) -> None:
    """It began before the other committed, but decides on the row as that one left it."""
    owner = await bench.owner(bench.ledger())
    batch = owner.batch(reserve("c", pence=100))
    beside = owner.batch(reserve("c", pence=100, org_id=OTHER))
    async with bench.locked() as in_between:
        writing = asyncio.create_task(owner.ledger.commit([batch, beside]))
        await bench.waiting("lane")
        bump = "UPDATE organizations SET epoch = epoch + 1 WHERE id = $1"
        await in_between.execute(bump, ORG)
        await in_between.execute("COMMIT")

        assert await writing == {OTHER}

    assert await stored(owner.ledger, batch.entries) == [None]
    assert await stored_hold(owner.ledger, ORG, "c") is None
    assert await stored_hold(owner.ledger, OTHER, "c") == beside.holds()["c"]


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
        await in_between.execute("ROLLBACK")
        await claiming

    wallet = owner.wallets[ORG]
    assert wallet.seq == 2
    assert wallet.holds == batch.holds()
    assert await stored(owner.ledger, batch.entries) == list(batch.entries)


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
