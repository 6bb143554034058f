"""Idempotency: the table of SPEC §4, row by row, for every command that has a key."""

import pytest

from wallet_engine.commands import Command, Proof
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.settings import Settings
from wallet_testing.book import Book, entered, refused, replayed
from wallet_testing.builders import (
    buy,
    change_settings,
    charge,
    commit,
    credit,
    extend,
    heard,
    kill,
    release,
    reserve,
    resume,
    suspend,
)

LIVE = "live"
"""A call with a hold, in the wallet of each case."""

REPEATABLE: dict[str, tuple[Command, Command]] = {
    # verb: what is asked, and another request under the same key
    "reserve": (reserve(), reserve(minutes=6)),
    "extend": (extend(LIVE, seconds=60, key="k"), extend(LIVE, seconds=61, key="k")),
    "commit": (commit(LIVE, seconds=60), commit(LIVE, seconds=61)),
    "commit pence": (commit(LIVE, pence=60), commit(LIVE, seconds=60)),
    "commit unknown": (commit("new", seconds=60), commit("new", seconds=61)),
    "kill": (kill(LIVE, key="k"), kill(LIVE, key="k", reason="other")),
    "charge": (charge(10, key="k"), charge(11, key="k")),
    "buy": (buy(10, key="k"), charge(10, key="k")),
    "credit": (credit(10, key="k"), credit(10, key="k", description="other")),
    "suspend": (suspend(key="k"), resume(key="k", reason="unpaid")),
    "resume": (resume(key="k"), resume(key="k", reason="other")),
    "settings": (
        change_settings({"hold_minutes": 6}, key="k"),
        change_settings({"hold_minutes": 7}, key="k"),
    ),
    "another verb": (credit(10, key="k"), charge(10, key="k")),
    "another call": (kill(LIVE, key="k"), kill("other", key="k")),
}

FROM_WEBHOOKS: dict[str, tuple[Command, Command]] = {
    "reserve": (reserve(strict=False), reserve(minutes=6, strict=False)),
    "commit": (heard(LIVE, seconds=60), heard(LIVE, seconds=61)),
    "ended again": (
        heard(LIVE, seconds=60, proof=Proof.ENDED),
        heard(LIVE, seconds=600, proof=Proof.ENDED),
    ),
}

POOR: dict[str, Command] = {
    "reserve": reserve(),
    "extend": extend(LIVE, pence=500, key="k"),
    "charge": charge(10_000, key="k"),
    "buy": buy(1000, key="k"),
}

every_command = pytest.mark.parametrize("pair", REPEATABLE.values(), ids=REPEATABLE.keys())


def book_with_a_live_call(balance_pence: int = 1000) -> Book:
    book = Book(balance_pence)
    entered(book.do(reserve(LIVE)))
    return book


def spoil(book: Book) -> None:
    """Make the wallet one in which nothing new would be decided with success."""
    book.fleet_stopped = True
    book.wallet.suspended = True
    book.wallet.settings = Settings(prepaid_billing=False)
    book.wallet.balance_pence = -(10**6)


@every_command
def test_a_key_never_seen(pair: tuple[Command, Command]) -> None:
    """It is decided now, and the answer says that it is no duplicate."""
    answer = book_with_a_live_call().ask(pair[0])

    assert answer.outcome is Outcome.CREATED
    assert answer.body["duplicate"] is False


@every_command
def test_the_same_request_again(pair: tuple[Command, Command]) -> None:
    """The first answer again, with `duplicate` true, and nothing changes."""
    book = book_with_a_live_call()
    first = book.ask(pair[0])
    seq, balance, held = book.wallet.seq, book.wallet.balance_pence, book.wallet.held_pence

    for _ in range(3):
        again = book.ask(pair[0])
        assert again.outcome is Outcome.REPEATED
        assert again.body == {**first.body, "duplicate": True}
    assert (book.wallet.seq, book.wallet.balance_pence) == (seq, balance)
    assert book.wallet.held_pence == held


@every_command
def test_the_key_comes_before_every_rule(pair: tuple[Command, Command]) -> None:
    """A replay of a success is a success, even when the wallet is empty and stopped by now."""
    book = book_with_a_live_call()
    first = entered(book.do(pair[0]))
    spoil(book)

    assert replayed(book.do(pair[0])) == first


@every_command
def test_the_same_key_for_another_request(pair: tuple[Command, Command]) -> None:
    """It is refused, says what the key was used for, and nothing changes."""
    book = book_with_a_live_call()
    first = entered(book.do(pair[0]))
    balance, held = book.wallet.balance_pence, book.wallet.held_pence

    refusal = refused(book.do(pair[1]))

    assert refusal.code == RefusalCode.KEY_REUSE
    assert refusal.fields == {"first_seq": first.seq, "first_type": first.type}
    assert (book.wallet.seq, book.wallet.balance_pence) == (first.seq, balance)
    assert book.wallet.held_pence == held


@every_command
def test_key_reuse_comes_before_every_rule(pair: tuple[Command, Command]) -> None:
    """Another request is refused for its key, not for the state of the wallet."""
    book = book_with_a_live_call()
    book.do(pair[0])
    spoil(book)

    assert refused(book.do(pair[1])).code == RefusalCode.KEY_REUSE


@pytest.mark.parametrize("command", POOR.values(), ids=POOR.keys())
def test_a_refusal_burns_no_key(command: Command) -> None:
    """Nothing is stored for it: the same key succeeds after a top-up."""
    book = book_with_a_live_call(300)
    refused(book.do(command))
    refused(book.do(command))
    assert command.key not in book.keys
    assert book.wallet.seq == 2
    book.do(credit(20_000, key="topup"))

    answer = book.ask(command)

    assert answer.body["duplicate"] is False


@pytest.mark.parametrize("command", POOR.values(), ids=POOR.keys())
def test_a_refused_key_is_free_for_another_request(command: Command) -> None:
    """What was refused under a key was never asked, as far as the key is concerned."""
    book = book_with_a_live_call(300)
    refused(book.do(command))

    if command.key.startswith("client:"):
        entered(book.do(credit(1, key="k")))
    else:
        entered(book.do(release()))


@pytest.mark.parametrize("pair", FROM_WEBHOOKS.values(), ids=FROM_WEBHOOKS.keys())
def test_a_webhook_repeats_with_other_numbers(pair: tuple[Command, Command]) -> None:
    """The first stands, and the answer is a duplicate, not an error."""
    book = book_with_a_live_call()
    first = entered(book.do(pair[0]))

    assert replayed(book.do(pair[1])) == first


def test_an_extension_without_a_key_is_a_new_one() -> None:
    """Its key is derived from how often the call was extended, so each is decided."""
    book = book_with_a_live_call()

    keys = [entered(book.do(extend(LIVE, seconds=60))).key for _ in range(2)]

    assert keys == ["extend:live:1", "extend:live:2"]


def test_keys_are_per_org() -> None:
    """The same key in two wallets is two keys."""
    one, other = Book(100), Book(100)

    assert entered(one.do(charge(1, key="k")))
    assert entered(other.do(charge(2, key="k")))


def test_a_dry_run_and_its_deed_ask_the_same() -> None:
    """The deed may follow under the key of its rehearsal, and a rehearsal after it replays."""
    book = Book(1000)
    first = entered(book.do(charge(10, key="k")))

    assert replayed(book.do(charge(10, key="k", dry_run=True))) == first
