"""Commands, wallets and holds with sensible defaults: a test names only what it is about."""

from collections.abc import Iterable, Mapping

from wallet_engine.commands import (
    CALL_DEDUCTION,
    AssetType,
    ChangeSettings,
    Check,
    Commit,
    Credit,
    CreditType,
    Deduct,
    Expire,
    Extend,
    Kill,
    Look,
    NoteStart,
    Prolong,
    Proof,
    Release,
    Reserve,
    Resume,
    SpendClass,
    Suspend,
)
from wallet_engine.deadlines import next_due_ms
from wallet_engine.settings import Settings
from wallet_engine.tariff import Tariff
from wallet_engine.wallet import Hold, HoldStatus, Wallet

ORG = "org-1"
CALL = "call-1"
T0_MS = 1_700_000_000_000
"""When the tests begin: some moment in 2023."""

BY_MINUTE = Tariff(56, 60, 60)
BY_SECOND = Tariff(56, 1, 1)


# --- calls ---------------------------------------------------------------------------------


def reserve(
    call_id: str = CALL,
    *,
    org_id: str = ORG,
    minutes: int | None = None,
    pence: int | None = None,
    managed: bool = False,
    give_back: bool = False,
    attempt: int = 0,
    strict: bool = True,
    dry_run: bool = False,
) -> Reserve:
    return Reserve(
        org_id=org_id,
        call_id=call_id,
        estimated_minutes=minutes,
        amount_pence=pence,
        managed=managed,
        give_back=give_back,
        attempt=attempt,
        strict=strict,
        dry_run=dry_run,
    )


def admit(
    call_id: str = CALL, *, org_id: str = ORG, give_back: bool = True, attempt: int = 1
) -> Reserve:
    """A hold for a call that rings at a provider: the engine extends it and ends the call."""
    return reserve(
        call_id,
        org_id=org_id,
        managed=True,
        give_back=give_back,
        attempt=attempt,
        strict=False,
    )


def extend(
    call_id: str = CALL,
    *,
    org_id: str = ORG,
    seconds: int | None = None,
    pence: int | None = None,
    key: str | None = None,
    dry_run: bool = False,
) -> Extend:
    return Extend(
        org_id=org_id,
        call_id=call_id,
        seconds=seconds,
        amount_pence=pence,
        client_key=key,
        dry_run=dry_run,
    )


def prolong(call_id: str = CALL, *, org_id: str = ORG) -> Prolong:
    return Prolong(org_id=org_id, call_id=call_id)


def commit(
    call_id: str = CALL,
    *,
    org_id: str = ORG,
    seconds: int | None = None,
    ms: int | None = None,
    pence: int | None = None,
    proof: Proof = Proof.REPORT,
    strict: bool = True,
    dry_run: bool = False,
) -> Commit:
    return Commit(
        org_id=org_id,
        call_id=call_id,
        actual_ms=seconds * 1000 if seconds is not None else ms,
        amount_pence=pence,
        proof=proof,
        strict=strict,
        dry_run=dry_run,
    )


def heard(call_id: str = CALL, *, seconds: int, proof: Proof = Proof.REPORT) -> Commit:
    """A settlement from a provider's words: a repeat with other numbers is no error."""
    return commit(call_id, seconds=seconds, proof=proof, strict=False)


def release(
    call_id: str = CALL, *, org_id: str = ORG, reason: str = "no answer", dry_run: bool = False
) -> Release:
    return Release(org_id=org_id, call_id=call_id, reason=reason, dry_run=dry_run)


def expire(call_id: str = CALL, *, org_id: str = ORG) -> Expire:
    return Expire(org_id=org_id, call_id=call_id)


def kill(
    call_id: str = CALL,
    *,
    org_id: str = ORG,
    reason: str = "fraud",
    key: str | None = None,
    dry_run: bool = False,
) -> Kill:
    return Kill(
        org_id=org_id,
        call_id=call_id,
        reason=reason,
        client_key=key,
        strict=key is not None,
        dry_run=dry_run,
    )


