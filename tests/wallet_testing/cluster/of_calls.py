"""Thousands of live calls on a node that dies just before their deadlines: what becomes of them.

They are admitted as Vapi asks, with short holds.  Most wallets can pay for more: their calls must
be extended.  Some cannot: their calls must be told to end when the paid time is over.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice

from wallet_testing.recorder import ADMISSION, Request

from .stage import Cluster
from .timings import figures

HOLD_MINUTES = 2
HOLD_PENCE = 56 * HOLD_MINUTES
RICH_PENCE = 10**7
POOR_EVERY = 5
"""Every so many wallets there is one that pays for no more than the first holds."""

CALLERS = 48
AHEAD_S = 1.0
"""The node dies so long before the first deadline."""

PATIENCE_S = 240.0
POLL_S = 0.5

LIVE = """
-- The first deadline of live holds.
SELECT count(*), extract(epoch FROM min(due_at) - clock_timestamp())::float8
FROM credit_reservations WHERE status = 'active'
"""

DEADLINES = """
-- Each live hold: whose, when it falls due, when its paid time is over.
SELECT org_id, call_id, extract(epoch FROM due_at)::float8 AS due,
       extract(epoch FROM created_at)::float8 + $1 AS ends
FROM credit_reservations WHERE status = 'active'
"""

FATES = """
-- What happened first to each call: its extension, or that it was told to end.
SELECT DISTINCT ON (org_id, call_id) org_id, call_id, transaction_type AS type, node,
       extract(epoch FROM created_at)::float8 AS at
FROM credit_transactions
WHERE transaction_type IN ('reservation_extension', 'call_kill')
ORDER BY org_id, call_id, seq
"""


async def deadlines(cluster: Cluster, org_ids: Sequence[str], calls: int) -> list[str]:
    """Admit calls whose wallets are all on one node, kill it, and look for each one's fate."""
    victim = cluster.members[0]
    theirs = await cluster.orgs_of(victim.name, org_ids)
    poor = set(theirs[::POOR_EVERY])
    each = -(-calls // len(theirs))
    await asyncio.gather(*(_prepared(cluster, it, is_poor=it in poor, calls=each) for it in theirs))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    admitted = await _admitted(cluster, islice(cycle(theirs), calls))
    took_s = loop.time() - began_s
    [(count, first_in_s)] = await cluster.stage.connection.fetch(LIVE)
    await asyncio.sleep(max(0.0, first_in_s - AHEAD_S))
    rows = await cluster.stage.connection.fetch(DEADLINES, HOLD_MINUTES * 60.0)
    holders = await cluster.orgs_of(victim.name, theirs)
    victim.listed = False
    victim.node.kill()
    early = {(it["org_id"], it["call_id"]) for it in await cluster.stage.connection.fetch(FATES)}
    fates = await _fates(cluster, len(rows))
    lost = [key for row in rows if (key := (row["org_id"], row["call_id"])) not in fates]
    late_s: dict[str, list[float]] = {"reservation_extension": [], "call_kill": []}
    by_node: dict[str, int] = {}
    for row in rows:
        key = row["org_id"], row["call_id"]
        if key in fates and key not in early:
            fate = fates[key]
            since_s = row["due"] if fate["type"] == "reservation_extension" else row["ends"]
            late_s[str(fate["type"])].append(float(str(fate["at"])) - since_s)
            by_node[str(fate["node"])] = by_node.get(str(fate["node"]), 0) + 1
    if lost:
        cluster.troubles.append(f"{len(lost)} calls have no fate, such as {lost[:3]}")
    span_s = max(row["due"] for row in rows) - min(row["due"] for row in rows)
    return [
        f"{admitted:,} calls admitted in {took_s:.0f} s, {count:,} live holds when the node died",
        f"{len(theirs)} wallets, {len(poor)} of them poor; {len(holders)} were still on the node",
        f"the first deadline came {AHEAD_S:g} s after the kill, the last {span_s:.0f} s later",
        f"fates before the kill: {len(early)}; after it, by node: {by_node}; none: {len(lost)}",
        f"s an extension came after it fell due: {figures(late_s['reservation_extension'])}",
        f"s a call was told to end after its paid time: {figures(late_s['call_kill'])}",
    ]


async def _prepared(cluster: Cluster, org_id: str, *, is_poor: bool, calls: int) -> None:
    """Give a wallet short holds, and the money for what it shall do."""
    settings = {"hold_minutes": HOLD_MINUTES, "max_call_seconds": 3600, "debt_limit_pence": 0}
    await cluster.stage.operator("PATCH", f"/admin/orgs/{org_id}", {"settings": settings})
    pence = calls * HOLD_PENCE if is_poor else RICH_PENCE
    fields = {"amount_pence": pence, "type": "topup"}
    request = Request(verb="credit", org_id=org_id, fields=fields, key="for calls")
    assert (await cluster.recorder.ask(request)).acknowledged


async def _admitted(cluster: Cluster, org_ids: Iterable[str]) -> int:
    """Have a call admitted for each; return how many were."""
    admitted = 0

    async def call() -> None:
        nonlocal admitted
        for number, org_id in numbered:  # shared by all who call
            fields = {"call_id": f"live-{number}"}
            request = Request(verb=ADMISSION, org_id=org_id, fields=fields)
            answer = await cluster.recorder.ask(request)
            admitted += answer.acknowledged

    numbered = enumerate(org_ids)
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call())
    return admitted


async def _fates(cluster: Cluster, wanted: int) -> Mapping[tuple[str, str], Mapping[str, object]]:
    """Wait until every call has one, or for so long."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + PATIENCE_S
    while True:
        rows = await cluster.stage.connection.fetch(FATES)
        if len(rows) >= wanted or loop.time() > until_s:
            return {(row["org_id"], row["call_id"]): dict(row) for row in rows}
        await asyncio.sleep(POLL_S)
