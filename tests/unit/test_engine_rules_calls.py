"""Rules of admission: may this call start, on how much, for how long.  In the order of SPEC §3."""

import pytest

from wallet_engine.commands import Command
from wallet_engine.deadlines import CAP_GRACE_MS
from wallet_engine.journal import RefusalCode
from wallet_engine.settings import CapPolicy, Settings
from wallet_testing.book import Book, entered, refused, replayed
from wallet_testing.builders import (
    T0_MS,
    charge,
    commit,
    release,
    reserve,
    suspend,
)

BY_THE_SECOND = Settings(first_increment_seconds=1, increment_seconds=1)


def spoilt(*problems: str) -> Book:
    """Return a wallet in which an admission fails for each of `problems`."""
    book = Book(
        1000 if "money" not in problems else 280 + 78,
        settings=Settings(
            prepaid_billing="feature" not in problems,
            max_concurrent_calls=1 if "concurrency" in problems else 0,
        ),
    )
    if "concurrency" in problems or "money" in problems:
        spoilt_settings = book.wallet.settings
        book.wallet.settings = Settings()
        entered(book.do(reserve("another")))
        book.wallet.settings = spoilt_settings
    if "ended" in problems:
        entered(book.do(commit(seconds=0)))
    if "suspended" in problems:
        entered(book.do(suspend()))
    book.fleet_stopped = "fleet" in problems
    return book


EVERY_PROBLEM = ("ended", "feature", "suspended", "fleet", "concurrency", "money")


@pytest.mark.parametrize(
    ("problems", "code"),
    [
        (EVERY_PROBLEM, RefusalCode.CALL_ENDED),
        (EVERY_PROBLEM[1:], RefusalCode.FEATURE_DISABLED),
        (EVERY_PROBLEM[2:], RefusalCode.WALLET_SUSPENDED),
        (EVERY_PROBLEM[3:], RefusalCode.WALLET_SUSPENDED),
        (EVERY_PROBLEM[4:], RefusalCode.CONCURRENCY_LIMIT),
        (EVERY_PROBLEM[5:], RefusalCode.INSUFFICIENT_CREDITS),
    ],
    ids=EVERY_PROBLEM,
)
def test_the_order_of_admission(problems: tuple[str, ...], code: RefusalCode) -> None:
    """Of all that stands against a call, the first in the order of SPEC §3 is told."""
    assert refused(spoilt(*problems).do(reserve())).code == code


def test_an_admission_without_problems() -> None:
    """The wallet of the table above admits the call when nothing is wrong with it."""
    assert entered(spoilt().do(reserve())).type == "reservation"


def test_a_call_that_was_admitted_is_admitted() -> None:
    """A call id seen before answers as the first time did, before anything else is looked at."""
    book = Book(1000)
    first = entered(book.do(reserve()))
    book.do(commit(seconds=1))
    book.do(suspend())
    book.fleet_stopped = True
    book.wallet.settings = Settings(prepaid_billing=False)

    assert replayed(book.do(reserve())) == first


@pytest.mark.parametrize(
    ("balance", "settings", "required"),
    [
        (78, Settings(), 79),
        (79, Settings(), None),
        (99, Settings(rate_pence_per_minute=100), 100),
        (100, Settings(rate_pence_per_minute=100), None),
        (111, Settings(first_increment_seconds=120), 112),
        (112, Settings(first_increment_seconds=120), None),
        (0, Settings(min_call_balance_pence=0), 56),
        (55, Settings(min_call_balance_pence=0), 56),
        (56, Settings(min_call_balance_pence=0), None),
        (-1, Settings(min_call_balance_pence=0, rate_pence_per_minute=0), 0),
        (0, Settings(min_call_balance_pence=0, rate_pence_per_minute=0), None),
    ],
)
def test_what_an_admission_needs(balance: int, settings: Settings, required: int | None) -> None:
    """The minimum, or the first increment if that costs more, out of the effective balance."""
    book = Book(balance + 100, settings=settings)
    book.do(charge(100))

    decision = book.do(reserve())

    if required is None:
        assert entered(decision).hold is not None
    else:
        assert refused(decision).fields == {
            "current_balance_pence": balance,
            "effective_balance_pence": balance,
            "required_pence": required,
            "deficit_pence": required - balance,
        }


def test_money_that_is_held_admits_nobody() -> None:
    """What counts is the effective balance: the next call may not start on held money."""
    book = Book(280 + 78)
    book.do(reserve("a"))

    refusal = refused(book.do(reserve("b")))

    assert refusal.fields["current_balance_pence"] == 358
    assert refusal.fields["effective_balance_pence"] == 78
    assert refusal.fields["deficit_pence"] == 1


