"""Batches of the engine, written down as the columns that the commit statement takes.

Columns travel as one text each, numbers as `{1, 2}`, texts joined by U+001F: asyncpg writes arrays
element by element, which takes the client three times as long for numbers and twenty times for
texts.  What may hold that character itself (a description, a reason) travels as an array.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wallet_engine.errors import NotCommitted
from wallet_engine.ports import WalletBatch
from wallet_engine.wallet import Entry, Hold

from .commit import COMMIT, COMMIT_WITH_HOLDS
from .wire import Statement

SETTINGS_CHANGE = "settings_change"
SUSPENSIONS = frozenset({"suspend", "resume"})
SWITCHES = SUSPENSIONS | {SETTINGS_CHANGE}
"""The types of entries that change more of a wallet's row than its money."""

SEPARATOR = "\x1f"
"""No key, call, type or digest holds it: they are printable."""

_encoded = json.JSONEncoder(separators=(",", ":")).encode


def commit_of(batches: Sequence[WalletBatch]) -> tuple[Statement, list[object]]:
    """Return the statement that writes `batches`, which are sorted by org, and its arguments.

    Raises:
        NotCommitted: something cannot be written down; nothing was sent.
    """
    entries = [entry for batch in batches for entry in batch.entries]
    columns = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
    try:
        args = [*_wallets(batches, frozenset(columns["type"])), *_entries(batches, columns)]
        if not any(columns["hold"]):
            return COMMIT, args
        return COMMIT_WITH_HOLDS, [*args, *_holds(batches)]
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCommitted(f"A value cannot be written down: {type(error).__name__}") from error


def _wallets(batches: Sequence[WalletBatch], types: frozenset[object]) -> list[object]:
    lasts = [batch.last for batch in batches]
    return [
        _texts([batch.org_id for batch in batches]),
        _numbers([batch.epoch for batch in batches]),
        _texts([batch.owner for batch in batches]),
        _numbers([batch.expected_seq for batch in batches]),
        _numbers([batch.balance_before_pence for batch in batches]),
        _numbers([last.seq for last in lasts]),
        _numbers([last.balance_after_pence for last in lasts]),
        _numbers([last.held_after_pence for last in lasts]),
        _numbers([last.at_ms for last in lasts]),
        *_switches(batches, types),
    ]


def _switches(batches: Sequence[WalletBatch], types: frozenset[object]) -> list[object]:
    """Return what becomes of `suspended` and of the settings; mostly nothing, so look once."""
    if types.isdisjoint(SWITCHES):
        return [None, None]
    return [
        [_suspended(batch.entries) for batch in batches],
        [_changes(batch.entries) for batch in batches],
    ]


def _suspended(entries: Sequence[Entry]) -> bool | None:
    switches = [entry.type == "suspend" for entry in entries if entry.type in SUSPENSIONS]
    return switches[-1] if switches else None


def _changes(entries: Sequence[Entry]) -> str | None:
    changes: dict[str, object] = {}
    for entry in entries:
        if entry.type == SETTINGS_CHANGE:
            changed = entry.detail["changes"]
            assert isinstance(changed, Mapping)
            changes |= changed
    return _encoded(changes) if changes else None


def _entries(batches: Sequence[WalletBatch], columns: Mapping[str, Sequence[Any]]) -> list[object]:
    return [
        _numbers([n for n, batch in enumerate(batches, 1) for _ in batch.entries]),
        _texts(columns["org_id"]),
        _numbers(columns["seq"]),
        _texts(columns["key"]),
        _texts(columns["type"]),
        _numbers(columns["amount_pence"]),
        _numbers(columns["held_delta_pence"]),
        _numbers(columns["balance_before_pence"]),
        _numbers(columns["held_after_pence"]),
        _numbers(columns["uncollected_pence"]),
        _texts([call_id or "" for call_id in columns["call_id"]]),
        columns["description"],
        _texts(columns["fingerprint"]),
        _encoded(columns["detail"]),
        _numbers(columns["epoch"]),
        _texts(columns["node"]),
        _numbers(columns["at_ms"]),
    ]


def _holds(batches: Sequence[WalletBatch]) -> list[object]:
    touched = [
        (ordinal, batch.org_id, *last)
        for ordinal, batch in enumerate(batches, 1)
        for last in _last_holds(batch.entries)
    ]
    numbers = [_numbers_of(hold, ordinal, seq) for ordinal, _, seq, hold in touched]
    return [
        _texts([org_id for _, org_id, _, _ in touched]),
        _texts([hold.call_id for *_, hold in touched]),
        _texts([hold.status for *_, hold in touched]),
        [hold.kill_reason for *_, hold in touched],
        *(_numbers(column) for column in zip(*numbers, strict=True)),
    ]


def _last_holds(entries: Sequence[Entry]) -> Iterable[tuple[int, Hold]]:
    """Return each touched hold once, as its last entry left it, with the seq of that entry."""
    return {e.hold.call_id: (e.seq, e.hold) for e in entries if e.hold is not None}.values()


def _numbers_of(hold: Hold, ordinal: int, seq: int) -> tuple[int, ...]:
    return (
        ordinal,
        seq,
        *hold.tariff,
        hold.opened_ms,
        hold.expires_ms,
        hold.max_duration_seconds,
        hold.due_ms,
        hold.reserved_pence,
        hold.estimated_minutes,
        hold.managed,
        hold.extensions,
        hold.killed,
        hold.committed_pence,
        hold.released_pence,
        hold.uncollected_pence,
        hold.settled_cost_pence,
        hold.settled_ms,
        hold.proof,
        hold.adjusted,
        hold.ended_ms,
    )


def _texts(values: Sequence[str]) -> str:
    """Join `values` into what `string_to_array` takes apart again.

    Raises:
        ValueError: one of them holds the separator, and would shift all others by one.
    """
    joined = SEPARATOR.join(values)
    if joined.count(SEPARATOR) != len(values) - 1:
        raise ValueError("a text holds the separator")
    return joined


def _numbers(values: Sequence[int]) -> str:
    """Write `values` as the text of an array."""
    return f"{{{str(list(values))[1:-1]}}}"
