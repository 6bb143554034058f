"""Rules of the wallet as a whole: deductions, credits, suspension, settings.  SPEC §3."""

from dataclasses import replace

import pytest

from wallet_engine.commands import AssetType, Command, CreditType
from wallet_engine.errors import InvalidCommand
from wallet_engine.journal import RefusalCode
from wallet_engine.rules.money import BALANCE_MAX
from wallet_engine.settings import PENCE_MAX, Settings
from wallet_testing.book import Book, entered, refused
from wallet_testing.builders import (
    buy,
    change_settings,
    charge,
    commit,
    credit,
    release,
    reserve,
    resume,
    suspend,
)

TELEPHONY = (AssetType.PHONE_PROVISIONING, AssetType.PHONE_NUMBER, AssetType.TOLL_FREE_NUMBER)

# --- direct deductions ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "debt_limit", "amount", "fits"),
    [
        (1000, 500, 1, True),
        (1000, 500, 1000, True),
        (1000, 500, 1001, True),
        (1000, 500, 1500, True),
        (1000, 500, 1501, False),
        (1000, 0, 1000, True),
        (1000, 0, 1001, False),
        (1, 500, PENCE_MAX, False),
    ],
)
def test_a_call_may_go_into_debt(balance: int, debt_limit: int, amount: int, fits: bool) -> None:
    """Exactly at the limit succeeds; one penny over is refused whole and changes nothing."""
    book = Book(balance, settings=Settings(debt_limit_pence=debt_limit))

    decision = book.do(charge(amount))

    if fits:
        assert entered(decision).amount_pence == -amount
        assert book.wallet.balance_pence == balance - amount
    else:
        assert refused(decision).code == RefusalCode.DEBT_LIMIT_EXCEEDED
        assert (book.wallet.balance_pence, book.wallet.seq) == (balance, 1)


def test_what_a_refused_charge_tells() -> None:
    """The balance, the limit, what was tried, where it would have led, by how much too far."""
    refusal = refused(Book(1000).do(charge(1501)))

    expected = {
        "current_balance_pence": 1000,
        "debt_limit_pence": 500,
        "attempted_pence": 1501,
        "new_balance_would_be_pence": -501,
        "amount_over_limit_pence": 1,
    }
    assert expected.items() <= refusal.fields.items()


@pytest.mark.parametrize(
    ("balance", "amount", "expected"),
    [
        (1000, 500, (False, False, 1000)),
        (1000, 501, (True, False, 999)),
        (1000, 1000, (True, False, 500)),
        (1000, 1001, (True, True, 499)),
        (1000, 1500, (True, True, 0)),
    ],
)
def test_what_a_charge_tells(balance: int, amount: int, expected: tuple[object, ...]) -> None:
    """Whether to recharge, whether in debt, and how much debt is left: each at its boundary."""
    body = Book(balance).ask(charge(amount)).body

    told = (body["needs_recharge"], body["in_debt"], body["remaining_debt_capacity_pence"])
    assert told == expected


def test_a_charge_leaves_holds_alone() -> None:
    """It is the effective balance that may go down to the limit."""
    book = Book(1000)
    book.do(reserve())

    assert refused(book.do(charge(720 + 501))).fields["amount_over_limit_pence"] == 1
    assert entered(book.do(charge(720 + 500)))
    assert (book.wallet.held_pence, book.wallet.effective_pence) == (280, -500)


@pytest.mark.parametrize(("balance", "fits"), [(999, False), (1000, True), (1001, True)])
def test_an_asset_never_goes_into_debt(balance: int, fits: bool) -> None:
    """The effective balance must be the price at least, whatever the debt limit."""
    book = Book(balance, settings=Settings(debt_limit_pence=10**6))

    decision = book.do(buy(1000))

    if fits:
        assert entered(decision).type == "phone_number"
    else:
        assert refused(decision).code == RefusalCode.INSUFFICIENT_CREDITS
        assert refused(decision).fields["deficit_pence"] == 1
        assert book.wallet.balance_pence == balance


def test_money_of_live_calls_buys_nothing() -> None:
    """What is held is not there for a purchase."""
    book = Book(1000)
    book.do(reserve())

    assert refused(book.do(buy(721))).fields["effective_balance_pence"] == 720
    assert entered(book.do(buy(720)))


@pytest.mark.parametrize("asset", AssetType)
def test_telephony_can_be_switched_off(asset: AssetType) -> None:
    """Only what belongs to telephony is refused then."""
    decision = Book(1000, settings=Settings(managed_telephony=False)).do(buy(1, type=asset))

    if asset in TELEPHONY:
        assert refused(decision).code == RefusalCode.FEATURE_DISABLED
        assert refused(decision).fields == {"feature": "managed_telephony"}
    else:
        assert entered(decision).type == asset


@pytest.mark.parametrize("command", [charge(1), buy(1)])
def test_billing_can_be_switched_off(command: Command) -> None:
    """Without prepaid billing nothing is charged directly."""
    refusal = refused(Book(1000, settings=Settings(prepaid_billing=False)).do(command))

    assert refusal.fields == {"feature": "prepaid_billing"}


