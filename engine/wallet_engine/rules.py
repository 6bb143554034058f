"""All rules about money, in one place: what a command does to a wallet, or why not.

`decide` is pure: no clock, no I/O, no randomness; time and whatever else comes from outside
enter as values.  The checks of each command stand flat, in the order of SPEC §3, and after
the last one nothing can fail.  Source: SPEC §3 and §4.
"""

from typing import NamedTuple, assert_never

from . import deadlines
from .commands import (
    CALL_DEDUCTION,
    AssetType,
    ChangeSettings,
    Command,
    Commit,
    Credit,
    Deduct,
    Expire,
    Extend,
    Kill,
    Prolong,
    Release,
    Reserve,
    Resume,
    SpendClass,
    Suspend,
)
from .journal import Refusal, RefusalCode, Replay
from .settings import (
    VAPI_SECONDS_MAX,
    VAPI_SECONDS_MIN,
    CapPolicy,
    check_names,
    merged,
    settings_of,
)
from .tariff import whole_seconds
from .wallet import Entry, Hold, HoldStatus, Wallet

BALANCE_MAX = 9 * 10**18
"""How far a balance may be from zero: what a 64-bit column holds, with room to spare."""

PROLONG_SECONDS = 60
"""A managed hold grows by this much at least, when the money is there.  Source: SPEC §3."""

TELEPHONY = frozenset(
    {AssetType.PHONE_PROVISIONING, AssetType.PHONE_NUMBER, AssetType.TOLL_FREE_NUMBER}
)


class Facts(NamedTuple):
    """What the journal and the operators say about a command, beyond the wallet itself.

    `entry`: the row already stored under the command's key.  `hold`: the call's hold if it
    is not live.  Both None means: looked up, and not there.
    """

    entry: Entry | None = None
    hold: Hold | None = None
    fleet_stopped: bool = False


Decision = Entry | Replay | Refusal


def decide(wallet: Wallet, command: Command, facts: Facts, now_ms: int) -> Decision:
    """Say what `command` does to `wallet`, changing nothing.

    For the wallet time never goes back, whatever its owners' clocks say.

    Raises:
        InvalidCommand: the command asks for settings that cannot be.
    """
    now_ms = max(now_ms, wallet.last_ms)
    if facts.entry is not None:
        return _repeat(wallet, command, facts.entry, facts.hold, now_ms)
    match command:
        case Reserve():
            return _reserve(wallet, command, facts, now_ms)
        case Extend():
            return _extend(wallet, command, facts, now_ms)
        case Prolong():
            return _prolong(wallet, command, facts, now_ms)
        case Commit():
            return _commit(wallet, command, facts, now_ms)
        case Release():
            return _release(wallet, command, facts, now_ms)
        case Expire():
            return _expire(wallet, command, facts, now_ms)
        case Kill():
            return _kill(wallet, command, facts, now_ms)
        case Deduct():
            return _deduct(wallet, command, facts, now_ms)
        case Credit():
            return _credit(wallet, command, now_ms)
        case Suspend() | Resume():
            return _switch(wallet, command, now_ms)
        case ChangeSettings():
            return _change_settings(wallet, command, now_ms)
        case _:
            assert_never(command)  # type: ignore[arg-type]  # every command is above


def _repeat(
    wallet: Wallet, command: Command, first: Entry, hold: Hold | None, now_ms: int
) -> Decision:
    if command.strict and command.fingerprint != first.fingerprint:
        return Refusal(
            code=RefusalCode.KEY_REUSE,
            message="This idempotency key was used before, for a different request.",
            fields={"first_seq": first.seq, "first_type": first.type},
        )
    if not command.strict and hold is not None:
        if isinstance(command, Commit):
            return _adjust(wallet, command, first, hold, now_ms)
        if isinstance(command, Reserve):  # its first answer was for a call that is over
            return _call_ended(hold)
    return Replay(first)


# --- calls ---------------------------------------------------------------------------------


