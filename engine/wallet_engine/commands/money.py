"""Commands about the wallet as a whole: charge, pay in, suspend, change its settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import PENCE_MAX
from wallet_engine.texts import DESCRIPTION_MAX, check_text

from .base import REASON_MAX, KeyedCommand, check_integer, check_pence


class SpendClass(StrEnum):
    """What a direct deduction pays for: calls may go into debt, assets never."""

    CALL = "call"
    ASSET = "asset"


class CreditType(StrEnum):
    """Where a credit comes from."""

    TOPUP = "topup"
    AUTO_RECHARGE = "auto_recharge"
    REFUND = "refund"
    BONUS = "bonus"
    ADJUSTMENT = "adjustment"
    CLAWBACK = "clawback"


class AssetType(StrEnum):
    """What can be bought outright."""

    PHONE_PROVISIONING = "phone_provisioning"
    PHONE_NUMBER = "phone_number"
    TOLL_FREE_NUMBER = "toll_free_number"
    DID = "did"
    LICENSE = "license"
    SMS = "sms"
    SEAT = "seat"
    STORAGE = "storage"
    ADDON = "addon"


CALL_DEDUCTION = "call_deduction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduct(KeyedCommand):
    """Charge `amount_pence` outright."""

    verb: ClassVar[str] = "deduct"
    amount_pence: int
    spend_class: SpendClass
    type: str
    description: str = ""

    def __post_init__(self) -> None:
        KeyedCommand.__post_init__(self)
        check_pence(self.amount_pence)
        allowed = (
            frozenset({CALL_DEDUCTION})
            if self.spend_class is SpendClass.CALL
            else frozenset(str(asset) for asset in AssetType)
        )
        if self.type not in allowed:
            raise InvalidCommand(
                "type", f"must be one of {', '.join(sorted(allowed))} for {self.spend_class}"
            )
        check_text("description", self.description, low=0, high=DESCRIPTION_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {
            "amount_pence": self.amount_pence,
            "class": str(self.spend_class),
            "type": self.type,
            "description": self.description,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit(KeyedCommand):
    """Pay in `amount_pence`; adjustments may be negative, clawbacks are."""

    verb: ClassVar[str] = "credit"
    amount_pence: int
    type: CreditType
    description: str = ""

    def __post_init__(self) -> None:
        KeyedCommand.__post_init__(self)
        match self.type:
            case CreditType.ADJUSTMENT:
                check_integer("amount_pence", self.amount_pence, -PENCE_MAX, PENCE_MAX)
                if self.amount_pence == 0:
                    raise InvalidCommand("amount_pence", "must not be 0")
            case CreditType.CLAWBACK:
                check_integer("amount_pence", self.amount_pence, -PENCE_MAX, -1)
            case _:
                check_pence(self.amount_pence)
        check_text("description", self.description, low=0, high=DESCRIPTION_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {
            "amount_pence": self.amount_pence,
            "type": str(self.type),
            "description": self.description,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend(KeyedCommand):
    """Stop new holds and purchases; the org's live calls end."""

    verb: ClassVar[str] = "suspend"
    reason: str

    def __post_init__(self) -> None:
        KeyedCommand.__post_init__(self)
        check_text("reason", self.reason, low=1, high=REASON_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(KeyedCommand):
    """Lift a suspension."""

    verb: ClassVar[str] = "resume"
    reason: str

    def __post_init__(self) -> None:
        KeyedCommand.__post_init__(self)
        check_text("reason", self.reason, low=1, high=REASON_MAX)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSettings(KeyedCommand):
    """Change an org's overrides; None makes a setting inherit its default again."""

    verb: ClassVar[str] = "settings"
    changes: Mapping[str, object] = field(default_factory=dict)

    def asks(self) -> dict[str, object]:
        """See `Command.asks`."""
        return {"changes": json.dumps(dict(self.changes), sort_keys=True, default=dict)}
