"""Settings: the defaults of the specification, their bounds, and whose value counts."""

import pytest

from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import (
    INTEGER_BOUNDS,
    OVERRIDABLE,
    PENCE_MAX,
    CapPolicy,
    OnUnavailable,
    Settings,
    merged,
    price_of,
    settings_of,
)
from wallet_engine.tariff import Tariff

DEFAULTS = {
    "rate_pence_per_minute": 56,
    "first_increment_seconds": 60,
    "increment_seconds": 60,
    "hold_minutes": 5,
    "min_call_balance_pence": 79,
    "debt_limit_pence": 500,
    "hold_expiry_minutes": 30,
    "low_balance_pence": 500,
    "asset_prices": {"phone_number": 1000, "toll_free_number": 1000},
    "max_call_seconds": 600,
    "cap_policy": CapPolicy.AFFORDABLE,
    "max_concurrent_calls": 0,
    "prepaid_billing": True,
    "managed_telephony": True,
    "on_unavailable": OnUnavailable.REFUSE,
}

NO_WHOLE_NUMBERS: list[object] = [True, 56.0, "56", None, [56]]


def refused_field(overrides: dict[str, object]) -> str:
    with pytest.raises(InvalidCommand) as refusal:
        settings_of(Settings(), overrides)
    return refusal.value.field


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_defaults_of_the_specification(name: str, value: object) -> None:
    """Without any setting, SPEC §3 holds."""
    assert getattr(Settings(), name) == value


def test_everything_can_be_overridden() -> None:
    """Each setting of the specification is one that an org may have of its own."""
    assert set(DEFAULTS) == OVERRIDABLE


@pytest.mark.parametrize(("name", "bounds"), INTEGER_BOUNDS.items())
def test_numbers_at_their_bounds(name: str, bounds: tuple[int, int]) -> None:
    """The bound itself is allowed, one more is not."""
    low, high = bounds

    assert getattr(settings_of(Settings(), {name: low}), name) == low
    assert getattr(settings_of(Settings(), {name: high}), name) == high
    assert refused_field({name: low - 1}) == name
    assert refused_field({name: high + 1}) == name


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
@pytest.mark.parametrize("name", INTEGER_BOUNDS)
def test_numbers_are_whole_numbers(name: str, value: object) -> None:
    """`true`, 56.0 and texts are no whole numbers."""
    assert refused_field({name: value}) == name


def test_a_call_is_as_long_as_vapi_allows() -> None:
    """Vapi takes 10 to 43 200 seconds, so no other cap may be set."""
    assert INTEGER_BOUNDS["max_call_seconds"] == (10, 43_200)


def test_an_increment_is_never_nothing() -> None:
    """The tariff divides by it."""
    assert INTEGER_BOUNDS["increment_seconds"][0] == 1
    assert INTEGER_BOUNDS["first_increment_seconds"][0] == 1


@pytest.mark.parametrize("name", ["prepaid_billing", "managed_telephony"])
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_flags_are_true_or_false(name: str, value: object) -> None:
    """A 1 is no `true`."""
    assert refused_field({name: value}) == name


@pytest.mark.parametrize(
    ("name", "good", "expected"),
    [
        ("cap_policy", "affordable", CapPolicy.AFFORDABLE),
        ("cap_policy", "max_call", CapPolicy.MAX_CALL),
        ("on_unavailable", "refuse", OnUnavailable.REFUSE),
        ("on_unavailable", "allow", OnUnavailable.ALLOW),
    ],
)
def test_choices(name: str, good: str, expected: object) -> None:
    """A choice may be given as its word, and is then that choice."""
    assert getattr(settings_of(Settings(), {name: good}), name) is expected


@pytest.mark.parametrize("name", ["cap_policy", "on_unavailable"])
@pytest.mark.parametrize("value", ["", "AFFORDABLE", "never", 1, True, None, ["refuse"]])
def test_what_is_no_choice(name: str, value: object) -> None:
    """Any other word, or no word, is refused by name."""
    assert refused_field({name: value}) == name


@pytest.mark.parametrize("name", ["rate", "tariff", "", "rate_pence_per_minute "])
def test_unknown_settings(name: str) -> None:
    """A setting that does not exist is named; the tariff is made of three others."""
    assert refused_field({name: 1}) == name


