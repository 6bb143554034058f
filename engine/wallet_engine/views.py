"""What may be read of a wallet: the kill switch's question, and the wallet itself.  Pure.

Source: SPEC §5.2 and §5.5.
"""

from .commands import Check
from .deadlines import ends_ms, may_grow
from .reasons import CAP_REACHED, OUT_OF_MONEY, SUSPENDED
from .tariff import whole_seconds
from .wallet import Hold, Wallet

WARN_SECONDS = 60
"""A caller is warned in the last minute.  Source: SPEC §5.2."""


def check_call(
    wallet: Wallet, query: Check, ended: Hold | None, *, fleet_stopped: bool, now_ms: int
) -> dict[str, object]:
    """Say whether a call may go on, and for how long.  `ended`: its hold if no longer live.

    A call's own hold is never held against it, and what it pays for is never cut.
    """
    hold = wallet.holds.get(query.call_id)
    if hold is None:
        return _check_without_hold(wallet, query, ended, fleet_stopped=fleet_stopped)
    elapsed_ms = query.elapsed_ms
    if elapsed_ms is None:
        elapsed_ms = max(0, now_ms - wallet.started_ms(hold))
    elapsed = whole_seconds(elapsed_ms)
    own = hold.reserved_pence
    affordable = hold.tariff.lasting_seconds(max(wallet.effective_pence + own, own))
    remaining = affordable - elapsed
    if hold.killed:
        reason = hold.kill_reason
    elif wallet.suspended or fleet_stopped:
        reason = SUSPENDED
    elif elapsed >= hold.max_duration_seconds:
        reason = CAP_REACHED
    else:
        reason = "" if remaining > 0 else OUT_OF_MONEY
    return _checked(
        wallet,
        end_reason=reason,
        held_pence=own,
        accrued_pence=hold.tariff.cost_pence(elapsed),
        remaining_seconds=max(0, remaining),
        cap_seconds=hold.max_duration_seconds - elapsed,
    )


def _check_without_hold(
    wallet: Wallet, query: Check, ended: Hold | None, *, fleet_stopped: bool
) -> dict[str, object]:
    tariff = wallet.settings.tariff
    elapsed = whole_seconds(query.elapsed_ms or 0)
    if ended is not None and ended.killed:
        reason = ended.kill_reason
    elif wallet.suspended or fleet_stopped:
        reason = SUSPENDED
    else:
        reason = "" if wallet.effective_pence > 0 else OUT_OF_MONEY
    return _checked(
        wallet,
        end_reason=reason,
        held_pence=0,
        accrued_pence=tariff.cost_pence(elapsed),
        remaining_seconds=max(0, tariff.affordable_seconds(wallet.effective_pence) - elapsed),
        cap_seconds=wallet.settings.max_call_seconds - elapsed,
    )


def _checked(  # the numbers of one answer
    wallet: Wallet,
    *,
    end_reason: str,
    held_pence: int,
    accrued_pence: int,
    remaining_seconds: int,
    cap_seconds: int,
) -> dict[str, object]:
    last = max(0, min(remaining_seconds, cap_seconds))
    return {
        "end_call": bool(end_reason),
        "reason": end_reason,
        "warn_seconds": last if not end_reason and last <= WARN_SECONDS else None,
        "balance_pence": wallet.balance_pence,
        "effective_balance_pence": wallet.effective_pence,
        "held_pence": held_pence,
        "accrued_pence": accrued_pence,
        "remaining_seconds": 0 if end_reason else remaining_seconds,
    }


def look(wallet: Wallet, *, now_ms: int) -> dict[str, object]:
    """Show a wallet: its money, its live calls, how fast they burn it and until when."""
    settings = wallet.settings
    effective = wallet.effective_pence
    burn = sum(hold.tariff.rate_pence_per_minute for hold in wallet.holds.values())
    return {
        "org_id": wallet.org_id,
        "seq": wallet.seq,
        "balance_pence": wallet.balance_pence,
        "effective_balance_pence": effective,
        "held_pence": wallet.held_pence,
        "debt_limit_pence": settings.debt_limit_pence,
        "suspended": wallet.suspended,
        "low_balance_warning": effective < settings.min_call_balance_pence,
        "needs_recharge": effective < settings.low_balance_pence,
        "calls": [_call(wallet, hold) for hold in wallet.holds.values()],
        "burn_rate_pence_per_minute": burn,
        "runs_dry_at_ms": _runs_dry_ms(wallet, now_ms, burn),
    }


def is_final(wallet: Wallet, hold: Hold) -> bool:
    """Whether not even one more increment of this call can be afforded."""
    if not may_grow(hold):
        return True
    funds = hold.reserved_pence + max(0, wallet.effective_pence)
    return hold.tariff.lasting_seconds(funds) <= hold.paid_seconds


def _call(wallet: Wallet, hold: Hold) -> dict[str, object]:
    started = wallet.started_ms(hold)
    return {
        "call_id": hold.call_id,
        "held_pence": hold.reserved_pence,
        "started_at_ms": started,
        "paid_until_ms": ends_ms(hold, started),
        "final": is_final(wallet, hold),
    }


def _runs_dry_ms(wallet: Wallet, now_ms: int, burn: int) -> int | None:
    """When, at the present rate, the money of all live calls together is gone."""
    if burn == 0:
        return None
    accrued = sum(
        hold.tariff.cost_pence(whole_seconds(max(0, now_ms - wallet.started_ms(hold))))
        for hold in wallet.holds.values()
    )
    left = max(0, wallet.balance_pence - accrued)
    return now_ms + left * 60_000 // burn
