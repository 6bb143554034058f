"""How Postgres executes the ledger's statements: by the right index, however full the tables are.

A plan is made when a connection is opened, and may be used for months.  So the plan that is
made on tables that are new or empty has to be the one for full tables.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from wallet_persistence.claim import BUMP, OWNERS_AND_HOLDS, RELEASE
from wallet_persistence.commit import COMMIT, COMMIT_WITH_HOLDS
from wallet_persistence.history import (
    BY_KEY,
    BY_SEQ,
    PAGE,
    PAGE_OF_CALL,
    PAGE_OF_RARE,
    SEQ_AT,
    UNSETTLED,
)
from wallet_persistence.ledger import DUE, PROBE
from wallet_persistence.postgres import Access, connect
from wallet_persistence.wire import Statement
from wallet_testing.servers import Databases

ROWS = 100_000

FILL = (
    """
    INSERT INTO organizations (id, name, owner, owner_since, epoch, seq)
    SELECT 'org-' || n, 'An org', 'boot-1', now(), 1, 1 FROM generate_series(1, $1::int8) n
    """,
    """
    INSERT INTO credit_transactions (
        org_id, seq, idempotency_key, transaction_type, amount_pence, balance_before_pence,
        balance_after_pence, held_after_pence, call_id, fingerprint, epoch, node, created_at
    )
    SELECT 'org-' || n % 100, n / 100 + 1, 'client:' || n,
        CASE WHEN n % 1000 = 0 THEN 'topup' ELSE 'call_deduction' END, 0, 0, 0, 0, 'call-' || n,
        'f', 1, 'node-1', to_timestamp(1700000000 + n)
    FROM generate_series(1, $1::int8) n
    """,
    """
    INSERT INTO credit_reservations (
        org_id, call_id, seq, created_at, expires_at, rate_pence_per_minute,
        first_increment_seconds, increment_seconds, max_duration_seconds, status, due_at
    )
    SELECT 'org-' || n % 100, 'call-' || n, 1, now(), now(), 56, 60, 60, 600,
        CASE WHEN n % 20 = 0 THEN 'active' ELSE 'committed' END,
        CASE WHEN n % 20 = 0 THEN to_timestamp(1700000000 + n) END
    FROM generate_series(1, $1::int8) n
    """,
    """
    INSERT INTO calls (org_id, call_id, ended_at)
    SELECT 'org-' || n % 100, 'call-' || n, now() FROM generate_series(1, $1::int8) n
    """,
)

Expected = dict[str, tuple[set[str], set[str]]]
"""By table: the indexes of which one must serve, and the columns that its condition names."""

COMPARED_COLUMN = re.compile(r"\((\w+) (?:=|<|>)")

LIVE_HOLDS = {"idx_credit_res_org_status", "idx_credit_res_expires", "idx_credit_res_due"}
"""The indexes that hold nothing else."""

WALLETS: Expected = {"organizations": ({"organizations_pkey"}, {"id"})}

EXPECTED: dict[str, tuple[Statement, Expected]] = {
    "commit": (COMMIT, WALLETS),
    "commit with holds": (COMMIT_WITH_HOLDS, WALLETS),
    "bump": (BUMP, WALLETS),
    "release": (RELEASE, WALLETS),
    "probe": (
        PROBE,
        {
            **WALLETS,
            "credit_transactions": ({"idx_credit_txn_idempotency"}, {"org_id", "idempotency_key"}),
            "credit_reservations": ({"credit_res_call_unique"}, {"org_id", "call_id"}),
        },
    ),
    "owners and holds": (
        OWNERS_AND_HOLDS,
        {
            **WALLETS,
            "credit_reservations": ({"idx_credit_res_org_status"}, {"org_id"}),
            # Either: hardly two orgs have a call of one name.
            "calls": ({"calls_pkey", "idx_calls_call"}, {"call_id"}),
        },
    ),
    "due": (DUE, {"credit_reservations": ({"idx_credit_res_due"}, {"shard", "due_at"})}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(databases: Databases) -> AsyncIterator[str]:
    """Give a database with many rows, of which Postgres knows."""
    async with databases.fresh() as dsn:
        connection = await asyncpg.connect(dsn)
        for statement in FILL:
            await connection.execute(statement, ROWS)
        await connection.execute("ANALYZE")
        await connection.close()
        yield dsn


@pytest_asyncio.fixture
async def analyzed(database: str) -> str:
    """Give a database of which Postgres knows that it is empty."""
    connection = await asyncpg.connect(database)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return database


@pytest.fixture(params=["new", "analyzed", "filled"])
def dsn(request: pytest.FixtureRequest) -> str:
    name = "database" if request.param == "new" else request.param
    found: str = request.getfixturevalue(name)
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Go through the nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def planned(connection: asyncpg.Connection, statement: Statement) -> list[dict[str, Any]]:
    """Return the nodes of the plan that is kept for a prepared statement."""
    prepared = await connection.prepare(statement.sql)
    nulls = ", ".join("NULL" for _ in prepared.get_parameters())
    told = await connection.fetchval(
        f'EXPLAIN (FORMAT JSON, VERBOSE OFF) EXECUTE "{prepared.get_name()}" ({nulls})'
    )
    return list(nodes(json.loads(told)[0]["Plan"]))


@pytest.mark.parametrize("name", EXPECTED)
async def test_the_ledger_reads_by_the_right_index(dsn: str, name: str) -> None:
    """Each table by one index whose condition names the row: no scan, no join but loops."""
    statement, expected = EXPECTED[name]
    connection = await connect(Access(dsn=dsn, node="n", boot="b"), "lane", lock_timeout_s=1)
    found = await planned(connection, statement)
    await connection.close()

    scans = [node for node in found if node["Node Type"] == "Index Scan"]
    assert {node["Relation Name"] for node in scans} == set(expected)
    for node in scans:
        indexes, columns = expected[node["Relation Name"]]
        assert node["Index Name"] in indexes
        assert columns <= set(COMPARED_COLUMN.findall(node["Index Cond"]))
    kinds = {node["Node Type"] for node in found}
    assert not {kind for kind in kinds if kind.startswith(("Seq", "Bitmap", "Hash", "Merge"))}


async def test_locks_are_taken_in_the_order_of_the_arrays(dsn: str) -> None:
    """The wallets drive the loop: the table is looked up for each in turn, and never drives."""
    connection = await connect(Access(dsn=dsn, node="n", boot="b"), "lane", lock_timeout_s=1)
    for statement in (COMMIT, COMMIT_WITH_HOLDS, BUMP, RELEASE):
        found = await planned(connection, statement)
        [loop] = [node for node in found if node["Node Type"] == "Nested Loop"]
        outer, inner = loop["Plans"]

        assert outer["Node Type"] == "Function Scan"
        assert {node["Node Type"] for node in nodes(inner)} <= {"Index Scan", "Memoize"}
    await connection.close()


@pytest.mark.parametrize(
    ("sql", "args", "index"),
    [
        (PAGE, ("org-1", 1, 10**9, 26, None), "credit_transactions_pkey"),
        (PAGE_OF_CALL, ("org-1", 1, 10**9, 26, None, "call-1"), "idx_credit_txn_call"),
        (PAGE_OF_RARE, ("org-1", 1, 10**9, 26, "topup"), "idx_credit_txn_rare"),
        (SEQ_AT, ("org-1", 1_700_000_000_000), "credit_transactions_pkey"),
        (BY_KEY, ("org-1", ["client:1", "client:2"]), "idx_credit_txn_idempotency"),
        (BY_SEQ, ("org-1", 5), "credit_transactions_pkey"),
    ],
)
async def test_history_is_read_by_index(
    filled: str, sql: str, args: tuple[object, ...], index: str
) -> None:
    """A page of a large journal costs what the page costs."""
    connection = await asyncpg.connect(filled)
    prepared = await connection.prepare(sql)
    [explained] = await prepared.explain(*args, analyze=True)
    await connection.close()

    found = [node for node in nodes(explained["Plan"]) if "Relation Name" in node]
    assert {node.get("Index Name") for node in found} == {index}
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in found) <= 30


async def test_unsettled_calls_are_found_from_live_holds(filled: str) -> None:
    """Ended calls are many and ever more, live holds are few."""
    connection = await asyncpg.connect(filled)
    prepared = await connection.prepare(UNSETTLED)
    [explained] = await prepared.explain(1_800_000_000_000, 100)
    await connection.close()

    scans = {node["Relation Name"]: node for node in nodes(explained["Plan"]) if "Alias" in node}
    assert scans["credit_reservations"]["Index Name"] in LIVE_HOLDS
