"""What a ledger has stored, spelled out: the one in memory and the one in Postgres the same way.

Everything is text under a label (`org-1 seq 4`), so that 1 and True, which are equal, differ.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from operator import attrgetter
from typing import Any

import asyncpg

from wallet_engine.memory_ledger import MemoryLedger, Row
from wallet_engine.ports import Loaded, Taken
from wallet_persistence.rows import (
    ENTRY_COLUMNS,
    ENTRY_WIDTH,
    HOLD_COLUMNS,
    HOLD_WIDTH,
    entry_of,
    hold_of,
)

Stored = Mapping[str, str]

WALLETS = """
SELECT id, seq, epoch, coalesce(owner, ''), wallet_balance_pence, held_pence, suspended,
    coalesce((extract(epoch FROM last_entry_at) * 1000)::int8, 0), settings, debt_limit_pence
FROM organizations
"""

JOURNAL = f"SELECT {ENTRY_COLUMNS}, j.balance_after_pence FROM credit_transactions j"  # noqa: S608  # a list of columns

HOLDS = f"SELECT {HOLD_COLUMNS}, r.org_id, r.seq, r.vapi_call_id FROM credit_reservations r"  # noqa: S608  # a list of columns

HOUR_MS = 3_600_000

CLEAR = """
DELETE FROM organizations;
DELETE FROM credit_transactions;
DELETE FROM credit_reservations;
DELETE FROM calls;
"""


def spelled(value: object) -> str:
    """Write down whatever a ledger stores or says, so that only what is the same looks the same."""
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> object:  # noqa: ANN401  # whatever JSON does not know
    match value:
        case Loaded():
            # No ledger promises an order.
            holds = sorted(value.holds, key=attrgetter("call_id"))
            return asdict(replace(value, holds=holds))
        case Taken():
            return ["taken", value.owner, value.epoch, value.held_ms // HOUR_MS]
        case frozenset():
            return sorted(value)
        case type():
            return value.__name__
        case _:
            raise TypeError(f"{type(value).__name__} is nothing that a ledger says")


def stored_in_memory(ledger: MemoryLedger) -> Stored:
    """Return all that `ledger` has stored."""
    found: dict[str, str] = {}
    for org_id, row in ledger.rows.items():
        assert row.keys == {entry.key: entry for entry in row.journal}
        _spell_row(found, org_id, row)
    return found


def _spell_row(found: dict[str, str], org_id: str, row: Row) -> None:
    found[org_id] = spelled(
        (
            row.seq,
            row.epoch,
            row.owner,
            row.balance_pence,
            row.held_pence,
            row.suspended,
            row.journal[-1].at_ms if row.journal else 0,
            row.overrides,
        )
    )
    written_by = {}
    for entry in row.journal:
        found[f"{org_id} seq {entry.seq}"] = spelled((entry, entry.balance_after_pence))
        if entry.hold is not None:
            written_by[entry.hold.call_id] = entry.seq
    for call_id, hold in row.holds.items():
        vapi_call_id = call_id if hold.managed else None
        found[f"{org_id} call {call_id}"] = spelled((hold, written_by[call_id], vapi_call_id))


async def stored_in_postgres(connection: asyncpg.Connection) -> Stored:
    """Return all that the database of `connection` has stored."""
    found: dict[str, str] = {}
    for org_id, *columns, settings, debt_limit_pence in await connection.fetch(WALLETS):
        overrides = json.loads(settings)
        if debt_limit_pence is not None:
            overrides["debt_limit_pence"] = debt_limit_pence
        found[org_id] = spelled((*columns, overrides))
    for row in await connection.fetch(JOURNAL):
        entry = entry_of(row[:ENTRY_WIDTH])
        found[f"{entry.org_id} seq {entry.seq}"] = spelled((entry, row[ENTRY_WIDTH]))
    for row in await connection.fetch(HOLDS):
        hold = hold_of(row[:HOLD_WIDTH])
        org_id, seq, vapi_call_id = row[HOLD_WIDTH:]
        found[f"{org_id} call {hold.call_id}"] = spelled((hold, seq, vapi_call_id))
    return found


def differences(memory: Stored, postgres: Stored) -> list[str]:
    """Say what is not the same in both."""
    return [
        f"{label}:\n  memory   {memory.get(label)}\n  postgres {postgres.get(label)}"
        for label in sorted(memory.keys() | postgres.keys())
        if memory.get(label) != postgres.get(label)
    ]
