"""Vapi's traffic: whole calls, from the ringing to the report, for some seconds.

Afterwards every call whose report was acknowledged must be in the database, charged once.
"""

from typing import Any

from .messages import REPORT_PENCE
from .races import Arena
from .verdict import Verdict, faults_of
from .volley import run_locust

ORGS = 20
PENCE = 10**9
"""Enough for every call: refusals are what the races are about."""

STOP_S = 10
"""How long Locust lets calls go on that are under way at the end."""

SHOWN = 5


async def mix_plan(arena: Arena) -> dict[str, Any]:
    """Make orgs with numbers, and return the plan for Locust's users."""
    names = [f"mix-{number}" for number in range(ORGS)]
    org_ids = await arena.operator.orgs(names, pence=PENCE)
    number_ids = [await arena.operator.number(org_id) for org_id in org_ids]
    return {"number_ids": number_ids, "org_ids": org_ids, "headers": arena.system.from_vapi()}


async def mix(arena: Arena, *, users: int, seconds: int) -> Verdict:
    """Have `users` place one call after the other, and judge what was charged."""
    plan = await mix_plan(arena)
    options = ("-u", str(users), "-r", str(users), "-t", f"{seconds}s", "-s", str(STOP_S))
    outcome = await run_locust("vapi_mix.py", plan, ("--host", arena.system.url, *options))
    reported, failures = outcome["reported"], outcome["failures"]
    settled = await arena.auditor.settled(reported)
    wrong = [it for it in reported if settled.get(it) != ("committed", REPORT_PENCE)]
    books = [await arena.auditor.books(org_id) for org_id in plan["org_ids"]]
    charged = sum(book.wrote("call_deduction").rows for book in books)
    live = sum(book.active.rows for book in books)
    broken = [fault for book in books for fault in book.faults]
    return Verdict(
        name=f"Vapi's traffic, {users} calls at a time, {seconds} s",
        seen=f"{len(reported)} calls reported, {charged} charged {REPORT_PENCE} p each, {live} live"
        f"; {outcome['requests']} requests, {outcome['rate']} a second,"
        f" p50 {outcome['p50_ms']} ms, p99 {outcome['p99_ms']} ms",
        faults=[
            *faults_of(
                (bool(reported), "no call was reported at all"),
                (not wrong, f"{len(wrong)} calls are not charged right: {wrong[:SHOWN]}"),
                (charged >= len(reported), f"only {charged} calls are charged"),
            ),
            *(f"an answer that should not be: {it}" for it in failures[:SHOWN]),
            *broken,
        ],
    )
