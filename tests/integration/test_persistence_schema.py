"""What the schema itself guarantees, whoever writes."""

import re

import asyncpg
import pytest

from wallet_engine.sharding import shard_of
from wallet_persistence.schema import expected_objects

TRANSACTION_TYPES = {
    *("topup", "auto_recharge", "refund", "bonus", "adjustment", "clawback", "call_deduction"),
    *("reservation", "reservation_extension", "reservation_release", "reservation_expiry"),
    *("call_kill", "suspend", "resume", "settings_change"),
    *("phone_provisioning", "phone_number", "toll_free_number", "did", "license", "sms"),
    *("seat", "storage", "addon"),
}
"""Source: the specification, stored data."""

HOLD = """
INSERT INTO credit_reservations
    (org_id, call_id, status, due_at, seq, created_at, expires_at, rate_pence_per_minute,
     first_increment_seconds, increment_seconds, max_duration_seconds)
VALUES ('o', 'c', {status}, {due_at}, 1, now(), now(), 56, 60, 60, 600)
"""

ENTRY = """
INSERT INTO credit_transactions
    (org_id, seq, idempotency_key, transaction_type, amount_pence, balance_before_pence,
     balance_after_pence, held_after_pence, fingerprint, epoch, node, created_at)
VALUES ('o', {seq}, {key}, {type}, 5, 10, {after}, {held}, 'f', 1, 'n', now())
"""


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def test_transaction_types_are_those_of_the_specification() -> None:
    """The journal takes exactly the types that are specified, each once."""
    check = expected_objects()["constraint credit_transactions.credit_transactions_type_check"]

    types = re.findall(r"'([a-z_]+)'::text", check)

    assert len(types) == len(TRANSACTION_TYPES)
    assert set(types) == TRANSACTION_TYPES


@pytest.mark.parametrize(
    ("sql", "constraint"),
    [
        ("INSERT INTO organizations (id, name) VALUES ('', 'n')", "organizations_id_check"),
        ("INSERT INTO organizations (id, name) VALUES ('a b', 'n')", "organizations_id_check"),
        ("INSERT INTO organizations (id, name) VALUES (E'a\\n', 'n')", "organizations_id_check"),
        ("INSERT INTO organizations (id, name) VALUES ('é', 'n')", "organizations_id_check"),
        (
            "INSERT INTO organizations (id, name) VALUES (repeat('a', 65), 'n')",
            "organizations_id_check",
        ),
        (
            "INSERT INTO organizations (id, name, held_pence) VALUES ('o', 'n', -1)",
            "organizations_held_pence_check",
        ),
        (
            "INSERT INTO organizations (id, name, debt_limit_pence) VALUES ('o', 'n', -1)",
            "organizations_debt_limit_pence_check",
        ),
        (
            ENTRY.format(seq=0, key="'k'", type="'topup'", after=15, held=0),
            "credit_transactions_seq_check",
        ),
        (
            ENTRY.format(seq=1, key="'k'", type="'gift'", after=15, held=0),
            "credit_transactions_type_check",
        ),
        (
            ENTRY.format(seq=1, key="'k'", type="'topup'", after=14, held=0),
            "credit_transactions_balance_check",
        ),
        (
            ENTRY.format(seq=1, key="'k'", type="'topup'", after=15, held=-1),
            "credit_transactions_held_after_check",
        ),
        (
            ENTRY.format(seq=1, key="'k'", type="'topup'", after=15, held=0)
            + ";"
            + ENTRY.format(seq=1, key="'l'", type="'topup'", after=15, held=0),
            "credit_transactions_pkey",
        ),
        (
            ENTRY.format(seq=1, key="'k'", type="'topup'", after=15, held=0)
            + ";"
            + ENTRY.format(seq=2, key="'k'", type="'topup'", after=15, held=0),
            "idx_credit_txn_idempotency",
        ),
        (HOLD.format(status="'lost'", due_at="NULL"), "credit_reservations_status_check"),
        (HOLD.format(status="'active'", due_at="NULL"), "credit_reservations_due_check"),
        (HOLD.format(status="'released'", due_at="now()"), "credit_reservations_due_check"),
        (
            HOLD.format(status="'active'", due_at="now()")
            + ";"
            + HOLD.format(status="'released'", due_at="NULL"),
            "credit_res_call_unique",
        ),
        (
            "INSERT INTO assistants (id, org_id, is_default) VALUES (1, 2, true), (3, 2, true)",
            "idx_assistants_default",
        ),
        ("INSERT INTO schema_facts VALUES (false, 1, 'x')", "schema_facts_one_row_check"),
    ],
)
async def test_backstops(database: str, sql: str, constraint: str) -> None:
    """What the rules never do, the database refuses, by a name that an error can be told by."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await execute(database, sql)

    assert caught.value.constraint_name == constraint


@pytest.mark.parametrize("org_id", ["a", "demo-org", "A.b_c:d-9", "0" * 64])
async def test_shard_is_the_engines(database: str, org_id: str) -> None:
    """A row that is inserted by hand lies in the shard that the engine looks in."""
    connection = await asyncpg.connect(database)
    shard = await connection.fetchval(
        "INSERT INTO organizations (id, name) VALUES ($1, 'n') RETURNING shard", org_id
    )
    await connection.close()

    assert shard == shard_of(org_id)
