"""What `verify` says of a database that is whole, damaged, risky or away."""

from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from wallet_persistence.verify import Check, verify

LAX_SEQ = """
ALTER TABLE credit_transactions DROP CONSTRAINT credit_transactions_seq_check;
ALTER TABLE credit_transactions ADD CONSTRAINT credit_transactions_seq_check CHECK (seq >= 0);
"""

WRONG_SHARDS = """
CREATE OR REPLACE FUNCTION shard_of(org_id text) RETURNS smallint
    LANGUAGE sql IMMUTABLE RETURN 7::smallint
"""


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def failures(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check.ok}


async def test_unreachable_server() -> None:
    """No connection is one failed check, which tells no password."""
    [check] = await verify("postgresql://nobody:secret@127.0.0.1:1/nothing")

    assert (check.name, check.ok) == ("reachable", False)
    assert "secret" not in check.detail


async def test_a_database_that_does_not_answer(database: str) -> None:
    """Is not waited for for ever: it is as good as away."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE schema_facts")
            [check] = await verify(database, patience_s=0.1)
    finally:
        await connection.close()

    assert (check.name, check.ok) == ("reachable", False)


async def test_newer_database_serves(database: str) -> None:
    """What a newer program has migrated has all that this one needs: migrations only add."""
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")

    assert failures(await verify(database)) == {}


async def test_verify_passes_after_migrate(database: str) -> None:
    """A migrated database is all that the engine needs."""
    checks = await verify(database)

    assert failures(checks) == {}
    assert len({check.name for check in checks}) == len(checks)


@pytest.mark.parametrize(
    ("damage", "name", "detail"),
    [
        ("DROP INDEX idx_credit_res_due", "index credit_reservations.idx_credit_res_due", "miss"),
        (
            "DROP INDEX idx_calls_cost; CREATE INDEX idx_calls_cost ON calls (cost_pence)",
            "index calls.idx_calls_cost",
            "btree (cost_pence), should be btree (org_id, cost_pence)",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_calls_call'::regclass",
            "index calls.idx_calls_call",
            "INVALID",
        ),
        ("ALTER TABLE organizations DROP held_pence", "column organizations.held_pence", "missing"),
        ("ALTER TABLE calls ALTER cost_pence TYPE numeric", "column calls.cost_pence", "numeric,"),
        (
            'ALTER TABLE calls ALTER assistant_id TYPE text COLLATE "POSIX"',
            "column calls.assistant_id",
            'COLLATE "POSIX"',
        ),
        (
            "ALTER TABLE credit_transactions ALTER detail DROP NOT NULL",
            "column credit_transactions.detail",
            "jsonb DEFAULT",
        ),
        (
            "ALTER TABLE credit_transactions DROP CONSTRAINT idx_credit_txn_idempotency",
            "constraint credit_transactions.idx_credit_txn_idempotency",
            "missing, should be UNIQUE (org_id, idempotency_key)",
        ),
        (
            LAX_SEQ,
            "constraint credit_transactions.credit_transactions_seq_check",
            "CHECK ((seq >= 0)), should be CHECK ((seq > 0))",
        ),
        ("ALTER TABLE organizations SET UNLOGGED", "table organizations", "UNLOGGED"),
        ("DROP TABLE phone_numbers", "table phone_numbers", "missing"),
        ("DROP TABLE alembic_version", "revision", "never migrated"),
        ("UPDATE alembic_version SET version_num = '0000'", "revision", "0000"),
        ("UPDATE schema_facts SET shard_count = 128", "shard facts", "128"),
        ("DROP TABLE schema_facts", "shard facts", "does not exist"),
        ("ALTER FUNCTION shard_of RENAME TO shard", "shard function", "does not exist"),
        (
            WRONG_SHARDS,
            "shard function",
            "demo-org",
        ),
    ],
)
async def test_verify_names_the_damage(database: str, damage: str, name: str, detail: str) -> None:
    """Whatever is missing or altered is named, with what it is and what it should be."""
    await execute(database, damage)

    assert detail in failures(await verify(database))[name]


async def test_verify_refuses_a_database_that_cannot_be_written(database: str) -> None:
    """A standby looks complete, but nothing could be decided on it."""
    name = urlsplit(database).path[1:]
    await execute(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    assert list(failures(await verify(database))) == ["setting transaction_read_only"]


async def test_verify_refuses_a_role_that_may_not_write(database: str) -> None:
    """A role that can read everything, but not write the journal, cannot run a node."""
    role = f"reader_{uuid4().hex}"
    url = urlsplit(database)
    host = url.netloc.rpartition("@")[2]
    dsn = url._replace(netloc=f"{role}:pw@{host}").geturl()
    await execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    await execute(
        database, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}"
    )
    await execute(database, f"REVOKE UPDATE ON organizations FROM {role}")
    try:
        assert failures(await verify(dsn)) == {
            "privileges": "no SELECT, INSERT and UPDATE on ['organizations']"
        }
    finally:
        await execute(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_verify_warns_of_what_merely_hurts(database: str) -> None:
    """A risky setting, or an index more on the hot table, is a warning: the engine works."""
    name = urlsplit(database).path[1:]
    await execute(database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    await execute(database, "CREATE INDEX too_much ON organizations (seq)")

    checks = {check.name: check for check in await verify(database)}

    assert failures(list(checks.values())) == {}
    assert checks["setting synchronous_commit"].warning
    assert checks["organizations without more"].warning
    assert "too_much" in checks["organizations without more"].detail