# --- money ---------------------------------------------------------------------------------


def charge(
    pence: int,
    *,
    key: str = "charge-1",
    org_id: str = ORG,
    description: str = "",
    dry_run: bool = False,
) -> Deduct:
    """A direct deduction for a call, which may go into debt."""
    return Deduct(
        org_id=org_id,
        client_key=key,
        amount_pence=pence,
        spend_class=SpendClass.CALL,
        type=CALL_DEDUCTION,
        description=description,
        dry_run=dry_run,
    )


def buy(
    pence: int,
    *,
    key: str = "buy-1",
    org_id: str = ORG,
    type: AssetType = AssetType.PHONE_NUMBER,  # noqa: A002  # the field's name
    description: str = "",
    dry_run: bool = False,
) -> Deduct:
    """A direct deduction for an asset, which may not."""
    return Deduct(
        org_id=org_id,
        client_key=key,
        amount_pence=pence,
        spend_class=SpendClass.ASSET,
        type=type,
        description=description,
        dry_run=dry_run,
    )


def credit(
    pence: int,
    *,
    key: str = "credit-1",
    org_id: str = ORG,
    type: CreditType = CreditType.TOPUP,  # noqa: A002  # the field's name
    description: str = "",
    dry_run: bool = False,
) -> Credit:
    return Credit(
        org_id=org_id,
        client_key=key,
        amount_pence=pence,
        type=type,
        description=description,
        dry_run=dry_run,
    )


def suspend(*, key: str = "suspend-1", org_id: str = ORG, reason: str = "unpaid") -> Suspend:
    return Suspend(org_id=org_id, client_key=key, reason=reason)


def resume(*, key: str = "resume-1", org_id: str = ORG, reason: str = "paid") -> Resume:
    return Resume(org_id=org_id, client_key=key, reason=reason)


def change_settings(
    changes: Mapping[str, object], *, key: str = "settings-1", org_id: str = ORG
) -> ChangeSettings:
    return ChangeSettings(org_id=org_id, client_key=key, changes=changes)


# --- questions -----------------------------------------------------------------------------


def check(call_id: str = CALL, *, org_id: str = ORG, seconds: int | None = None) -> Check:
    elapsed_ms = None if seconds is None else seconds * 1000
    return Check(org_id=org_id, call_id=call_id, elapsed_ms=elapsed_ms)


def look(*, org_id: str = ORG) -> Look:
    return Look(org_id=org_id)


def note_start(call_id: str = CALL, *, org_id: str = ORG, heard_ms: int = T0_MS) -> NoteStart:
    return NoteStart(org_id=org_id, call_id=call_id, heard_ms=heard_ms)


# --- states --------------------------------------------------------------------------------


def hold(
    call_id: str = CALL,
    *,
    pence: int = 280,
    tariff: Tariff = BY_MINUTE,
    cap_seconds: int = 600,
    opened_ms: int = T0_MS,
    expiry_minutes: int = 30,
    managed: bool = False,
    killed: bool = False,
    status: HoldStatus = HoldStatus.ACTIVE,
) -> Hold:
    made = Hold(
        call_id=call_id,
        tariff=tariff,
        opened_ms=opened_ms,
        expires_ms=opened_ms + expiry_minutes * 60_000,
        max_duration_seconds=cap_seconds,
        reserved_pence=pence,
        estimated_minutes=5,
        managed=managed,
        killed=killed,
        kill_reason="fraud" if killed else "",
        status=status,
    )
    return made._replace(due_ms=next_due_ms(made, opened_ms, opened_ms) if made.active else 0)


def wallet(
    balance_pence: int = 1000,
    *,
    holds: Iterable[Hold] = (),
    suspended: bool = False,
    settings: Settings | None = None,
) -> Wallet:
    known = settings or Settings()
    live = {one.call_id: one for one in holds}
    return Wallet(
        org_id=ORG,
        settings=known,
        defaults=known,
        balance_pence=balance_pence,
        held_pence=sum(one.reserved_pence for one in live.values()),
        suspended=suspended,
        holds=live,
    )
