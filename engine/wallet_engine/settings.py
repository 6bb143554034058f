"""The settings of one wallet: defaults, an org's overrides, and what each may be.

Money in pence, durations in seconds or minutes as named.  Source: SPEC §3, Settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType

from .errors import InvalidCommand
from .tariff import INCREMENT_SECONDS_MAX, RATE_PENCE_MAX, Tariff
from .texts import check_printable

PENCE_MAX = 10**12
"""The most one command may move or a limit may be.  Source: SPEC §2."""

VAPI_SECONDS_MIN, VAPI_SECONDS_MAX = 10, 43_200
"""What Vapi accepts as `maxDurationSeconds`.  Source: Vapi's OpenAPI, AssistantOverrides."""


class CapPolicy(StrEnum):
    """What caps a call: the money at its start, or only the longest call allowed."""

    AFFORDABLE = "affordable"
    MAX_CALL = "max_call"


class OnUnavailable(StrEnum):
    """What a caller gets when no decision is possible in time."""

    REFUSE = "refuse"
    ALLOW = "allow"


DEFAULT_ASSET_PRICES = MappingProxyType({"phone_number": 1000, "toll_free_number": 1000})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a wallet that is not money; `max_concurrent_calls` 0 means no cap."""

    rate_pence_per_minute: int = 56
    first_increment_seconds: int = 60
    increment_seconds: int = 60
    hold_minutes: int = 5
    min_call_balance_pence: int = 79
    debt_limit_pence: int = 500
    hold_expiry_minutes: int = 30
    low_balance_pence: int = 500
    asset_prices: Mapping[str, int] = field(default_factory=lambda: DEFAULT_ASSET_PRICES)
    max_call_seconds: int = 600
    cap_policy: CapPolicy = CapPolicy.AFFORDABLE
    max_concurrent_calls: int = 0
    prepaid_billing: bool = True
    managed_telephony: bool = True
    on_unavailable: OnUnavailable = OnUnavailable.REFUSE
    tariff: Tariff = field(init=False)

    def __post_init__(self) -> None:
        for name, (low, high) in INTEGER_BOUNDS.items():
            _check_integer(name, getattr(self, name), low, high)
        for name in ("prepaid_billing", "managed_telephony"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidCommand(name, "must be true or false")
        for name, choices in (("cap_policy", CapPolicy), ("on_unavailable", OnUnavailable)):
            try:
                object.__setattr__(self, name, choices(getattr(self, name)))
            except ValueError:
                raise InvalidCommand(name, f"must be one of {', '.join(choices)}") from None
        _check_prices(self.asset_prices)
        tariff = Tariff(
            self.rate_pence_per_minute, self.first_increment_seconds, self.increment_seconds
        )
        object.__setattr__(self, "tariff", tariff)


INTEGER_BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "rate_pence_per_minute": (0, RATE_PENCE_MAX),
        "first_increment_seconds": (1, INCREMENT_SECONDS_MAX),
        "increment_seconds": (1, INCREMENT_SECONDS_MAX),
        "hold_minutes": (1, 1440),
        "min_call_balance_pence": (0, PENCE_MAX),
        "debt_limit_pence": (0, PENCE_MAX),
        "hold_expiry_minutes": (1, 10_080),
        "low_balance_pence": (0, PENCE_MAX),
        "max_call_seconds": (VAPI_SECONDS_MIN, VAPI_SECONDS_MAX),
        "max_concurrent_calls": (0, 1_000_000),
    }
)

OVERRIDABLE = frozenset(item.name for item in fields(Settings) if item.init)

Overrides = Mapping[str, object]
"""An org's own settings by name; what is absent is inherited from the defaults."""


def settings_of(defaults: Settings, overrides: Overrides) -> Settings:
    """Return `defaults` with an org's `overrides` laid over them.

    Raises:
        InvalidCommand: an override is unknown or out of bounds.
    """
    if not overrides:
        return defaults
    check_names(overrides)
    values = dict(overrides)
    if isinstance(prices := values.get("asset_prices"), Mapping):
        values["asset_prices"] = {**defaults.asset_prices, **prices}
    return replace(defaults, **values)  # type: ignore[arg-type]  # checked in __post_init__


def check_names(overrides: Overrides) -> None:
    """Refuse what is not the name of a setting."""
    for name in overrides:
        if name not in OVERRIDABLE:
            raise InvalidCommand(name, "is not a setting")


def merged(overrides: Overrides, changes: Overrides) -> Overrides:
    """Return `overrides` after `changes`, in which None means: inherit again."""
    both = {**overrides, **changes}
    return {name: value for name, value in both.items() if value is not None}


def price_of(settings: Settings, asset: str, country: str) -> int | None:
    """Return what `asset` costs in `country`, in pence: `asset:US` goes before `asset`."""
    return settings.asset_prices.get(f"{asset}:{country}", settings.asset_prices.get(asset))


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidCommand(name, f"must be a whole number in {low}..{high}")


def _check_prices(prices: object) -> None:
    if not isinstance(prices, Mapping) or len(prices) > 1000:  # noqa: PLR2004
        raise InvalidCommand("asset_prices", "must be an object of at most 1000 prices")
    for asset, price in prices.items():
        check_printable("asset_prices", asset, high=64)
        _check_integer(f"asset_prices.{asset}", price, 0, PENCE_MAX)
