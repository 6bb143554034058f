"""Rules of calls that end otherwise: release, expiry, kill.  In the order of SPEC §3."""

import pytest

from wallet_engine.commands import Command
from wallet_engine.journal import RefusalCode
from wallet_engine.settings import Settings
from wallet_engine.wallet import HoldStatus
from wallet_testing.book import Book, entered, refused, replayed
from wallet_testing.builders import (
    CALL,
    commit,
    expire,
    kill,
    release,
    reserve,
    suspend,
)


def held(balance_pence: int = 1000) -> Book:
    """Return a wallet with one live call on a hold of 280 pence."""
    book = Book(balance_pence)
    entered(book.do(reserve()))
    return book


# --- release -------------------------------------------------------------------------------


def test_a_release_frees_the_hold() -> None:
    """All of it, and nothing is charged."""
    book = held()

    body = book.ask(release()).body

    assert (body["released_pence"], body["charged_pence"]) == (280, 0)
    assert (book.wallet.balance_pence, book.wallet.effective_pence) == (1000, 1000)
    assert book.hold_of().status is HoldStatus.RELEASED


def test_a_release_of_an_unknown_call() -> None:
    """A cancel may arrive before the write that it cancels: the hold can open no more."""
    book = Book(1000)

    entry = entered(book.do(release()))

    assert (entry.type, entry.held_delta_pence) == ("reservation_release", 0)
    assert refused(book.do(reserve())).code == RefusalCode.CALL_ENDED
    assert book.wallet.held_pence == 0


@pytest.mark.parametrize("first", [commit(seconds=60), commit(seconds=0)])
def test_a_settled_call_is_not_released(first: Command) -> None:
    """There is nothing left to free."""
    book = held()
    book.do(first)

    assert refused(book.do(release())).code == RefusalCode.CALL_ENDED


def test_a_killed_call_can_be_released() -> None:
    """A call that was told to end before it connected costs nothing."""
    book = held()
    book.do(kill())

    assert entered(book.do(release())).held_delta_pence == -280


def test_a_suspended_wallet_releases() -> None:
    """Suspension stops new holds, not the freeing of old ones."""
    book = held()
    book.do(suspend())

    assert entered(book.do(release())).held_delta_pence == -280


# --- expiry --------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_ms", "expires"), [(1_799_999, False), (1_800_000, True)])
def test_a_hold_expires_at_its_time(after_ms: int, expires: bool) -> None:
    """Not a millisecond before, and then it frees the money and charges nothing."""
    book = held()
    book.now_ms += after_ms

    decision = book.do(expire())

    if expires:
        assert entered(decision).held_delta_pence == -280
        assert book.hold_of().status is HoldStatus.EXPIRED
        assert book.wallet.balance_pence == 1000
    else:
        assert refused(decision)
        assert book.wallet.held_pence == 280


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ([], RefusalCode.UNKNOWN_CALL),
        ([reserve(), commit(seconds=1)], RefusalCode.CALL_ENDED),
        ([reserve(), release()], RefusalCode.CALL_ENDED),
    ],
    ids=["unknown", "settled", "released"],
)
def test_what_does_not_expire(first: list[Command], code: RefusalCode) -> None:
    """Only a live hold can."""
    book = Book(1000)
    for command in first:
        book.do(command)
    book.pass_time(seconds=3600)

    assert refused(book.do(expire())).code == code


def test_an_expired_call_is_not_admitted_again() -> None:
    """Its id answers as the first time; a new hold is not opened for it."""
    book = held()
    book.pass_time(seconds=1800)
    book.do(expire())

    assert replayed(book.do(reserve())).type == "reservation"
    assert book.wallet.held_pence == 0


# --- kill ----------------------------------------------------------------------------------


def test_a_kill_is_journaled() -> None:
    """The decision moves no money: the call goes on until it ends, and is charged then."""
    book = held()

    entry = entered(book.do(kill(reason="fraud")))

    assert (entry.type, entry.amount_pence, entry.held_delta_pence) == ("call_kill", 0, 0)
    assert entry.call_id == CALL
    assert book.hold_of().killed
    assert book.hold_of().kill_reason == "fraud"
    assert (book.wallet.balance_pence, book.wallet.held_pence) == (1000, 280)


@pytest.mark.parametrize("key", [None, "kill-1"])
def test_a_kill_of_an_unknown_call(key: str | None) -> None:
    """It may be on its way here: then it is not admitted."""
    book = Book(1000)

    entry = entered(book.do(kill(key=key)))

    assert entry.type == "call_kill"
    assert refused(book.do(reserve())).code == RefusalCode.CALL_ENDED


@pytest.mark.parametrize("key", [None, "kill-1"])
@pytest.mark.parametrize("first", [commit(seconds=1), release()])
def test_a_call_that_ended_is_not_killed(key: str | None, first: Command) -> None:
    """There is nobody to tell."""
    book = held()
    book.do(first)

    assert refused(book.do(kill(key=key))).code == RefusalCode.CALL_ENDED


def test_the_first_reason_stays() -> None:
    """A second operator who kills the call is answered, and does not rewrite why."""
    book = held()
    book.do(kill(key="one", reason="fraud"))

    entry = entered(book.do(kill(key="two", reason="other")))

    assert entry.type == "call_kill"
    assert book.hold_of().kill_reason == "fraud"


def test_the_engine_kills_once() -> None:
    """Once a call was told to end, the engine's own reasons add nothing."""
    book = held()
    book.do(kill(key="operator"))

    assert refused(book.do(kill(reason="money"))).code == RefusalCode.CALL_ENDED
    assert [entry.type for entry in book.journal].count("call_kill") == 1


def test_a_killed_hold_waits_for_its_expiry() -> None:
    """Its money stays set aside until the end is proved, or the hold is abandoned."""
    book = Book(1000, settings=Settings(hold_expiry_minutes=60))
    book.do(reserve(managed=True))
    book.do(kill())

    assert book.hold_of().due_ms == book.hold_of().opened_ms + 5000
    book.pass_time(seconds=3600)
    assert entered(book.do(expire())).held_delta_pence == -280
