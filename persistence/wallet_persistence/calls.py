"""What providers say of calls, stored: one row per call, on which facts gather in any order."""

from collections.abc import Sequence
from dataclasses import astuple, fields, replace

from wallet_engine.ports import CallFacts

from .postgres import Borrowed

UPSERT = """
-- $1-$15 the fields of `CallFacts` in their order, an element per call, sorted by org and call:
-- nodes that note the same calls lock them in the same order.  See `merged` for what wins.
INSERT INTO calls AS c (
    org_id, call_id, type, status, assistant_id, phone_number_id, customer_number, control_url,
    heard_started_at, started_at, ended_at, ended_reason, duration_ms, cost_pence,
    provider_cost_usd
)
SELECT n.org_id, n.call_id, n.type, n.status, n.assistant_id, n.phone_number_id,
    n.customer_number, n.control_url,
    timestamptz 'epoch' + n.heard_started_ms * interval '1 millisecond',
    timestamptz 'epoch' + n.started_ms * interval '1 millisecond',
    timestamptz 'epoch' + n.ended_ms * interval '1 millisecond',
    n.ended_reason, n.duration_ms, n.cost_pence, n.provider_cost_usd::numeric
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::int8[], $10::int8[], $11::int8[], $12::text[], $13::int8[], $14::int8[],
    $15::text[]
) AS n (
    org_id, call_id, type, status, assistant_id, phone_number_id, customer_number, control_url,
    heard_started_ms, started_ms, ended_ms, ended_reason, duration_ms, cost_pence,
    provider_cost_usd
)
ON CONFLICT (org_id, call_id) DO UPDATE SET
    type = coalesce(excluded.type, c.type),
    status = CASE c.status WHEN 'ended' THEN c.status ELSE coalesce(excluded.status, c.status) END,
    assistant_id = coalesce(excluded.assistant_id, c.assistant_id),
    phone_number_id = coalesce(excluded.phone_number_id, c.phone_number_id),
    customer_number = coalesce(excluded.customer_number, c.customer_number),
    control_url = coalesce(excluded.control_url, c.control_url),
    heard_started_at = least(c.heard_started_at, excluded.heard_started_at),
    started_at = coalesce(excluded.started_at, c.started_at),
    ended_at = coalesce(excluded.ended_at, c.ended_at),
    ended_reason = coalesce(excluded.ended_reason, c.ended_reason),
    duration_ms = coalesce(excluded.duration_ms, c.duration_ms),
    cost_pence = coalesce(excluded.cost_pence, c.cost_pence),
    provider_cost_usd = coalesce(excluded.provider_cost_usd, c.provider_cost_usd),
    updated_at = now()
"""

ENDED = "ended"

_NAMES = tuple(field.name for field in fields(CallFacts))


def merged(before: CallFacts, after: CallFacts) -> CallFacts:
    """Return what is known of a call after both.

    The later word wins, with two exceptions, because messages overtake each other: a call that
    ended stays ended, and of the times at which it was heard to be in progress the first counts.
    """
    told = {name: getattr(after, name) for name in _NAMES if getattr(after, name) is not None}
    if before.status == ENDED:
        told["status"] = ENDED
    if before.heard_started_ms is not None and after.heard_started_ms is not None:
        told["heard_started_ms"] = min(before.heard_started_ms, after.heard_started_ms)
    return replace(before, **told)


async def store_facts(connection: Borrowed, facts: Sequence[CallFacts]) -> None:
    """Add `facts`, at most one per call, to what is stored."""
    rows = sorted((astuple(one) for one in facts), key=lambda row: row[:2])
    await connection.execute(UPSERT, *zip(*rows, strict=True))
