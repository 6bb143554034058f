"""A call may start, and may go on: reserve, extend, prolong.  Source: SPEC §3."""

from wallet_engine import deadlines
from wallet_engine.commands import Extend, Prolong, Reserve
from wallet_engine.journal import Refusal, RefusalCode
from wallet_engine.settings import VAPI_SECONDS_MAX, VAPI_SECONDS_MIN, CapPolicy
from wallet_engine.wallet import Entry, Hold, Wallet

from . import refusals, rows
from .rows import Decision, Facts

PROLONG_SECONDS = 60
"""A managed hold grows by this much at least, when the money is there.  Source: SPEC §3."""


def reserve(wallet: Wallet, command: Reserve, facts: Facts, now_ms: int) -> Decision:
    """Hold money for a call that wants to start, and say how long it may last."""
    if facts.hold is not None:
        return refusals.call_ended(facts.hold)
    settings = wallet.settings
    if not settings.prepaid_billing:
        return refusals.feature_disabled("prepaid_billing")
    if (stopped := refusals.stopped(wallet, facts)) is not None:
        return stopped
    cap = settings.max_concurrent_calls
    if cap and len(wallet.holds) >= cap:
        return Refusal(
            code=RefusalCode.CONCURRENCY_LIMIT,
            message=f"This organisation already has {len(wallet.holds)} live calls.",
            fields={"live_calls": len(wallet.holds), "max_concurrent_calls": cap},
        )
    tariff = settings.tariff
    effective = wallet.effective_pence
    required = max(settings.min_call_balance_pence, tariff.cost_pence(1))
    if effective < required:
        return refusals.insufficient(wallet, required)

    minutes = command.estimated_minutes or settings.hold_minutes
    wanted = command.amount_pence or tariff.cost_pence(minutes * 60)
    longest = settings.max_call_seconds
    if settings.cap_policy is CapPolicy.AFFORDABLE:
        longest = min(longest, tariff.lasting_seconds(effective))
    longest = max(longest, VAPI_SECONDS_MIN)
    hold = rows.due(
        Hold(
            call_id=command.call_id,
            tariff=tariff,
            opened_ms=now_ms,
            expires_ms=deadlines.expires_ms(now_ms, settings.hold_expiry_minutes, longest),
            max_duration_seconds=longest,
            reserved_pence=min(wanted, effective),
            estimated_minutes=minutes,
            managed=command.managed,
        ),
        now_ms,
        now_ms,
    )
    detail: dict[str, object] = {"asked": command.asks(), "required_pence": required}
    if command.attempt:
        detail["attempt"] = command.attempt
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type="reservation",
        held_delta=hold.reserved_pence,
        hold=hold,
        description=f"Hold for call {command.call_id}",
        detail=detail,
    )


def extend(wallet: Wallet, command: Extend, facts: Facts, now_ms: int) -> Decision:
    """Enlarge a hold because its owner, another system, asks for it."""
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return refusals.no_live_hold(command.call_id, facts)
    if wallet.suspended:
        return refusals.suspended()
    if hold.killed:
        return refusals.call_ended(hold)
    if hold.managed and not deadlines.may_grow(hold):
        return refusals.call_ended(hold)
    if command.seconds is not None:
        grown = hold.tariff.cost_pence(hold.paid_seconds + command.seconds)
        delta = max(0, grown - hold.reserved_pence)
    else:
        assert command.amount_pence is not None
        delta = command.amount_pence
    if delta > wallet.effective_pence:
        return refusals.insufficient(wallet, delta)
    return _enlarge(wallet, command, _uncapped(wallet, hold, delta), delta, now_ms)


def prolong(wallet: Wallet, command: Prolong, facts: Facts, now_ms: int) -> Decision:
    """Enlarge a hold of the engine's own by another minute, or by what is affordable."""
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return refusals.no_live_hold(command.call_id, facts)
    if wallet.suspended:
        return refusals.suspended()
    if hold.killed or not deadlines.may_grow(hold):
        return refusals.call_ended(hold)
    tariff = hold.tariff
    wanted = min(
        hold.paid_seconds + max(tariff.increment_seconds, PROLONG_SECONDS),
        hold.max_duration_seconds,
    )
    affordable = tariff.lasting_seconds(hold.reserved_pence + max(0, wallet.effective_pence))
    reached = min(wanted, affordable)
    if reached <= hold.paid_seconds:
        one_more = tariff.cost_pence(hold.paid_seconds + 1) - hold.reserved_pence
        return refusals.insufficient(wallet, one_more)
    delta = tariff.cost_pence(reached) - hold.reserved_pence
    return _enlarge(wallet, command, hold, delta, now_ms)


def _enlarge(
    wallet: Wallet,
    command: Extend | Prolong,
    hold: Hold,
    delta: int,
    now_ms: int,
) -> Entry:
    ordinal = hold.extensions + 1
    grown = hold._replace(reserved_pence=hold.reserved_pence + delta, extensions=ordinal)
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        key=command.key or f"extend:{hold.call_id}:{ordinal}",
        type="reservation_extension",
        held_delta=delta,
        hold=rows.due(grown, wallet.started_ms(hold), now_ms),
        description=f"Hold for call {hold.call_id} extended",
        detail={"asked": command.asks()},
    )


def _uncapped(wallet: Wallet, hold: Hold, delta: int) -> Hold:
    """Let a hold of another system's call outlive its first cap, which bound only its opening."""
    if hold.managed:
        return hold
    paid = hold.tariff.lasting_seconds(hold.reserved_pence + delta)
    cap = max(hold.max_duration_seconds, min(paid, VAPI_SECONDS_MAX))
    minutes = wallet.settings.hold_expiry_minutes
    expires = max(hold.expires_ms, deadlines.expires_ms(hold.opened_ms, minutes, cap))
    return hold._replace(max_duration_seconds=cap, expires_ms=expires)
