"""The commit: one statement that fences, journals and keeps the holds of many wallets.

Each wallet is one ordinal in the arrays, sorted by org.  The fence is the UPDATE's WHERE: a
wallet whose row is not what its owner believes is not updated, and then nothing of it is
written.  Entries and holds name their wallet by its ordinal and are written if it is among
`durable`: a search in one small array, where a join with the updated rows would compare each
entry with each wallet (at 128 wallets, 4 entries each, that took 21 ms instead of 8).

Unique and check constraints are backstops: when one fails, nothing of the statement is written.
"""

import json
from collections.abc import Mapping, Sequence

from wallet_engine.errors import NotCommitted
from wallet_engine.ports import WalletBatch
from wallet_engine.wallet import Entry

from .wire import Statement

FENCE_AND_JOURNAL = """
-- $1-$12, one element per wallet, sorted by org: org, epoch, owner, seq and balance before,
-- seq, balance and held after, time of the last entry, suspended (NULL: unchanged), changes of
-- the settings (NULL: none; null in it: inherit again), node.
-- $13-$26, one element per entry: its wallet's ordinal, and the columns of its row.
WITH wallets AS (
    SELECT * FROM unnest(
        $1::text[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
        $8::int8[], $9::int8[], $10::bool[], $11::jsonb[]
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
    WHERE o.id = w.org_id AND o.epoch = w.epoch AND o.owner = w.owner
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
        ($1::text[])[e.ordinal], e.seq, e.key, e.type, e.amount, e.held_delta,
        e.balance_before, e.balance_before + e.amount, e.held_after, e.uncollected,
        e.call_id, e.description, e.fingerprint, e.detail,
        ($2::int8[])[e.ordinal], ($12::text[])[e.ordinal],
        timestamptz 'epoch' + e.at_ms * interval '1 millisecond'
    FROM unnest(
        $13::int4[], $14::int8[], $15::text[], $16::text[], $17::int8[], $18::int8[],
        $19::int8[], $20::int8[], $21::int8[], $22::text[], $23::text[], $24::text[],
        $25::jsonb[], $26::int8[]
    ) AS e (
        ordinal, seq, key, type, amount, held_delta, balance_before, held_after, uncollected,
        call_id, description, fingerprint, detail, at_ms
    )
    WHERE e.ordinal = ANY ((SELECT ordinals FROM durable)::int4[])
)
"""

KEEP_HOLDS = """
-- $27-$51, one element per touched hold, in its final state: its wallet's ordinal, the journal
-- row that wrote it last, and the fields of the hold.
, kept AS (
    INSERT INTO credit_reservations AS r (
        org_id, call_id, vapi_call_id, seq, rate_pence_per_minute, first_increment_seconds,
        increment_seconds, created_at, expires_at, max_duration_seconds, status, due_at,
        reserved_pence, estimated_minutes, managed, extensions, killed, kill_reason,
        committed_pence, released_pence, uncollected_pence, settled_cost_pence, settled_ms,
        proof, adjusted, committed_at
    )
    SELECT
        ($1::text[])[h.ordinal], h.call_id, CASE WHEN h.managed THEN h.call_id END, h.seq,
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
        $27::int4[], $28::int8[], $29::text[], $30::int4[], $31::int4[], $32::int4[],
        $33::int8[], $34::int8[], $35::int4[], $36::text[], $37::int8[], $38::int8[],
        $39::int4[], $40::bool[], $41::int4[], $42::bool[], $43::text[], $44::int8[],
        $45::int8[], $46::int8[], $47::int8[], $48::int8[], $49::int2[], $50::bool[],
        $51::int8[]
    ) AS h (
        ordinal, seq, call_id, rate, first_increment, increment, opened_ms, expires_ms,
        max_duration, status, due_ms, reserved, estimated, managed, extensions, killed,
        kill_reason, committed, released, uncollected, settled_cost, settled_ms, proof,
        adjusted, ended_ms
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

_encoded = json.JSONEncoder(separators=(",", ":")).encode


def commit_of(batches: Sequence[WalletBatch]) -> tuple[Statement, list[Sequence[object]]]:
    """Return the statement that writes `batches`, which are sorted by org, and its arguments.

    Raises:
        NotCommitted: something cannot be written down; nothing was sent.
    """
    entries = [entry for batch in batches for entry in batch.entries]
    columns = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
    try:
        args = [*_wallets(batches, frozenset(columns["type"])), *_entries(batches, columns)]
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCommitted(f"A detail is not JSON: {type(error).__name__}") from error
    if not any(columns["hold"]):
        return COMMIT, args
    return COMMIT_WITH_HOLDS, [*args, *_holds(batches)]


def _wallets(batches: Sequence[WalletBatch], types: frozenset[object]) -> list[Sequence[object]]:
    lasts = [batch.last for batch in batches]
    return [
        [batch.org_id for batch in batches],
        [batch.epoch for batch in batches],
        [batch.owner for batch in batches],
        [batch.expected_seq for batch in batches],
        [batch.balance_before_pence for batch in batches],
        [last.seq for last in lasts],
        [last.balance_after_pence for last in lasts],
        [last.held_after_pence for last in lasts],
        [last.at_ms for last in lasts],
        *_switches(batches, types),
        [last.node for last in lasts],
    ]


def _switches(batches: Sequence[WalletBatch], types: frozenset[object]) -> list[Sequence[object]]:
    """Return what becomes of `suspended` and of the settings; mostly nothing, so look once."""
    if types.isdisjoint(SWITCHES):
        nothing = [None] * len(batches)
        return [nothing, nothing]
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


def _entries(
    batches: Sequence[WalletBatch], columns: Mapping[str, Sequence[object]]
) -> list[Sequence[object]]:
    return [
        [ordinal for ordinal, batch in enumerate(batches, 1) for _ in batch.entries],
        columns["seq"],
        columns["key"],
        columns["type"],
        columns["amount_pence"],
        columns["held_delta_pence"],
        columns["balance_before_pence"],
        columns["held_after_pence"],
        columns["uncollected_pence"],
        columns["call_id"],
        columns["description"],
        columns["fingerprint"],
        [_encoded(detail) for detail in columns["detail"]],
        columns["at_ms"],
    ]


def _holds(batches: Sequence[WalletBatch]) -> list[Sequence[object]]:
    rows: list[tuple[object, ...]] = []
    for ordinal, batch in enumerate(batches, 1):
        holds = {e.hold.call_id: (e.seq, e.hold) for e in batch.entries if e.hold is not None}
        for seq, hold in holds.values():
            call_id, tariff, *fields = hold
            rows.append((ordinal, seq, call_id, *tariff, *fields))
    return list(zip(*rows, strict=True))
