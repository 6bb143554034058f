"""A hundred phones that ring at once: how many calls are let in, and how soon."""

import json
from collections.abc import Sequence

from .books import Books
from .messages import WEBHOOK, message
from .races import HOLD_PENCE, Arena, judged
from .verdict import Verdict, faults_of
from .volley import Hit, Shot

CALLS = 100


async def authorizations(arena: Arena, *, affordable: int) -> Verdict:
    """Have `CALLS` calls ask at once on a wallet with money for `affordable` of them."""
    org_id = await arena.operator.org(f"ring-{affordable}", pence=affordable * HOLD_PENCE)
    number_id = await arena.operator.number(org_id)
    shots = [
        Shot(
            name="assistant-request",
            path=WEBHOOK,
            headers=arena.system.from_vapi(),
            body=json.loads(
                message("assistant-request", call_id=f"{org_id}-{number}", number_id=number_id)
            ),
        )
        for number in range(CALLS)
    ]

    def judge(hits: Sequence[Hit], books: Books) -> list[str]:
        return _faults(hits, books, affordable)

    name = f"{CALLS} calls ask at once, money for {affordable}"
    return await judged(arena, name, org_id, shots, judge)


def _faults(hits: Sequence[Hit], books: Books, affordable: int) -> list[str]:
    admitted = [hit for hit in hits if hit.status == 200]
    refused = [hit for hit in hits if hit.status == 402]
    live, held = books.active.rows, affordable * HOLD_PENCE
    told_who_answers = sum("assistantId" in hit.body or "assistant" in hit.body for hit in hits)
    return faults_of(
        (live == affordable, f"{live} holds are live, not {affordable}"),
        (books.held_pence == held, f"{books.held_pence} p are held, not {held}"),
        (len(admitted) == affordable, f"{len(admitted)} calls were let in, not {affordable}"),
        (len(admitted) + len(refused) == len(hits), "some were told neither yes nor 402"),
        (told_who_answers == affordable, f"{told_who_answers} callers were given an assistant"),
    )
