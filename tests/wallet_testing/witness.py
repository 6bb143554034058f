"""Holds answers against the journal: whatever does not agree is found and named.

What was acknowledged must be there, once, as it was told; what was refused, or only looked at,
must have been told of a state that existed, and not an older one than was known.  Nothing is
assumed about requests that were never answered, but a command that was always answered, and
refused in the end, must have left nothing behind.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import asyncpg

from wallet_engine.settings import Settings

from .recorder import ADMISSION, CHECK, REPORT, WEBHOOKS, Recorded

ROWS = """
-- Every decision in every journal.
SELECT org_id, seq, idempotency_key, transaction_type, amount_pence, held_delta_pence,
       balance_before_pence, balance_after_pence, held_after_pence, uncollected_pence, call_id
FROM credit_transactions ORDER BY org_id, seq
"""

CALL_CHARGE = "call_deduction"

MOVES = {"credit": 1, "deduct": -1}
"""In which direction a verb moves its amount."""


READ_MONEY = ("balance_pence", "effective_balance_pence")
REFUSAL_MONEY = ("current_balance_pence", "effective_balance_pence")
WEBHOOK_MONEY = ("currentBalance", "effectiveBalance")
"""Where answers tell of a balance, and of what of it is not held."""


class Wrong(StrEnum):
    """What an answer and a journal can disagree about."""

    LOST = "acknowledged and lost"
    TWICE = "charged twice"
    OTHER = "told otherwise"


class Finding(NamedTuple):
    """One disagreement."""

    wrong: Wrong
    text: str


Row = Mapping[str, Any]
Journal = Mapping[str, Sequence[Row]]
Money = tuple[int, int]
"""A balance, and what of it is not held."""


class _Book:
    """One journal, indexed by what is looked for in it."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.by_key = {row["idempotency_key"]: row for row in rows}
        self.last_seq_of: dict[Money, int] = {(0, 0): 0}
        for seq, row in enumerate(rows, 1):
            balance = row["balance_after_pence"]
            self.last_seq_of[balance, balance - row["held_after_pence"]] = seq


async def findings(answers: Sequence[Recorded], dsn: str) -> list[Finding]:
    """Hold all answers against the journals of a database."""
    connection = await asyncpg.connect(dsn)
    try:
        journal: defaultdict[str, list[Row]] = defaultdict(list)
        for row in await connection.fetch(ROWS):
            journal[row["org_id"]].append(dict(row))
    finally:
        await connection.close()
    return findings_of(answers, journal)


def findings_of(answers: Sequence[Recorded], journal: Journal) -> list[Finding]:
    """Return whatever does not agree between answers and journals."""
    books: defaultdict[str, _Book] = defaultdict(lambda: _Book([]))
    books.update({org_id: _Book(rows) for org_id, rows in journal.items()})
    found: list[Finding] = []
    for recorded in answers:
        found += _findings_of_one(recorded, books[recorded.request.org_id])
    found += _created_twice(answers)
    found += _refused_and_done(answers, books)
    for org_id, book in books.items():
        found += _charged_twice(org_id, book)
    return found


def _findings_of_one(recorded: Recorded, book: _Book) -> Iterable[Finding]:
    request, answer = recorded.request, recorded.answer
    is_webhook = request.verb in WEBHOOKS
    if answer.acknowledged and request.verb == CHECK:
        return _stale(recorded, book, READ_MONEY)
    if answer.acknowledged:
        return _webhook(recorded, book) if is_webhook else _acknowledged(recorded, book)
    if answer.status == 402:
        return _stale(recorded, book, WEBHOOK_MONEY if is_webhook else REFUSAL_MONEY)
    # The hold of a caller who was told no is given back, and then the call is over.
    is_over = request.verb == ADMISSION and answer.body.get("code") == "call_ended"
    if answer.settled and not is_over:
        return [Finding(Wrong.OTHER, f"{request}: {answer}")]
    return []


