"""Rules of calls that ended: settlement, correction.  In the order of SPEC §3."""

from collections.abc import Callable

import pytest

from wallet_engine.commands import Command, CreditType, Proof
from wallet_engine.journal import RefusalCode
from wallet_engine.settings import Settings
from wallet_engine.wallet import HoldStatus
from wallet_testing.book import Book, entered, refused, replayed
from wallet_testing.builders import (
    charge,
    commit,
    credit,
    expire,
    heard,
    kill,
    release,
    reserve,
)


def held(balance_pence: int = 1000, *, debt_limit_pence: int = 500) -> Book:
    """Return a wallet with one live call on a hold of 280 pence, or of all there is."""
    book = Book(balance_pence, settings=Settings(debt_limit_pence=debt_limit_pence))
    entered(book.do(reserve()))
    return book


# --- settlement ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "charged", "released", "balance_after"),
    [
        (commit(ms=1), 56, 224, 944),
        (commit(seconds=60), 56, 224, 944),
        (commit(seconds=61), 112, 168, 888),
        (commit(ms=42_700), 56, 224, 944),
        (commit(seconds=300), 280, 0, 720),
        (commit(seconds=301), 336, 0, 664),
        (commit(seconds=600), 560, 0, 440),
        (commit(pence=1), 1, 279, 999),
        (commit(pence=280), 280, 0, 720),
        (commit(pence=281), 281, 0, 719),
    ],
)
def test_what_a_call_costs(
    command: Command, charged: int, released: int, balance_after: int
) -> None:
    """Its cost, from the hold first and beyond it from the balance; the rest is released."""
    book = held(1000)

    body = book.ask(command).body

    assert (body["charged_pence"], body["released_pence"]) == (charged, released)
    assert body["uncollected_pence"] == 0
    assert (book.wallet.balance_pence, book.wallet.held_pence) == (balance_after, 0)
    assert book.hold_of().status is HoldStatus.COMMITTED


@pytest.mark.parametrize(
    ("balance", "debt_limit", "cost", "charged", "uncollected"),
    [
        (280, 500, 280, 280, 0),
        (280, 500, 281, 281, 0),
        (280, 500, 780, 780, 0),
        (280, 500, 781, 780, 1),
        (280, 0, 280, 280, 0),
        (280, 0, 281, 280, 1),
        (300, 0, 301, 300, 1),
    ],
)
def test_how_far_a_call_may_go_into_debt(
    balance: int, debt_limit: int, cost: int, charged: int, uncollected: int
) -> None:
    """Down to the debt limit, to the penny; beyond it the remainder is written, not charged."""
    book = held(balance, debt_limit_pence=debt_limit)

    entry = entered(book.do(commit(pence=cost)))

    assert (-entry.amount_pence, entry.uncollected_pence) == (charged, uncollected)
    assert book.wallet.balance_pence == balance - charged
    assert book.wallet.balance_pence >= -debt_limit


def test_other_calls_keep_their_money() -> None:
    """An overrun comes out of the effective balance: the holds of other calls stay paid."""
    book = Book(560)
    book.do(reserve("a"))
    book.do(reserve("b"))

    entry = entered(book.do(commit("a", pence=781)))

    assert (-entry.amount_pence, entry.uncollected_pence) == (780, 1)
    assert (book.wallet.effective_pence, book.wallet.held_pence) == (-500, 280)


def test_below_the_floor_the_hold_still_pays() -> None:
    """After a clawback there is no more debt to make, but what was held is there."""
    book = held(1000)
    book.do(credit(-5000, type=CreditType.CLAWBACK))

    entry = entered(book.do(commit(seconds=301)))

    assert (-entry.amount_pence, entry.uncollected_pence) == (280, 56)


@pytest.mark.parametrize("command", [commit(seconds=0), commit(pence=0)], ids=["time", "pence"])
def test_a_call_that_never_happened(command: Command) -> None:
    """Zero seconds release the hold and charge nothing."""
    book = held(1000)

    entry = entered(book.do(command))

    assert (entry.type, entry.amount_pence, entry.held_delta_pence) == (
        "reservation_release",
        0,
        -280,
    )
    assert book.wallet.effective_pence == 1000
    assert book.hold_of().status is HoldStatus.RELEASED


@pytest.mark.parametrize(
    ("before", "held_before"),
    [
        ([], 0),
        ([reserve(), release()], 0),
        ([release()], 0),
        ([kill()], 0),
        ([reserve(), kill()], 280),
    ],
    ids=["never seen", "released", "cancelled early", "killed early", "killed"],
)
def test_a_call_that_happened_is_booked(before: list[Command], held_before: int) -> None:
    """With or without a hold, and whatever was decided about the call: its cost is charged."""
    book = Book(1000)
    for command in before:
        entered(book.do(command))
    assert book.wallet.held_pence == held_before

    entry = entered(book.do(commit(seconds=61)))

    assert (entry.type, entry.amount_pence, entry.held_delta_pence) == (
        "call_deduction",
        -112,
        -held_before,
    )
    assert book.hold_of().status is HoldStatus.COMMITTED


