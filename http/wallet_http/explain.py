"""Why a decision came out as it did: each journaled row with its inputs, in words and numbers.

Pure.  A row carries everything that was decided on, so an explanation cannot drift from it.
"""

from collections.abc import Mapping
from typing import Any

from wallet_engine.commands import CLIENT_SPACE
from wallet_engine.ports import Delivery
from wallet_engine.wallet import Entry, Hold

from .answers import iso_ms


def transaction(entry: Entry) -> dict[str, object]:
    """Return a row of the journal as customers see it."""
    return {
        "seq": entry.seq,
        "type": entry.type,
        "amount_pence": entry.amount_pence,
        "held_delta_pence": entry.held_delta_pence,
        "balance_before_pence": entry.balance_before_pence,
        "balance_after_pence": entry.balance_after_pence,
        "held_after_pence": entry.held_after_pence,
        "effective_balance_pence": entry.balance_after_pence - entry.held_after_pence,
        "uncollected_pence": entry.uncollected_pence,
        "call_id": entry.call_id,
        "description": entry.description,
        "key": entry.key.removeprefix(CLIENT_SPACE),
        "created_at": iso_ms(entry.at_ms),
    }


def explained(entry: Entry) -> dict[str, object]:
    """Return a row of the journal with what it was decided on."""
    held_before = entry.held_after_pence - entry.held_delta_pence
    detail = entry.detail
    hold = entry.hold
    return {
        **transaction(entry),
        "explanation": sentence_of(entry),
        "inputs": {
            "balance_pence": entry.balance_before_pence,
            "held_pence": held_before,
            "effective_balance_pence": entry.balance_before_pence - held_before,
            "floor_pence": _floor_of(detail),
            "required_pence": detail.get("required_pence"),
            "tariff": None if hold is None else _tariff_of(hold),
            "asked": detail.get("asked"),
            "proof": detail.get("proof"),
            "cost_pence": detail.get("cost_pence"),
        },
        "hold": None if hold is None else _hold_of(hold),
        "epoch": entry.epoch,
        "node": entry.node,
    }


def refused_delivery(delivery: Delivery) -> dict[str, object]:
    """Return a webhook that was answered with a no, as noted in the delivery log."""
    return {
        "type": delivery.type,
        "status": delivery.status,
        "received_at": iso_ms(delivery.received_ms),
        "http_status": delivery.http_status,
        "outcome": delivery.outcome,
        "explanation": delivery.error or "",
        "inputs": dict(delivery.detail),
    }


def is_refusal(delivery: Delivery) -> bool:
    """Whether a webhook was answered with a no; a spoken one has status 200."""
    return delivery.outcome.startswith("refused")


def sentence_of(entry: Entry) -> str:
    """Tell a row in a sentence, with the numbers that led to it."""
    effective = entry.balance_before_pence - entry.held_after_pence + entry.held_delta_pence
    hold = entry.hold
    if hold is not None:
        return _about_call(entry, hold, effective)
    if entry.amount_pence < 0:
        return (
            f"{pence(-entry.amount_pence)} were charged for {entry.type} with "
            f"{pence(effective)} to spend: {entry.description}."
        )
    if entry.amount_pence > 0:
        return f"{pence(entry.amount_pence)} came in as {entry.type}: {entry.description}."
    return f"{entry.description}. No money moved."


def _about_call(entry: Entry, hold: Hold, effective: int) -> str:
    match entry.type:
        case "reservation":
            text = (
                f"Call {hold.call_id} was admitted with {pence(effective)} to spend, where "
                f"{pence(entry.detail.get('required_pence'))} were required: "
                f"{pence(entry.held_delta_pence)} were set aside, and the call may last "
                f"{hold.max_duration_seconds} s."
            )
        case "reservation_extension":
            text = (
                f"The hold of call {hold.call_id} grew by {pence(entry.held_delta_pence)} to "
                f"{pence(hold.reserved_pence)}, which pays for {hold.paid_seconds} s."
            )
        case "call_deduction":
            text = _settled(entry, hold)
        case "adjustment":
            text = (
                f"Better proof ({entry.detail.get('proof')}) says that call {hold.call_id} costs "
                f"{pence(hold.settled_cost_pence)} and not "
                f"{pence(entry.detail.get('cost_before_pence'))}: the balance changed by "
                f"{pence(entry.amount_pence)}."
            )
        case "call_kill":
            text = f"{entry.description}. No money moved."
        case _:
            text = f"{entry.description}; {pence(-entry.held_delta_pence)} were freed."
    return text


def pence(amount: object) -> str:
    """Return an amount as it is spoken of."""
    return f"{amount} p"


def _settled(entry: Entry, hold: Hold) -> str:
    length = f" of {-(-hold.settled_ms // 1000)} s" if hold.settled_ms else ""
    text = (
        f"Call {hold.call_id}{length} costs {pence(hold.settled_cost_pence)} at "
        f"{hold.tariff.rate_pence_per_minute} p a minute: {pence(-entry.amount_pence)} were "
        f"charged, {pence(-entry.held_delta_pence)} were no longer held"
    )
    if entry.uncollected_pence > 0:
        text += f", {pence(entry.uncollected_pence)} lay beyond the debt limit"
    return f"{text}."


def _floor_of(detail: Mapping[str, Any]) -> int | None:
    """Return how far the effective balance was allowed to fall, if the row was about that."""
    if "floor_pence" in detail:
        return int(detail["floor_pence"])
    if detail.get("class") == "asset":
        return 0
    limit = detail.get("debt_limit_pence")
    return None if limit is None else -int(limit)


def _tariff_of(hold: Hold) -> dict[str, int]:
    return dict(hold.tariff._asdict())


def _hold_of(hold: Hold) -> dict[str, object]:
    return {
        "call_id": hold.call_id,
        "status": str(hold.status),
        "reserved_pence": hold.reserved_pence,
        "committed_pence": hold.committed_pence,
        "released_pence": hold.released_pence,
        "uncollected_pence": hold.uncollected_pence,
        "max_duration_seconds": hold.max_duration_seconds,
        "paid_seconds": hold.paid_seconds,
        "extensions": hold.extensions,
        "managed": hold.managed,
        "kill_reason": hold.kill_reason or None,
        "opened_at": iso_ms(hold.opened_ms),
        "expires_at": iso_ms(hold.expires_ms),
    }