@pytest.mark.parametrize("debt_limit", [0, 500, 10**12])
def test_the_debt_limit_admits_nobody(debt_limit: int) -> None:
    """It covers the overrun of calls that were admitted, and plays no part in admission."""
    book = Book(78, settings=Settings(debt_limit_pence=debt_limit))

    assert refused(book.do(reserve())).code == RefusalCode.INSUFFICIENT_CREDITS


@pytest.mark.parametrize(("cap", "live", "admitted"), [(0, 3, True), (3, 3, False), (4, 3, True)])
def test_the_concurrency_cap(cap: int, live: int, admitted: bool) -> None:
    """As many live calls as the cap says, and no cap means no cap."""
    book = Book(10_000, settings=Settings(max_concurrent_calls=cap))
    for number in range(live):
        entered(book.do(reserve(f"live-{number}")))

    decision = book.do(reserve())

    if admitted:
        assert entered(decision)
    else:
        assert refused(decision).fields == {"live_calls": live, "max_concurrent_calls": cap}


def test_an_ended_call_makes_room() -> None:
    """Only live calls count towards the cap."""
    book = Book(10_000, settings=Settings(max_concurrent_calls=1))
    book.do(reserve("a"))
    book.do(release("a"))

    assert entered(book.do(reserve("b")))


@pytest.mark.parametrize(
    ("balance", "command", "reserved"),
    [
        (79, reserve(), 79),
        (279, reserve(), 279),
        (280, reserve(), 280),
        (281, reserve(), 280),
        (1000, reserve(minutes=1), 56),
        (1000, reserve(minutes=10), 560),
        (500, reserve(minutes=10), 500),
        (1000, reserve(pence=1), 1),
        (1000, reserve(pence=1000), 1000),
        (1000, reserve(pence=1001), 1000),
    ],
)
def test_how_much_is_held(balance: int, command: Command, reserved: int) -> None:
    """The cost of `hold_minutes`, or what was asked for, but never more than there is."""
    book = Book(balance)

    entry = entered(book.do(command))

    assert (entry.held_delta_pence, entry.amount_pence) == (reserved, 0)
    assert book.wallet.balance_pence == balance
    assert book.wallet.effective_pence == balance - reserved


@pytest.mark.parametrize(
    ("balance", "settings", "seconds"),
    [
        (79, Settings(), 60),
        (111, Settings(), 60),
        (112, Settings(), 120),
        (300, Settings(), 300),
        (559, Settings(), 540),
        (560, Settings(), 600),
        (10_000, Settings(), 600),
        (79, BY_THE_SECOND, 84),
        (79, Settings(cap_policy=CapPolicy.MAX_CALL), 600),
        (79, Settings(cap_policy=CapPolicy.MAX_CALL, max_call_seconds=43_200), 43_200),
        (10**9, Settings(max_call_seconds=43_200), 43_200),
        (10**9, Settings(max_call_seconds=10), 10),
        (
            1,
            Settings(min_call_balance_pence=0, first_increment_seconds=1, increment_seconds=1),
            10,
        ),
    ],
)
def test_how_long_a_call_may_last(balance: int, settings: Settings, seconds: int) -> None:
    """What the effective balance affords, within the assistant's cap and what Vapi allows."""
    answer = Book(balance, settings=settings).ask(reserve())

    assert answer.body["max_duration_seconds"] == seconds


def test_a_hold_carries_its_tariff() -> None:
    """A call costs what was agreed when it began, whatever is set meanwhile."""
    book = Book(1000)
    book.do(reserve())
    book.wallet.settings = Settings(rate_pence_per_minute=1000)

    assert book.ask(commit(seconds=60)).body["charged_pence"] == 56


@pytest.mark.parametrize(
    ("expiry_minutes", "cap_seconds", "expires_s"),
    [(30, 600, 1800), (30, 1740, 1800), (30, 1741, 1801), (1, 600, 660), (30, 43_200, 43_260)],
)
def test_when_a_hold_expires(expiry_minutes: int, cap_seconds: int, expires_s: int) -> None:
    """After `hold_expiry_minutes`, but never before its own cap and a minute of grace."""
    settings = Settings(hold_expiry_minutes=expiry_minutes, max_call_seconds=cap_seconds)
    book = Book(10**9, settings=settings)
    book.do(reserve())

    assert book.hold_of().expires_ms - T0_MS == expires_s * 1000
    assert CAP_GRACE_MS == 60_000
