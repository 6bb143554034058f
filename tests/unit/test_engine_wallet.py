"""The wallet: how a row of the journal changes it, and that no other row can."""

from typing import Any

import pytest

from wallet_engine.settings import Settings
from wallet_engine.wallet import Entry, Wallet, evolve, note_start
from wallet_testing.book import Book, entered, seen
from wallet_testing.builders import (
    CALL,
    ORG,
    T0_MS,
    change_settings,
    charge,
    commit,
    credit,
    reserve,
    resume,
    suspend,
)


def fresh() -> Wallet:
    return Wallet(org_id=ORG, settings=Settings(), defaults=Settings())


def credited() -> Entry:
    return entered(Book().do(credit(100)))


def test_a_row_brings_its_state() -> None:
    """Balance, held sum, holds, time and seq are those after the row."""
    book = Book(1000)
    wallet = fresh()

    for command in (reserve(), charge(10), suspend(), change_settings({"hold_minutes": 6})):
        entered(book.do(command))
    for entry in book.journal:
        assert evolve(wallet, entry) is wallet

    assert seen(wallet) == seen(book.wallet)
    assert (wallet.balance_pence, wallet.held_pence, wallet.effective_pence) == (990, 280, 710)
    assert (wallet.suspended, wallet.settings.hold_minutes) == (True, 6)


def test_a_settlement_ends_the_hold() -> None:
    """A hold that is no longer live leaves the wallet, and its clock with it."""
    book = Book(1000)
    book.do(reserve())
    book.start()
    book.do(commit(seconds=1))

    assert book.wallet.holds == {}


def test_a_resumed_wallet_is_not_suspended() -> None:
    """The last word counts."""
    book = Book(1000)
    book.do(suspend())
    book.do(resume())

    assert book.wallet.suspended is False


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"seq": 2}, "without gaps"),
        ({"seq": 0}, "without gaps"),
        ({"balance_before_pence": 1}, "continues the one before"),
        ({"held_after_pence": 1}, None),
        ({"held_delta_pence": -1, "held_after_pence": -1}, "than was set aside"),
    ],
    ids=["gap", "again", "balance", "held sum", "held below zero"],
)
def test_rows_that_do_not_follow(wrong: dict[str, Any], why: str | None) -> None:
    """A row that does not continue the one before is a bug, and changes nothing."""
    wallet = fresh()
    before = seen(wallet)

    with pytest.raises(AssertionError, match=why):
        evolve(wallet, credited()._replace(**wrong))

    assert seen(wallet) == before


def test_time_stands_still_rather_than_going_back() -> None:
    """A row of an older clock does not move the wallet's time."""
    wallet = fresh()
    wallet.last_ms = T0_MS + 5

    evolve(wallet, credited())

    assert wallet.last_ms == T0_MS + 5


def test_the_first_word_starts_the_clock() -> None:
    """A call is heard to be in progress again and again: it began when it was heard first."""
    book = Book(1000)
    book.do(reserve())
    note_start(book.wallet, CALL, T0_MS + 5_000)
    note_start(book.wallet, CALL, T0_MS + 9_000)

    assert book.wallet.started_ms(book.hold_of()) == T0_MS + 5_000


def test_until_then_the_clock_runs_from_admission() -> None:
    """A call that was not heard yet may be talking already."""
    book = Book(1000)
    book.do(reserve())

    assert book.wallet.started_ms(book.hold_of()) == T0_MS


def test_a_call_that_is_not_live_has_no_clock() -> None:
    """A late word about an unknown or ended call is dropped, not remembered for ever."""
    book = Book(1000)

    note_start(book.wallet, "unknown", T0_MS)

    assert book.wallet.started == {}
