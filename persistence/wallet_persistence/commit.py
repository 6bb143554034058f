"""The commit: one statement that fences, journals and keeps the holds of many wallets.

Each wallet is one ordinal in the columns, sorted by org.  The fence is the UPDATE's WHERE: a
wallet whose row is not what its owner believes is not updated, and then nothing of it is
written.  Entries and holds name their wallet by its ordinal and are written if it is among
`durable`: a search in one small array, where a join with the updated rows would compare each
entry with each wallet (at 128 wallets, 4 entries each, that took 21 ms instead of 8).

Columns travel as one text each, numbers as `{1, 2}`, texts joined by U+001F: asyncpg writes arrays
element by element, which takes the client three times as long for numbers and twenty times for
texts.  What may hold that character itself (a description, a reason) travels as an array.

Unique and check constraints are backstops: when one fails, nothing of the statement is written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wallet_engine.errors import NotCommitted
from wallet_engine.ports import WalletBatch
from wallet_engine.wallet import Entry, Hold

from .wire import Statement

FENCE_AND_JOURNAL = r"""
-- $1-$11, an element per wallet, sorted by org: org, epoch, owner, seq and balance before, seq,
-- balance and held after, time of the last entry, suspended (NULL: unchanged), changes of the
-- settings (NULL: none; null in it: inherit again).
-- $12-$28, an element per entry: its wallet's ordinal, and the columns of its row.
WITH wallets AS (
    SELECT * FROM unnest(
        string_to_array($1, E'\x1f'), $2::text::int8[], string_to_array($3, E'\x1f'),
        $4::text::int8[], $5::text::int8[], $6::text::int8[], $7::text::int8[],
        $8::text::int8[], $9::text::int8[], $10::bool[], $11::jsonb[]
    ) WITH ORDINALITY AS w (
        org_id, epoch, owner, seq_before, balance_before, seq, balance,
        held, at_ms, suspended, changes, ordinal
    )
), updated AS (
    UPDATE organizations o SET
        wallet_balance_pence = w.balance,
        held_pence = w.held,
        seq = w.seq,
        last_entry_at = timestamptz 'epoch' + w.at_ms * interval '1 millisecond',
        suspended = coalesce(w.suspended, o.suspended),
        settings = CASE WHEN w.changes IS NULL THEN o.settings
            ELSE jsonb_strip_nulls(o.settings || (w.changes - 'debt_limit_pence')) END,
        debt_limit_pence = CASE WHEN w.changes ? 'debt_limit_pence'
            THEN (w.changes ->> 'debt_limit_pence')::int8 ELSE o.debt_limit_pence END
    FROM wallets w
    WHERE o.id BETWEEN w.org_id AND w.org_id AND o.epoch = w.epoch AND o.owner = w.owner
      AND o.seq = w.seq_before AND o.wallet_balance_pence = w.balance_before
    RETURNING w.ordinal
), durable AS (
    SELECT array_agg(ordinal::int4) AS ordinals FROM updated
), journaled AS (
    INSERT INTO credit_transactions (
        org_id, seq, idempotency_key, transaction_type, amount_pence, held_delta_pence,
        balance_before_pence, balance_after_pence, held_after_pence, uncollected_pence,
        call_id, description, fingerprint, detail, epoch, node, created_at
    )
    SELECT
        e.org_id, e.seq, e.key, e.type, e.amount, e.held_delta,
        e.balance_before, e.balance_before + e.amount, e.held_after, e.uncollected,
        e.call_id, e.description, e.fingerprint, e.detail, e.epoch, e.node,
        timestamptz 'epoch' + e.at_ms * interval '1 millisecond'
    FROM ROWS FROM (
        unnest(
            $12::text::int4[], string_to_array($13, E'\x1f'), $14::text::int8[],
            string_to_array($15, E'\x1f'), string_to_array($16, E'\x1f'), $17::text::int8[],
            $18::text::int8[], $19::text::int8[], $20::text::int8[], $21::text::int8[],
            string_to_array($22, E'\x1f', ''), $23::text[], string_to_array($24, E'\x1f'),
            $26::text::int8[], string_to_array($27, E'\x1f'), $28::text::int8[]
        ),
        jsonb_array_elements($25)
    ) AS e (
        ordinal, org_id, seq, key, type, amount, held_delta, balance_before, held_after,
        uncollected, call_id, description, fingerprint, epoch, node, at_ms, detail
    )
    WHERE e.ordinal = ANY ((SELECT ordinals FROM durable)::int4[])
)
"""

KEEP_HOLDS = r"""
-- $29-$54, an element per touched hold, in its final state: its org, call, status and reason, its
-- wallet's ordinal, the journal row that wrote it last, and the numbers of the hold.
, kept AS (
    INSERT INTO credit_reservations AS r (
        org_id, call_id, vapi_call_id, seq, rate_pence_per_minute, first_increment_seconds,
        increment_seconds, created_at, expires_at, max_duration_seconds, status, due_at,
        reserved_pence, estimated_minutes, managed, extensions, killed, kill_reason,
        committed_pence, released_pence, uncollected_pence, settled_cost_pence, settled_ms,
        proof, adjusted, committed_at
    )
    SELECT
        h.org_id, h.call_id, CASE WHEN h.managed THEN h.call_id END, h.seq,
        h.rate, h.first_increment, h.increment,
        timestamptz 'epoch' + h.opened_ms * interval '1 millisecond',
        timestamptz 'epoch' + h.expires_ms * interval '1 millisecond',
        h.max_duration, h.status,
        CASE WHEN h.status = 'active'
            THEN timestamptz 'epoch' + h.due_ms * interval '1 millisecond' END,
        h.reserved, nullif(h.estimated, 0), h.managed, h.extensions, h.killed,
        nullif(h.kill_reason, ''), h.committed, h.released, h.uncollected,
        CASE WHEN h.proof > 0 THEN h.settled_cost END,
        CASE WHEN h.proof > 0 THEN h.settled_ms END, nullif(h.proof, 0), h.adjusted,
        timestamptz 'epoch' + nullif(h.ended_ms, 0) * interval '1 millisecond'
    FROM unnest(
        string_to_array($29, E'\x1f'), string_to_array($30, E'\x1f'),
        string_to_array($31, E'\x1f'), $32::text[], $33::text::int4[], $34::text::int8[],
        $35::text::int4[], $36::text::int4[], $37::text::int4[], $38::text::int8[],
        $39::text::int8[], $40::text::int4[], $41::text::int8[], $42::text::int8[],
        $43::text::int4[], $44::text::bool[], $45::text::int4[], $46::text::bool[],
        $47::text::int8[], $48::text::int8[], $49::text::int8[], $50::text::int8[],
        $51::text::int8[], $52::text::int2[], $53::text::bool[], $54::text::int8[]
    ) AS h (
        org_id, call_id, status, kill_reason, ordinal, seq,
        rate, first_increment, increment, opened_ms,
        expires_ms, max_duration, due_ms, reserved,
        estimated, managed, extensions, killed,
        committed, released, uncollected, settled_cost,
        settled_ms, proof, adjusted, ended_ms
    )
    WHERE h.ordinal = ANY ((SELECT ordinals FROM durable)::int4[])
    ON CONFLICT (org_id, call_id) DO UPDATE SET
        vapi_call_id = excluded.vapi_call_id,
        seq = excluded.seq,
        expires_at = excluded.expires_at,
        max_duration_seconds = excluded.max_duration_seconds,
        status = excluded.status,
        due_at = excluded.due_at,
        reserved_pence = excluded.reserved_pence,
        managed = excluded.managed,
        extensions = excluded.extensions,
        killed = excluded.killed,
        kill_reason = excluded.kill_reason,
        committed_pence = excluded.committed_pence,
        released_pence = excluded.released_pence,
        uncollected_pence = excluded.uncollected_pence,
        settled_cost_pence = excluded.settled_cost_pence,
        settled_ms = excluded.settled_ms,
        proof = excluded.proof,
        adjusted = excluded.adjusted,
        committed_at = excluded.committed_at
)
"""
# What is left out was fixed when the hold was opened: its tariff, its start, its estimate.

DURABLE = """
-- The ordinals of the wallets that are durable now; NULL: none.
SELECT ordinals FROM durable
"""

COMMIT = Statement(FENCE_AND_JOURNAL + DURABLE)
"""For wallets none of whose entries touches a hold."""

COMMIT_WITH_HOLDS = Statement(FENCE_AND_JOURNAL + KEEP_HOLDS + DURABLE)

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
