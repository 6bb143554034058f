"""A call ends: what it cost, what is freed, and that it must.  Source: SPEC §3."""

from wallet_engine import deadlines
from wallet_engine.commands import CALL_DEDUCTION, Commit, Expire, Kill, Release
from wallet_engine.journal import Refusal, RefusalCode, Replay
from wallet_engine.tariff import whole_seconds
from wallet_engine.wallet import Entry, Hold, HoldStatus, Wallet

from . import refusals, rows
from .rows import Decision, Facts


def commit(wallet: Wallet, command: Commit, facts: Facts, now_ms: int) -> Decision:
    """Charge the hold, then the effective balance down to the debt limit; book the rest."""
    hold = wallet.holds.get(command.call_id) or facts.hold
    if hold is None:
        hold = rows.tombstone(wallet, command.call_id, now_ms)
    cost, happened = _price(command, hold)
    reserved = hold.reserved_pence if hold.active else 0
    from_hold = min(cost, reserved)
    effective = wallet.effective_pence + reserved - from_hold
    floor = -wallet.settings.debt_limit_pence
    from_balance = min(cost - from_hold, max(0, effective - floor))
    charged = from_hold + from_balance
    ended = hold._replace(
        status=HoldStatus.COMMITTED if happened else HoldStatus.RELEASED,
        due_ms=0,
        committed_pence=charged,
        released_pence=hold.released_pence + reserved - from_hold,
        uncollected_pence=cost - charged,
        settled_cost_pence=cost,
        settled_ms=command.actual_ms or 0,
        proof=int(command.proof),
        ended_ms=hold.ended_ms or now_ms,
    )
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type=CALL_DEDUCTION if happened else "reservation_release",
        amount=-charged,
        held_delta=-reserved,
        uncollected=cost - charged,
        hold=ended,
        description=_told(command),
        detail={
            "asked": command.asks(),
            "proof": command.proof.name.lower(),
            "cost_pence": cost,
            "floor_pence": floor,
        },
    )


def adjust(wallet: Wallet, command: Commit, first: Entry, hold: Hold, now_ms: int) -> Decision:
    """Correct a settlement once, when a better proof than the first says otherwise."""
    cost, happened = _price(command, hold)
    if hold.adjusted or command.proof <= hold.proof or cost == hold.settled_cost_pence:
        return Replay(first)
    more = cost - hold.settled_cost_pence
    floor = -wallet.settings.debt_limit_pence
    if more > 0:
        amount = -min(more, max(0, wallet.effective_pence - floor))
        uncollected = more + amount
    else:
        uncollected = -min(-more, hold.uncollected_pence)
        amount = -more + uncollected
    corrected = hold._replace(
        status=HoldStatus.COMMITTED if happened else HoldStatus.RELEASED,
        committed_pence=hold.committed_pence - amount,
        uncollected_pence=hold.uncollected_pence + uncollected,
        settled_cost_pence=cost,
        settled_ms=command.actual_ms or 0,
        proof=int(command.proof),
        adjusted=True,
    )
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        key=f"adjust:{command.call_id}",
        type="adjustment",
        amount=amount,
        uncollected=uncollected,
        hold=corrected,
        description=f"Correction: {_told(command)}",
        detail={
            "asked": command.asks(),
            "proof": command.proof.name.lower(),
            "cost_pence": cost,
            "cost_before_pence": hold.settled_cost_pence,
            "floor_pence": floor,
        },
    )


def release(wallet: Wallet, command: Release, facts: Facts, now_ms: int) -> Decision:
    """Free a live hold; a call never seen leaves a tombstone, so no late hold can open."""
    hold = wallet.holds.get(command.call_id)
    if hold is None and facts.hold is not None:
        return refusals.call_ended(facts.hold)
    if hold is None:
        hold = rows.tombstone(wallet, command.call_id, now_ms)
    return _free(
        wallet,
        command,
        hold,
        HoldStatus.RELEASED,
        now_ms,
        description=f"Hold for call {command.call_id} released: {command.reason}",
    )


def expire(wallet: Wallet, command: Expire, facts: Facts, now_ms: int) -> Decision:
    """Free a hold whose time is over and of whose call nothing was heard."""
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return refusals.no_live_hold(command.call_id, facts)
    expiry_ms = deadlines.expiry_ms(hold, wallet.started_ms(hold))
    if now_ms < expiry_ms:
        return Refusal(
            code=RefusalCode.CALL_ENDED,
            message="This hold has not expired yet.",
            fields={"call_id": hold.call_id, "expires_ms": expiry_ms},
        )
    return _free(
        wallet,
        command,
        hold,
        HoldStatus.EXPIRED,
        now_ms,
        description=f"Hold for call {command.call_id} expired: nothing was heard of its end",
    )


def _free(  # six values make one row
    wallet: Wallet,
    command: Release | Expire,
    hold: Hold,
    status: HoldStatus,
    now_ms: int,
    *,
    description: str,
) -> Entry:
    reserved = hold.reserved_pence if hold.active else 0
    freed = hold._replace(status=status, due_ms=0, released_pence=reserved, ended_ms=now_ms)
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type=f"reservation_{'release' if status is HoldStatus.RELEASED else 'expiry'}",
        held_delta=-reserved,
        hold=freed,
        description=description,
        detail={},
    )


def kill(wallet: Wallet, command: Kill, facts: Facts, now_ms: int) -> Decision:
    """Tell a call to end.  A call never seen is told so too: it may be on its way here."""
    hold = wallet.holds.get(command.call_id)
    if hold is None and facts.hold is not None:
        return refusals.call_ended(facts.hold)
    if hold is None:
        hold = rows.tombstone(wallet, command.call_id, now_ms)
    if hold.killed and command.client_key is None:
        return refusals.call_ended(hold)
    reason = hold.kill_reason or command.reason
    killed = hold._replace(killed=True, kill_reason=reason)
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type="call_kill",
        hold=rows.due(killed, wallet.started_ms(hold), now_ms) if hold.active else killed,
        description=f"Call {command.call_id} must end: {command.reason}",
        detail={"asked": command.asks(), "managed": hold.managed},
    )


def _price(command: Commit, hold: Hold) -> tuple[int, bool]:
    """Return what the call costs, and whether it happened at all."""
    if command.amount_pence is not None:
        return command.amount_pence, command.amount_pence > 0
    assert command.actual_ms is not None
    seconds = whole_seconds(command.actual_ms)
    return hold.tariff.cost_pence(seconds), seconds > 0


def _told(command: Commit) -> str:
    if command.actual_ms is None:
        return f"Call {command.call_id}"
    return f"Call {command.call_id}: {whole_seconds(command.actual_ms)} s"
