"""How an entry and a hold lie in their rows, and how they are read back.

Times are `timestamptz` in the rows and milliseconds everywhere else.  Both conversions are
exact: microseconds since 1970 stay below 2^53 until the year 2255.
"""

import json
from typing import Any

import asyncpg

from wallet_engine.settings import Overrides
from wallet_engine.tariff import Tariff
from wallet_engine.wallet import Entry, Hold, HoldStatus, hold_of_json

Row = asyncpg.Record | tuple[Any, ...]
"""A row, or the part of one that has the columns of one of the lists below, in their order."""

ENTRY_COLUMNS = """
    j.org_id, j.seq, j.idempotency_key, j.transaction_type, j.balance_before_pence,
    j.held_after_pence, j.fingerprint, j.detail, j.epoch, j.node,
    (extract(epoch FROM j.created_at) * 1000)::int8,
    j.amount_pence, j.held_delta_pence, j.uncollected_pence, j.call_id, j.description
"""
"""What makes an `Entry`, of a row `j` of `credit_transactions`, in the order of its fields."""

ENTRY_WIDTH = 16

HOLD_COLUMNS = """
    r.call_id, r.rate_pence_per_minute, r.first_increment_seconds, r.increment_seconds,
    (extract(epoch FROM r.created_at) * 1000)::int8,
    (extract(epoch FROM r.expires_at) * 1000)::int8,
    r.max_duration_seconds, r.status,
    coalesce((extract(epoch FROM r.due_at) * 1000)::int8, 0),
    r.reserved_pence, coalesce(r.estimated_minutes, 0), r.managed, r.extensions, r.killed,
    coalesce(r.kill_reason, ''), r.committed_pence, r.released_pence, r.uncollected_pence,
    coalesce(r.settled_cost_pence, 0), coalesce(r.settled_ms, 0), coalesce(r.proof, 0),
    r.adjusted, coalesce((extract(epoch FROM r.committed_at) * 1000)::int8, 0)
"""
"""What makes a `Hold`, of a row `r` of `credit_reservations`, in the order of its fields."""

HOLD_WIDTH = 23

_DETAIL = 7
_TARIFF = slice(1, 4)
_STATUS = 7


def entry_of(row: Row) -> Entry:
    """Return the entry that `ENTRY_COLUMNS` read, equal to the one that was decided."""
    detail: dict[str, Any] = json.loads(row[_DETAIL])
    stored = detail.get("hold")
    hold = None if stored is None else hold_of_json(stored)
    return Entry._make((*row[:_DETAIL], detail, *row[_DETAIL + 1 :], hold))


def hold_of(row: Row) -> Hold:
    """Return the hold that `HOLD_COLUMNS` read, equal to the one that was written."""
    status = HoldStatus(row[_STATUS])
    tariff = Tariff(*row[_TARIFF])
    before, after = row[_TARIFF.stop : _STATUS], row[_STATUS + 1 :]
    return Hold._make((row[0], tariff, *before, status, *after))


def overrides_of(settings: str, debt_limit_pence: int | None) -> Overrides:
    """Return what an org overrides, of both columns of its row that say so."""
    overrides: dict[str, object] = json.loads(settings)
    if debt_limit_pence is not None:
        overrides["debt_limit_pence"] = debt_limit_pence
    return overrides