def _acknowledged(recorded: Recorded, book: _Book) -> list[Finding]:
    request, body = recorded.request, recorded.answer.body
    seq, rows = body["seq"], book.rows
    where = f"{request.org_id} seq {seq}, {request.stored_key}"
    if not 1 <= seq <= len(rows) or request.stored_key not in book.by_key:
        return [Finding(Wrong.LOST, f"{where}: acknowledged, and not in the journal")]
    row = rows[seq - 1]
    claims = [
        ("seq", row["seq"], seq),
        ("key", row["idempotency_key"], request.stored_key),
        ("type", row["transaction_type"], body["type"]),
        ("balance before", row["balance_before_pence"], body["balance_before_pence"]),
        ("balance after", row["balance_after_pence"], body["balance_after_pence"]),
        ("held after", row["held_after_pence"], body["held_pence"]),
    ]
    if request.verb in MOVES:
        moved = MOVES[request.verb] * int(str(request.fields["amount_pence"]))
        claims.append(("amount", row["amount_pence"], moved))
    if request.verb == "commit":
        claims.append(("charge", _charged(row), _cost(request.fields["actual_seconds"])))
    found = [
        Finding(Wrong.OTHER, f"{where}: {name} is {stored}, not {told}")
        for name, stored, told in claims
        if stored != told
    ]
    if not recorded.answer.duplicate and seq <= recorded.seen_seq:
        text = f"{where}: decided after seq {recorded.seen_seq} was known, but before it"
        found.append(Finding(Wrong.OTHER, text))
    return found


def _webhook(recorded: Recorded, book: _Book) -> list[Finding]:
    """A call that was let in has its hold; one whose report was taken is charged what it cost."""
    request, body = recorded.request, recorded.answer.body
    where = f"{request.org_id}, {request.verb} of {request.fields['call_id']}"
    if request.verb == ADMISSION and not ("assistant" in body or "assistantId" in body):
        return [Finding(Wrong.OTHER, f"{where}: let in, and nobody answers")]
    row = book.by_key.get(request.stored_key)
    if row is None:
        return [Finding(Wrong.LOST, f"{where}: answered 200, and not in the journal")]
    if request.verb == REPORT:
        charged, cost = _charged(row), _cost(request.fields["seconds"])
        if charged != cost:
            return [Finding(Wrong.OTHER, f"{where}: charged {charged} p, it cost {cost} p")]
    return []


def _charged(row: Row) -> int:
    """Return what a call was charged, collected or not."""
    return int(row["uncollected_pence"] - row["amount_pence"])


def _cost(seconds: object) -> int:
    """Return what so many seconds cost; all wallets have the tariff that is the default."""
    return Settings().tariff.cost_pence(int(str(seconds)))


def _stale(recorded: Recorded, book: _Book, names: tuple[str, str]) -> list[Finding]:
    """A refusal or a read must tell of a state that was durable, and none older than known."""
    balance, effective = (recorded.answer.body[name] for name in names)
    if book.last_seq_of.get((balance, effective), -1) >= recorded.seen_seq:
        return []
    request = recorded.request
    told = f"{request.org_id}, {request.verb}: told of ({balance}, {effective})"
    return [Finding(Wrong.OTHER, f"{told}, which never was so after seq {recorded.seen_seq}")]


def _created_twice(answers: Sequence[Recorded]) -> Iterable[Finding]:
    created = Counter(
        (it.request.org_id, it.request.stored_key) for it in answers if it.answer.status == 201
    )
    for (org_id, key), count in created.items():
        if count > 1:
            yield Finding(Wrong.TWICE, f"{org_id}, {key}: created {count} times")


def _refused_and_done(answers: Sequence[Recorded], books: Mapping[str, _Book]) -> Iterable[Finding]:
    """What was refused whenever it was answered must not have been done all the same.

    One attempt without an answer excuses it: it may still be under way when its caller is told
    no elsewhere, to a node that sleeps, and be done when that wakes.  The key is free by then.
    """
    by_status: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for it in answers:
        by_status[it.request.org_id, it.request.stored_key].add(it.answer.status)
    for (org_id, key), statuses in by_status.items():
        is_refused = 402 in statuses and not statuses & {0, 200, 201}
        if key and is_refused and key in books[org_id].by_key:
            yield Finding(Wrong.OTHER, f"{org_id}, {key}: refused, and done all the same")


def _charged_twice(org_id: str, book: _Book) -> Iterable[Finding]:
    keys = Counter(row["idempotency_key"] for row in book.rows)
    calls = Counter(
        row.get("call_id") for row in book.rows if row["transaction_type"] == CALL_CHARGE
    )
    for what, counts in (("key", keys), ("call", calls)):
        for name, count in counts.items():
            if name is not None and count > 1:
                yield Finding(Wrong.TWICE, f"{org_id}, {what} {name}: charged {count} times")