@pytest.mark.parametrize(("by", "told"), [("org", "org"), ("fleet", "fleet"), ("both", "org")])
def test_suspension_stops_purchases_and_holds(by: str, told: str) -> None:
    """Of the wallet or of the whole fleet; charges of calls that happened go on."""
    book = Book(1000)
    if by in ("org", "both"):
        book.do(suspend())
    book.fleet_stopped = by in ("fleet", "both")

    for command in (buy(1), reserve()):
        refusal = refused(book.do(command))
        assert refusal.code == RefusalCode.WALLET_SUSPENDED
        assert refusal.fields == {"suspended": told}
    assert entered(book.do(charge(1)))
    assert entered(book.do(commit(seconds=1)))


# --- credits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "amount"),
    [
        (CreditType.TOPUP, 1),
        (CreditType.AUTO_RECHARGE, PENCE_MAX),
        (CreditType.REFUND, 1),
        (CreditType.BONUS, 1),
        (CreditType.ADJUSTMENT, 1),
        (CreditType.ADJUSTMENT, -5000),
        (CreditType.CLAWBACK, -5000),
    ],
)
@pytest.mark.parametrize("suspended", [False, True])
def test_credits_are_always_accepted(type_: CreditType, amount: int, suspended: bool) -> None:
    """On a suspended wallet too; adjustments and clawbacks may pass the floor."""
    book = Book(100, settings=Settings(prepaid_billing=False))
    if suspended:
        book.do(suspend())
    book.fleet_stopped = suspended

    entry = entered(book.do(credit(amount, type=type_)))

    assert (entry.type, entry.amount_pence) == (type_, amount)
    assert book.wallet.balance_pence == 100 + amount


@pytest.mark.parametrize(
    ("balance", "amount", "fits"),
    [
        (BALANCE_MAX - 1, 1, True),
        (BALANCE_MAX, 1, False),
        (1 - BALANCE_MAX, -1, True),
        (-BALANCE_MAX, -1, False),
        (BALANCE_MAX, -1, True),
    ],
)
def test_a_balance_fits_its_column(balance: int, amount: int, fits: bool) -> None:
    """A sum that no 64-bit column can hold is refused before it is written."""
    book = Book()
    book.wallet.balance_pence = balance

    decision = book.do(credit(amount, type=CreditType.ADJUSTMENT))

    if fits:
        assert entered(decision)
    else:
        assert refused(decision).code == RefusalCode.BALANCE_LIMIT


# --- suspension ----------------------------------------------------------------------------


def test_a_suspension_and_its_end() -> None:
    """Both are journaled with their reason, and a wallet may be suspended twice."""
    book = Book(1000)

    assert entered(book.do(suspend(reason="unpaid"))).description == "unpaid"
    assert book.wallet.suspended
    assert entered(book.do(suspend(key="again")))
    assert entered(book.do(resume(reason="paid"))).type == "resume"
    assert not book.wallet.suspended
    assert entered(book.do(reserve()))


# --- settings ------------------------------------------------------------------------------


def test_settings_change_live() -> None:
    """The next decision follows them; what was decided keeps what it began with."""
    book = Book(1000)
    book.do(reserve("before"))
    entered(book.do(change_settings({"rate_pence_per_minute": 100})))
    book.do(reserve("after"))

    assert book.ask(commit("before", seconds=60)).body["charged_pence"] == 56
    assert book.ask(commit("after", seconds=60)).body["charged_pence"] == 100


def test_a_setting_is_inherited_again() -> None:
    """NULL takes the override away, and the default counts."""
    book = Book(1000, settings=replace(Settings(), debt_limit_pence=100))
    book.do(change_settings({"debt_limit_pence": 0}, key="one"))
    assert book.wallet.settings.debt_limit_pence == 0

    book.do(change_settings({"debt_limit_pence": None}, key="two"))

    assert book.wallet.settings.debt_limit_pence == 100
    assert book.wallet.overrides == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"no_such_setting": None}, "no_such_setting"),
        ({"tariff": None}, "tariff"),
        ({"a\0b": None}, "a\0b"),
        ({"debt_limit_pence": -1}, "debt_limit_pence"),
        ({"debt_limit_pence": True}, "debt_limit_pence"),
        ({"hold_minutes": 5, "cap_policy": "never"}, "cap_policy"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], field: str) -> None:
    """A change is refused by the name of what is wrong in it, and changes nothing."""
    book = Book(1000)

    with pytest.raises(InvalidCommand) as refusal:
        book.do(change_settings(changes))

    assert refusal.value.field == field
    assert (book.wallet.overrides, book.wallet.seq) == ({}, 1)


def test_a_lower_debt_limit_charges_nobody() -> None:
    """A wallet beyond its new limit is in debt still, and gets no further."""
    book = Book(1000)
    book.do(charge(1400))
    book.do(change_settings({"debt_limit_pence": 0}))

    assert book.wallet.balance_pence == -400
    assert refused(book.do(charge(1, key="more"))).fields["amount_over_limit_pence"] == 401


def test_time_never_goes_back() -> None:
    """A row is never earlier than the one before, whatever the clock says."""
    book = Book(1000)
    book.pass_time(seconds=60)
    first = entered(book.do(reserve()))
    book.now_ms -= 30_000

    assert entered(book.do(release())).at_ms == first.at_ms
