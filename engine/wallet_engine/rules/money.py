"""Money comes and goes without a call, and what an operator decides.  Source: SPEC §3."""

from wallet_engine.commands import (
    AssetType,
    ChangeSettings,
    Credit,
    Deduct,
    Resume,
    SpendClass,
    Suspend,
)
from wallet_engine.journal import Refusal, RefusalCode
from wallet_engine.settings import check_names, merged, settings_of
from wallet_engine.wallet import Entry, Wallet

from . import refusals, rows
from .rows import Decision, Facts

BALANCE_MAX = 9 * 10**18
"""How far a balance may be from zero: what a 64-bit column holds, with room to spare."""

TELEPHONY = frozenset(
    {AssetType.PHONE_PROVISIONING, AssetType.PHONE_NUMBER, AssetType.TOLL_FREE_NUMBER},
)


def deduct(wallet: Wallet, command: Deduct, facts: Facts, now_ms: int) -> Decision:
    """Charge `command.amount_pence` at once: calls may go into debt, assets never."""
    settings = wallet.settings
    amount = command.amount_pence
    floor = -settings.debt_limit_pence
    if not settings.prepaid_billing:
        return refusals.feature_disabled("prepaid_billing")
    if command.spend_class is SpendClass.ASSET:
        if command.type in TELEPHONY and not settings.managed_telephony:
            return refusals.feature_disabled("managed_telephony")
        if (stopped := refusals.stopped(wallet, facts)) is not None:
            return stopped
        if wallet.effective_pence < amount:
            return refusals.insufficient(wallet, amount)
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
    return rows.new_entry(
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


def credit(wallet: Wallet, command: Credit, now_ms: int) -> Decision:
    """Add money, or take it back: only the size of a number can refuse it."""
    if abs(wallet.balance_pence + command.amount_pence) > BALANCE_MAX:
        return Refusal(
            code=RefusalCode.BALANCE_LIMIT,
            message="No wallet can hold this much.",
            fields={"current_balance_pence": wallet.balance_pence, "limit_pence": BALANCE_MAX},
        )
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type=str(command.type),
        amount=command.amount_pence,
        description=command.description or str(command.type).replace("_", " ").capitalize(),
        detail={},
    )


def switch(wallet: Wallet, command: Suspend | Resume, now_ms: int) -> Entry:
    """Suspend the wallet, or let it go on."""
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type=command.verb,
        description=command.reason,
        detail={},
    )


def change_settings(wallet: Wallet, command: ChangeSettings, now_ms: int) -> Entry:
    """Change what the organisation's own settings say, None for the default.

    Raises:
        InvalidCommand: no such setting, or no such value.
    """
    check_names(command.changes)
    settings_of(wallet.defaults, merged(wallet.overrides, command.changes))
    return rows.new_entry(
        wallet,
        command,
        now_ms,
        type="settings_change",
        description=f"Settings changed: {', '.join(sorted(command.changes)) or 'none'}",
        detail={"changes": dict(command.changes)},
    )