def _reserve(wallet: Wallet, command: Reserve, facts: Facts, now_ms: int) -> Decision:
    if facts.hold is not None:
        return _call_ended(facts.hold)
    settings = wallet.settings
    if not settings.prepaid_billing:
        return _feature_disabled("prepaid_billing")
    if (stopped := _stopped(wallet, facts)) is not None:
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
        return _insufficient(wallet, required)

    minutes = command.estimated_minutes or settings.hold_minutes
    wanted = command.amount_pence or tariff.cost_pence(minutes * 60)
    longest = settings.max_call_seconds
    if settings.cap_policy is CapPolicy.AFFORDABLE:
        longest = min(longest, tariff.lasting_seconds(effective))
    longest = max(longest, VAPI_SECONDS_MIN)
    hold = _due(
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
    return _entry(
        wallet,
        command,
        now_ms,
        type="reservation",
        held_delta=hold.reserved_pence,
        hold=hold,
        description=f"Hold for call {command.call_id}",
        detail={"asked": command.asks(), "required_pence": required},
    )


def _extend(wallet: Wallet, command: Extend, facts: Facts, now_ms: int) -> Decision:
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return _no_live_hold(command.call_id, facts)
    if wallet.suspended:
        return _suspended()
    if hold.killed:
        return _call_ended(hold)
    if hold.managed and not deadlines.may_grow(hold):
        return _call_ended(hold)
    if command.seconds is not None:
        grown = hold.tariff.cost_pence(hold.paid_seconds + command.seconds)
        delta = max(0, grown - hold.reserved_pence)
    else:
        assert command.amount_pence is not None
        delta = command.amount_pence
    if delta > wallet.effective_pence:
        return _insufficient(wallet, delta)
    return _enlarge(wallet, command, _uncapped(wallet, hold, delta), delta, now_ms)


def _prolong(wallet: Wallet, command: Prolong, facts: Facts, now_ms: int) -> Decision:
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return _no_live_hold(command.call_id, facts)
    if wallet.suspended:
        return _suspended()
    if hold.killed or not deadlines.may_grow(hold):
        return _call_ended(hold)
    tariff = hold.tariff
    wanted = min(
        hold.paid_seconds + max(tariff.increment_seconds, PROLONG_SECONDS),
        hold.max_duration_seconds,
    )
    affordable = tariff.lasting_seconds(hold.reserved_pence + max(0, wallet.effective_pence))
    reached = min(wanted, affordable)
    if reached <= hold.paid_seconds:
        one_more = tariff.cost_pence(hold.paid_seconds + 1) - hold.reserved_pence
        return _insufficient(wallet, one_more)
    delta = tariff.cost_pence(reached) - hold.reserved_pence
    return _enlarge(wallet, command, hold, delta, now_ms)


def _enlarge(
    wallet: Wallet, command: Extend | Prolong, hold: Hold, delta: int, now_ms: int
) -> Entry:
    ordinal = hold.extensions + 1
    grown = hold._replace(reserved_pence=hold.reserved_pence + delta, extensions=ordinal)
    return _entry(
        wallet,
        command,
        now_ms,
        key=command.key or f"extend:{hold.call_id}:{ordinal}",
        type="reservation_extension",
        held_delta=delta,
        hold=_due(grown, wallet.started_ms(hold), now_ms),
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


def _commit(wallet: Wallet, command: Commit, facts: Facts, now_ms: int) -> Decision:
    """Charge the hold, then the effective balance down to the debt limit; book the rest."""
    hold = wallet.holds.get(command.call_id) or facts.hold
    if hold is None:
        hold = _tombstone(wallet, command.call_id, now_ms)
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
    return _entry(
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


def _adjust(wallet: Wallet, command: Commit, first: Entry, hold: Hold, now_ms: int) -> Decision:
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
    return _entry(
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


def _release(wallet: Wallet, command: Release, facts: Facts, now_ms: int) -> Decision:
    """Free a live hold; a call never seen leaves a tombstone, so no late hold can open."""
    hold = wallet.holds.get(command.call_id)
    if hold is None and facts.hold is not None:
        return _call_ended(facts.hold)
    if hold is None:
        hold = _tombstone(wallet, command.call_id, now_ms)
    return _free(
        wallet,
        command,
        hold,
        HoldStatus.RELEASED,
        now_ms,
        description=f"Hold for call {command.call_id} released: {command.reason}",
    )


def _expire(wallet: Wallet, command: Expire, facts: Facts, now_ms: int) -> Decision:
    hold = wallet.holds.get(command.call_id)
    if hold is None:
        return _no_live_hold(command.call_id, facts)
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
    return _entry(
        wallet,
        command,
        now_ms,
        type=f"reservation_{'release' if status is HoldStatus.RELEASED else 'expiry'}",
        held_delta=-reserved,
        hold=freed,
        description=description,
        detail={},
    )


def _kill(wallet: Wallet, command: Kill, facts: Facts, now_ms: int) -> Decision:
    """Tell a call to end.  A call never seen is told so too: it may be on its way here."""
    hold = wallet.holds.get(command.call_id)
    if hold is None and facts.hold is not None:
        return _call_ended(facts.hold)
    if hold is None:
        hold = _tombstone(wallet, command.call_id, now_ms)
    if hold.killed and command.client_key is None:
        return _call_ended(hold)
    reason = hold.kill_reason or command.reason
    killed = hold._replace(killed=True, kill_reason=reason)
    return _entry(
        wallet,
        command,
        now_ms,
        type="call_kill",
        hold=_due(killed, wallet.started_ms(hold), now_ms) if hold.active else killed,
        description=f"Call {command.call_id} must end: {command.reason}",
        detail={"asked": command.asks(), "managed": hold.managed},
    )


# --- money ---------------------------------------------------------------------------------


def _deduct(wallet: Wallet, command: Deduct, facts: Facts, now_ms: int) -> Decision:
    settings = wallet.settings
    amount = command.amount_pence
    floor = -settings.debt_limit_pence
    if not settings.prepaid_billing:
        return _feature_disabled("prepaid_billing")
    if command.spend_class is SpendClass.ASSET:
        if command.type in TELEPHONY and not settings.managed_telephony:
            return _feature_disabled("managed_telephony")
        if (stopped := _stopped(wallet, facts)) is not None:
            return stopped
        if wallet.effective_pence < amount:
            return _insufficient(wallet, amount)
    elif wallet.effective_pence - amount < floor:
        return Refusal(
            code=RefusalCode.DEBT_LIMIT_EXCEEDED,
            message="This charge would go past the debt limit.",
            fields={
                "current_balance_pence": wallet.balance_pence,
                "effective_balance_pence": wallet.effective_pence,
                "debt_limit_pence": settings.debt_limit_pence,
                "attempted_pence": amount,
                "new_balance_would_be_pence": wallet.effective_pence - amount,
                "amount_over_limit_pence": floor - (wallet.effective_pence - amount),
            },
        )
    return _entry(
        wallet,
        command,
        now_ms,
        type=command.type,
        amount=-amount,
        description=command.description or command.type.replace("_", " ").capitalize(),
        detail={
            "class": str(command.spend_class),
            "debt_limit_pence": settings.debt_limit_pence,
            "low_balance_pence": settings.low_balance_pence,
        },
    )


def _credit(wallet: Wallet, command: Credit, now_ms: int) -> Decision:
    if abs(wallet.balance_pence + command.amount_pence) > BALANCE_MAX:
        return Refusal(
            code=RefusalCode.BALANCE_LIMIT,
            message="No wallet can hold this much.",
            fields={"current_balance_pence": wallet.balance_pence, "limit_pence": BALANCE_MAX},
        )
    return _entry(
        wallet,
        command,
        now_ms,
        type=str(command.type),
        amount=command.amount_pence,
        description=command.description or str(command.type).replace("_", " ").capitalize(),
        detail={},
    )


def _switch(wallet: Wallet, command: Suspend | Resume, now_ms: int) -> Entry:
    return _entry(wallet, command, now_ms, type=command.verb, description=command.reason, detail={})


def _change_settings(wallet: Wallet, command: ChangeSettings, now_ms: int) -> Entry:
    check_names(command.changes)
    settings_of(wallet.defaults, merged(wallet.overrides, command.changes))
    return _entry(
        wallet,
        command,
        now_ms,
        type="settings_change",
        description=f"Settings changed: {', '.join(sorted(command.changes)) or 'none'}",
        detail={"changes": dict(command.changes)},
    )


# --- what they share -----------------------------------------------------------------------


def _entry(  # noqa: PLR0913  # one row has that many columns
    wallet: Wallet,
    command: Command,
    now_ms: int,
    *,
    type: str,  # noqa: A002  # the column's name
    description: str,
    detail: dict[str, object],
    key: str | None = None,
    amount: int = 0,
    held_delta: int = 0,
    uncollected: int = 0,
    hold: Hold | None = None,
) -> Entry:
    if hold is not None:
        detail["hold"] = hold.to_json()
    return Entry(
        org_id=wallet.org_id,
        seq=wallet.seq + 1,
        key=command.key if key is None else key,
        type=type,
        amount_pence=amount,
        held_delta_pence=held_delta,
        balance_before_pence=wallet.balance_pence,
        held_after_pence=wallet.held_pence + held_delta,
        uncollected_pence=uncollected,
        call_id=None if hold is None else hold.call_id,
        description=description,
        fingerprint=command.fingerprint,
        detail=detail,
        epoch=wallet.epoch,
        node=wallet.node,
        at_ms=now_ms,
        hold=hold,
    )


def _due(hold: Hold, started_ms: int, now_ms: int) -> Hold:
    return hold._replace(due_ms=deadlines.next_due_ms(hold, started_ms, now_ms))


def _tombstone(wallet: Wallet, call_id: str, now_ms: int) -> Hold:
    """Return the row of a call that never had a hold, priced by today's tariff."""
    return Hold(
        call_id=call_id,
        tariff=wallet.settings.tariff,
        opened_ms=now_ms,
        expires_ms=now_ms,
        max_duration_seconds=wallet.settings.max_call_seconds,
        status=HoldStatus.RELEASED,
        ended_ms=now_ms,
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


def _suspended() -> Refusal:
    return Refusal(
        code=RefusalCode.WALLET_SUSPENDED,
        message="This wallet is suspended: no new calls or purchases.",
        fields={"suspended": "org"},
    )


def _stopped(wallet: Wallet, facts: Facts) -> Refusal | None:
    if wallet.suspended:
        return _suspended()
    if facts.fleet_stopped:
        return Refusal(
            code=RefusalCode.WALLET_SUSPENDED,
            message="The whole platform is stopped: no new calls or purchases.",
            fields={"suspended": "fleet"},
        )
    return None


def _insufficient(wallet: Wallet, required: int) -> Refusal:
    return Refusal(
        code=RefusalCode.INSUFFICIENT_CREDITS,
        message=(
            f"Insufficient credits: {required} pence required, {wallet.effective_pence} available."
        ),
        fields={
            "current_balance_pence": wallet.balance_pence,
            "effective_balance_pence": wallet.effective_pence,
            "required_pence": required,
            "deficit_pence": required - wallet.effective_pence,
        },
    )


def _feature_disabled(feature: str) -> Refusal:
    return Refusal(
        code=RefusalCode.FEATURE_DISABLED,
        message=f"{feature} is switched off for this organisation.",
        fields={"feature": feature},
    )


def _call_ended(hold: Hold) -> Refusal:
    if not hold.active:
        told = f"has ended ({hold.status})"
    else:
        told = "was told to end" if hold.killed else "has reached its cap"
    return Refusal(
        code=RefusalCode.CALL_ENDED,
        message=f"Call {hold.call_id} {told}.",
        fields={"call_id": hold.call_id, "status": str(hold.status), "killed": hold.killed},
    )


def _no_live_hold(call_id: str, facts: Facts) -> Refusal:
    if facts.hold is not None:
        return _call_ended(facts.hold)
    return Refusal(
        code=RefusalCode.UNKNOWN_CALL,
        message=f"Call {call_id} has no hold here.",
        fields={"call_id": call_id},
    )