def test_overrides_lie_over_the_defaults() -> None:
    """An org has what it set, and the defaults of everything else."""
    defaults = Settings(rate_pence_per_minute=70, hold_minutes=3)

    found = settings_of(defaults, {"hold_minutes": 7})

    assert (found.rate_pence_per_minute, found.hold_minutes) == (70, 7)
    assert settings_of(defaults, {}) is defaults


def test_the_tariff_follows_the_settings() -> None:
    """It is made of the rate and the increments, overridden or not."""
    found = settings_of(Settings(), {"rate_pence_per_minute": 70, "increment_seconds": 1})

    assert found.tariff == Tariff(70, 60, 1)


@pytest.mark.parametrize(
    ("overrides", "changes", "expected"),
    [
        ({}, {"hold_minutes": 7}, {"hold_minutes": 7}),
        ({"hold_minutes": 7}, {"hold_minutes": 8}, {"hold_minutes": 8}),
        ({"hold_minutes": 7}, {"debt_limit_pence": 0}, {"hold_minutes": 7, "debt_limit_pence": 0}),
        ({"hold_minutes": 7}, {"hold_minutes": None}, {}),
        ({}, {"hold_minutes": None}, {}),
        ({"hold_minutes": 7}, {}, {"hold_minutes": 7}),
    ],
)
def test_null_inherits_again(
    overrides: dict[str, object], changes: dict[str, object], expected: dict[str, object]
) -> None:
    """A change replaces, adds, or takes an override away; 0 is a value like any other."""
    assert merged(overrides, changes) == expected


@pytest.mark.parametrize(
    ("prices", "asset", "country", "expected"),
    [
        ({}, "phone_number", "US", 1000),
        ({}, "toll_free_number", "GB", 1000),
        ({}, "seat", "US", None),
        ({"phone_number": 1200}, "phone_number", "US", 1200),
        ({"phone_number": 0}, "phone_number", "US", 0),
        ({"phone_number:GB": 1500}, "phone_number", "GB", 1500),
        ({"phone_number:GB": 1500}, "phone_number", "US", 1000),
        ({"phone_number:GB": 0}, "phone_number", "GB", 0),
        ({"phone_number:GB": 1500}, "toll_free_number", "GB", 1000),
        ({"seat": 300}, "seat", "", 300),
    ],
)
def test_prices_of_assets(
    prices: dict[str, object], asset: str, country: str, expected: int | None
) -> None:
    """A price for the country goes before the price of the type; an org's before the default."""
    settings = settings_of(Settings(), {"asset_prices": prices})

    assert price_of(settings, asset, country) == expected


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        (None, "asset_prices"),
        ([], "asset_prices"),
        ("phone_number", "asset_prices"),
        ({"": 1}, "asset_prices"),
        ({"x" * 65: 1}, "asset_prices"),
        ({1: 1}, "asset_prices"),
        ({f"did:{number}": 1 for number in range(1000)}, "asset_prices"),
        ({"did": -1}, "asset_prices.did"),
        ({"did": PENCE_MAX + 1}, "asset_prices.did"),
        ({"did": True}, "asset_prices.did"),
        ({"did": 9.99}, "asset_prices.did"),
        ({"did": None}, "asset_prices.did"),
    ],
)
def test_prices_that_cannot_be(prices: object, field: str) -> None:
    """Prices are whole pence under short names, at most 1000 of them with the defaults."""
    assert refused_field({"asset_prices": prices}) == field


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_price_names_can_be_stored(name: str) -> None:
    """They are journaled: one NUL or lone surrogate would abort the batch of all other wallets."""
    assert refused_field({"asset_prices": {name: 1}}) == "asset_prices"


def test_prices_at_their_bounds() -> None:
    """998 prices beside the two defaults, of 64 characters, from nothing to the limit."""
    prices = {f"{number:064}": PENCE_MAX for number in range(997)} | {"free": 0}

    found = settings_of(Settings(), {"asset_prices": prices})

    assert len(found.asset_prices) == 1000


def test_settings_cannot_change() -> None:
    """A wallet whose settings change gets new ones: holds keep the tariff they began with."""
    with pytest.raises(AttributeError):
        Settings().hold_minutes = 6  # type: ignore[misc]
