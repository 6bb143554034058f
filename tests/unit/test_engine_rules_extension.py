"""Rules of extension: by other systems, and by the engine itself.  In the order of SPEC §3."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from wallet_engine.commands import Command
from wallet_engine.journal import RefusalCode
from wallet_engine.settings import CapPolicy, Settings
from wallet_testing.book import Book, entered, refused
from wallet_testing.builders import (
    BY_SECOND,
    admit,
    commit,
    credit,
    extend,
    kill,
    prolong,
    release,
    reserve,
    suspend,
)

BY_THE_SECOND = Settings(first_increment_seconds=1, increment_seconds=1)


def managed(balance_pence: int, settings: Settings) -> Book:
    """Return a wallet with one managed call, whose cap is not made of its money."""
    book = Book(balance_pence, settings=replace(settings, cap_policy=CapPolicy.MAX_CALL))
    entered(book.do(admit()))
    return book


# --- extension by others -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "delta", "paid"),
    [
        (extend(seconds=1), 56, 360),
        (extend(seconds=60), 56, 360),
        (extend(seconds=61), 112, 420),
        (extend(seconds=300), 280, 600),
        (extend(pence=1), 1, 300),
        (extend(pence=56), 56, 360),
        (extend(pence=720), 720, 1020),
    ],
)
def test_an_extension_by_others(command: Command, delta: int, paid: int) -> None:
    """It adds what so many seconds more cost, or the pence, and says what is paid for now."""
    book = Book(1000)
    book.do(reserve())

    answer = book.ask(command)

    assert answer.body["extended_pence"] == delta
    assert answer.body["paid_seconds"] == paid
    assert book.wallet.held_pence == 280 + delta


@pytest.mark.parametrize(("balance", "fits"), [(336, True), (335, False)])
def test_an_extension_must_be_paid(balance: int, fits: bool) -> None:
    """It comes out of the effective balance, to the penny, and never out of debt."""
    book = Book(balance)
    book.do(reserve())

    decision = book.do(extend(seconds=60))

    if fits:
        assert entered(decision).held_delta_pence == 56
    else:
        assert refused(decision).fields["deficit_pence"] == 1


def test_an_extension_by_others_lifts_the_cap() -> None:
    """Their call outlives what it began with, so the hold may not expire under it."""
    book = Book(10_000)
    book.do(reserve())
    before = book.hold_of()

    book.do(extend(seconds=3300))

    assert book.hold_of().paid_seconds == 3600
    assert book.hold_of().max_duration_seconds == 3600
    assert book.hold_of().expires_ms - before.opened_ms == 3_660_000
    assert book.hold_of().due_ms == book.hold_of().expires_ms


def test_an_extension_by_others_of_a_managed_call() -> None:
    """The cap that Vapi was given stands: a call at its cap can be paid for no longer."""
    book = Book(10_000, settings=Settings(max_call_seconds=300))
    book.do(admit())

    assert refused(book.do(extend(seconds=60))).code == RefusalCode.CALL_ENDED


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda book: book.do(release()), RefusalCode.CALL_ENDED),
        (lambda book: book.do(commit(seconds=1)), RefusalCode.CALL_ENDED),
        (lambda book: book.do(suspend()), RefusalCode.WALLET_SUSPENDED),
        (lambda book: book.do(kill()), RefusalCode.CALL_ENDED),
    ],
    ids=["released", "settled", "suspended", "killed"],
)
@pytest.mark.parametrize("command", [extend(seconds=60), prolong()], ids=["extend", "prolong"])
def test_what_is_not_extended(
    command: Command, spoil: Callable[[Book], object], code: RefusalCode
) -> None:
    """Neither a call that ended, or was told to, nor any call of a suspended wallet."""
    book = Book(1000)
    book.do(admit())
    spoil(book)

    assert refused(book.do(command)).code == code


@pytest.mark.parametrize("command", [extend(seconds=60), prolong()], ids=["extend", "prolong"])
def test_an_unknown_call_is_not_extended(command: Command) -> None:
    """There is no hold to enlarge."""
    assert refused(Book(1000).do(command)).code == RefusalCode.UNKNOWN_CALL


# --- extension by the engine ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "settings", "delta", "paid"),
    [
        (336, Settings(), 56, 360),
        (1000, Settings(), 56, 360),
        (1000, Settings(increment_seconds=30), 56, 360),
        (1000, Settings(increment_seconds=180, first_increment_seconds=180), 168, 540),
        (1000, BY_THE_SECOND, 56, 360),
        (281, BY_THE_SECOND, 1, 301),
        (310, BY_THE_SECOND, 30, 332),
        (309, Settings(increment_seconds=30), 28, 330),
    ],
)
def test_a_managed_hold_grows(balance: int, settings: Settings, delta: int, paid: int) -> None:
    """By an increment or 60 s, whichever is more, or by single increments if that is all."""
    entry = entered(managed(balance, settings).do(prolong()))

    assert entry.held_delta_pence == delta
    assert entry.hold is not None
    assert entry.hold.paid_seconds == paid


@pytest.mark.parametrize(
    ("balance", "settings", "deficit"),
    [(280, Settings(), 56), (335, Settings(), 1), (280, BY_THE_SECOND, 1)],
)
def test_a_final_hold(balance: int, settings: Settings, deficit: int) -> None:
    """When not even one more increment can be afforded, the hold stays as it is."""
    refusal = refused(managed(balance, settings).do(prolong()))

    assert refusal.code == RefusalCode.INSUFFICIENT_CREDITS
    assert refusal.fields["deficit_pence"] == deficit


def test_a_credit_makes_a_final_hold_grow() -> None:
    """It is not final for ever: money that comes in prolongs the call."""
    book = managed(280, Settings())
    refused(book.do(prolong()))
    book.do(credit(56))

    assert entered(book.do(prolong())).held_delta_pence == 56


def test_a_hold_grows_up_to_the_cap() -> None:
    """What Vapi was told is the end: more money buys no more time."""
    book = Book(10_000, settings=Settings(max_call_seconds=400))
    book.do(admit())

    grown = [entered(book.do(prolong())).held_delta_pence for _ in range(2)]

    assert grown == [56, 56]
    assert book.ask(prolong()).body["code"] == "call_ended"


def test_the_last_extension_is_cut_to_the_cap() -> None:
    """No second beyond it is set aside."""
    book = managed(10_000, replace(BY_THE_SECOND, max_call_seconds=330))

    assert entered(book.do(prolong())).held_delta_pence == 28
    assert book.hold_of().paid_seconds == 330


def test_two_calls_share_one_balance() -> None:
    """What one extension takes is not there for the other."""
    book = Book(280 + 280 + 56, settings=Settings(cap_policy=CapPolicy.MAX_CALL))
    book.do(admit("a"))
    book.do(admit("b"))

    assert entered(book.do(prolong("a"))).held_delta_pence == 56
    assert refused(book.do(prolong("b"))).code == RefusalCode.INSUFFICIENT_CREDITS
    assert book.wallet.effective_pence == 0


def test_by_the_second_a_hold_pays_to_the_second() -> None:
    """A managed hold at 1/1 pays for exactly what its pence afford."""
    book = managed(79, BY_THE_SECOND)

    assert book.hold_of().tariff == BY_SECOND
    assert book.hold_of().paid_seconds == 84
