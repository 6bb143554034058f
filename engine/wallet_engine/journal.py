"""What a decision can be, and how it is told: entries, replays, refusals, answers.

An answer is derived from the entry alone (`answer_of`), so the first answer, its replay after
a crash, and the explanation years later cannot differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from .wallet import Entry


class RefusalCode(StrEnum):
    """Why the rules say no.  Nothing is stored for a refusal."""

    INSUFFICIENT_CREDITS = "insufficient_credits"
    DEBT_LIMIT_EXCEEDED = "debt_limit_exceeded"
    WALLET_SUSPENDED = "wallet_suspended"
    FEATURE_DISABLED = "feature_disabled"
    CONCURRENCY_LIMIT = "concurrency_limit"
    CALL_ENDED = "call_ended"
    UNKNOWN_CALL = "unknown_call"
    KEY_REUSE = "idempotency_key_reuse"
    BALANCE_LIMIT = "balance_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no by the rules: a machine word, a sentence for a person, and the numbers behind it."""

    code: RefusalCode
    message: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Replay:
    """The command was decided before: `entry` is that decision."""

    entry: Entry


class Outcome(StrEnum):
    """What became of an ask."""

    CREATED = "created"
    REPEATED = "repeated"
    REFUSED = "refused"
    ANSWERED = "answered"


class Answer(NamedTuple):
    """What an asker hears.  `code` is set for refusals only, `seq` is the row it rests on."""

    outcome: Outcome
    body: Mapping[str, object]
    code: RefusalCode | None = None


def refusal_answer(refusal: Refusal) -> Answer:
    """Return what the asker of a refused command hears."""
    body = {"error": refusal.message, "code": str(refusal.code), **refusal.fields}
    return Answer(Outcome.REFUSED, body, refusal.code)


def entry_answer(entry: Entry, *, outcome: Outcome) -> Answer:
    """Return what the asker hears of `entry`, now (`CREATED`) or again (`REPEATED`)."""
    body: dict[str, object] = {
        "org_id": entry.org_id,
        "duplicate": outcome is Outcome.REPEATED,
        "seq": entry.seq,
        "type": entry.type,
        "balance_before_pence": entry.balance_before_pence,
        "balance_after_pence": entry.balance_after_pence,
        "effective_balance_pence": entry.balance_after_pence - entry.held_after_pence,
        "held_pence": entry.held_after_pence,
    }
    if entry.hold is not None:
        body |= _call_fields(entry)
    if "debt_limit_pence" in entry.detail:
        body |= _debt_fields(entry)
    return Answer(outcome, body)


def _call_fields(entry: Entry) -> dict[str, object]:
    hold = entry.hold
    assert hold is not None
    found: dict[str, object] = {"call_id": hold.call_id, "reserved_pence": hold.reserved_pence}
    match entry.type:
        case "reservation":
            found["max_duration_seconds"] = hold.max_duration_seconds
            found["paid_seconds"] = min(hold.paid_seconds, hold.max_duration_seconds)
        case "reservation_extension":
            found["extended_pence"] = entry.held_delta_pence
            found["paid_seconds"] = min(hold.paid_seconds, hold.max_duration_seconds)
        case "call_deduction" | "adjustment":
            found["charged_pence"] = -entry.amount_pence
            found["released_pence"] = max(0, -entry.held_delta_pence + min(0, entry.amount_pence))
            found["uncollected_pence"] = entry.uncollected_pence
        case "reservation_release" | "reservation_expiry":
            found["charged_pence"] = 0
            found["released_pence"] = -entry.held_delta_pence
            found["uncollected_pence"] = 0
        case _:
            pass
    return found


def _debt_fields(entry: Entry) -> dict[str, object]:
    debt_limit = entry.detail["debt_limit_pence"]
    low_balance = entry.detail["low_balance_pence"]
    assert isinstance(debt_limit, int)
    assert isinstance(low_balance, int)
    effective = entry.balance_after_pence - entry.held_after_pence
    return {
        "charged_pence": -entry.amount_pence,
        "needs_recharge": effective < low_balance,
        "in_debt": effective < 0,
        "remaining_debt_capacity_pence": max(0, effective + debt_limit),
    }