def test_a_call_that_expired_is_booked() -> None:
    """Late truth still wins: the money was freed, so it comes out of the balance."""
    book = held(1000)
    book.pass_time(seconds=1800)
    entered(book.do(expire()))

    entry = entered(book.do(commit(seconds=301)))

    assert (entry.amount_pence, entry.held_delta_pence) == (-336, 0)
    assert book.wallet.balance_pence == 664


def test_a_call_without_a_hold_goes_into_debt_no_further() -> None:
    """Direct billing stops at the debt limit too."""
    book = Book(100)

    entry = entered(book.do(commit(pence=601)))

    assert (-entry.amount_pence, entry.uncollected_pence) == (600, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda book: setattr(book.wallet, "suspended", True),
        lambda book: setattr(book, "fleet_stopped", True),
        lambda book: setattr(book.wallet, "settings", Settings(prepaid_billing=False)),
    ],
    ids=["suspended", "fleet", "feature"],
)
def test_nothing_stops_a_settlement(spoil: Callable[[Book], object]) -> None:
    """A suspended wallet is charged for the calls it had."""
    book = held(1000)
    spoil(book)

    assert entered(book.do(commit(seconds=60))).amount_pence == -56


# --- correction ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "later", "amount"),
    [
        (heard(seconds=60, proof=Proof.ENDED), heard(seconds=61), -56),
        (heard(seconds=61, proof=Proof.ENDED), heard(seconds=60), 56),
        (heard(seconds=60), heard(seconds=300, proof=Proof.RECONCILED), -224),
        (heard(seconds=0, proof=Proof.ENDED), heard(seconds=60), -56),
        (heard(seconds=60, proof=Proof.ENDED), heard(seconds=0), 56),
    ],
    ids=["longer", "shorter", "reconciled", "it happened", "it never happened"],
)
def test_a_better_truth_corrects_once(first: Command, later: Command, amount: int) -> None:
    """A report after `ended`, or reconciliation, makes one adjustment of the difference."""
    book = held(1000)
    before = entered(book.do(first))

    entry = entered(book.do(later))

    assert (entry.type, entry.key) == ("adjustment", "adjust:call-1")
    assert (entry.amount_pence, entry.held_delta_pence) == (amount, 0)
    assert book.wallet.balance_pence == before.balance_after_pence + amount
    assert book.hold_of().committed_pence == 1000 - book.wallet.balance_pence


@pytest.mark.parametrize(
    "later",
    [
        heard(seconds=300, proof=Proof.ENDED),
        heard(seconds=300, proof=Proof.REPORT),
        heard(seconds=59, proof=Proof.RECONCILED),
        heard(seconds=60, proof=Proof.RECONCILED),
    ],
    ids=["worse", "as good", "costs the same", "says the same"],
)
def test_what_corrects_nothing(later: Command) -> None:
    """The first proof wins over its equals, and what costs the same is no correction."""
    book = held(1000)
    first = entered(book.do(heard(seconds=60)))

    assert replayed(book.do(later)) == first
    assert book.wallet.balance_pence == 944


def test_at_most_one_correction() -> None:
    """The best proof comes too late if another one has corrected already."""
    book = held(1000)
    first = entered(book.do(heard(seconds=60, proof=Proof.ENDED)))
    entered(book.do(heard(seconds=61, proof=Proof.REPORT)))

    assert replayed(book.do(heard(seconds=300, proof=Proof.RECONCILED))) == first
    assert book.wallet.balance_pence == 1000 - 112


def test_an_api_corrects_nothing() -> None:
    """From `/v1` other numbers are an error, whatever the proof."""
    book = held(1000)
    book.do(commit(seconds=60, proof=Proof.ENDED))

    refusal = refused(book.do(commit(seconds=61, proof=Proof.RECONCILED)))

    assert refusal.code == RefusalCode.KEY_REUSE
    assert book.wallet.balance_pence == 944


@pytest.mark.parametrize(
    ("balance", "first_s", "later_s", "amount", "uncollected"),
    [
        (280, 780, 840, -52, 4),
        (280, 840, 900, 0, 56),
        (280, 900, 840, 0, -56),
        (280, 900, 780, 52, -60),
        (280, 900, 0, 780, -60),
    ],
    ids=["to the limit", "beyond it", "waived", "waived, then paid back", "all paid back"],
)
def test_a_correction_at_the_debt_limit(
    balance: int, first_s: int, later_s: int, amount: int, uncollected: int
) -> None:
    """More is charged down to the limit only; less is first taken off what was not collected."""
    book = held(balance)
    book.do(heard(seconds=first_s, proof=Proof.ENDED))

    entry = entered(book.do(heard(seconds=later_s)))

    assert (entry.amount_pence, entry.uncollected_pence) == (amount, uncollected)
    assert book.wallet.balance_pence >= -500
    settled = book.hold_of()
    assert settled.committed_pence + settled.uncollected_pence == settled.settled_cost_pence


def test_a_direct_charge_is_no_settlement() -> None:
    """A deduction of class `call` belongs to no call, so the call is charged beside it."""
    book = held(1000)
    book.do(charge(56))
    book.do(commit(seconds=60))

    assert book.wallet.balance_pence == 1000 - 56 - 56
