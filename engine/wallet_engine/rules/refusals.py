"""Every no of the rules: its word, its sentence, and the numbers behind it."""

from wallet_engine.journal import Refusal, RefusalCode
from wallet_engine.wallet import Hold, Wallet

from .rows import Facts


def suspended() -> Refusal:
    """Return the no of a wallet that an operator has suspended."""
    return Refusal(
        code=RefusalCode.WALLET_SUSPENDED,
        message="This wallet is suspended: no new calls or purchases.",
        fields={"suspended": "org"},
    )


def stopped(wallet: Wallet, facts: Facts) -> Refusal | None:
    """Return the no of a suspended wallet or fleet; None if neither is."""
    if wallet.suspended:
        return suspended()
    if facts.fleet_stopped:
        return Refusal(
            code=RefusalCode.WALLET_SUSPENDED,
            message="The whole platform is stopped: no new calls or purchases.",
            fields={"suspended": "fleet"},
        )
    return None


def insufficient(wallet: Wallet, required: int) -> Refusal:
    """Return the no for want of money: `required` pence of effective balance."""
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


def feature_disabled(feature: str) -> Refusal:
    """Return the no of a feature that is switched off for this organisation."""
    return Refusal(
        code=RefusalCode.FEATURE_DISABLED,
        message=f"{feature} is switched off for this organisation.",
        fields={"feature": feature},
    )


def call_ended(hold: Hold) -> Refusal:
    """Return the no of a call that is over, must end, or has reached its cap."""
    if not hold.active:
        told = f"has ended ({hold.status})"
    else:
        told = "was told to end" if hold.killed else "has reached its cap"
    return Refusal(
        code=RefusalCode.CALL_ENDED,
        message=f"Call {hold.call_id} {told}.",
        fields={"call_id": hold.call_id, "status": str(hold.status), "killed": hold.killed},
    )


def no_live_hold(call_id: str, facts: Facts) -> Refusal:
    """Return the no of a call that has no live hold: it ended, or never was."""
    if facts.hold is not None:
        return call_ended(facts.hold)
    return Refusal(
        code=RefusalCode.UNKNOWN_CALL,
        message=f"Call {call_id} has no hold here.",
        fields={"call_id": call_id},
    )
