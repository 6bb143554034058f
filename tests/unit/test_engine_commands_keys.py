"""Keys and fingerprints: what names a command, and what tells two of one name apart."""

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.commands import AssetType, CallCommand, Command, CreditType, Proof
from wallet_testing.book import Book, entered
from wallet_testing.builders import (
    buy,
    change_settings,
    charge,
    commit,
    credit,
    expire,
    extend,
    heard,
    kill,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)
from wallet_testing.repeatable import repeatable

SAME_CALL: list[tuple[Command, str]] = [
    (reserve(), "reserve:call-1"),
    (commit(seconds=1), "commit:call-1"),
    (release(), "release:call-1"),
    (expire(), "expire:call-1"),
    (kill(), "kill:call-1"),
    (kill(key="k"), "client:k"),
    (extend(seconds=60, key="k"), "client:k"),
    (charge(1, key="k"), "client:k"),
    (credit(1, key="k"), "client:k"),
    (suspend(key="k"), "client:k"),
    (resume(key="k"), "client:k"),
    (change_settings({}, key="k"), "client:k"),
]

DIFFERENT: dict[str, list[Command]] = {
    "reserve": [reserve(), reserve(minutes=5), reserve(minutes=6), reserve(pence=5)],
    "extend": [
        extend(seconds=60),
        extend(seconds=61),
        extend(pence=60),
        extend("call-2", seconds=60),
    ],
    "commit": [commit(seconds=60), commit(ms=60_001), commit(pence=60_000), commit(pence=60)],
    "kill": [kill(), kill(reason="other"), kill("call-2")],
    "deduct": [
        charge(1),
        charge(2),
        charge(1, description="d"),
        buy(1),
        buy(1, type=AssetType.SMS),
        buy(1, description="d"),
    ],
    "credit": [
        credit(1),
        credit(2),
        credit(1, type=CreditType.BONUS),
        credit(1, description="d"),
    ],
    "suspend": [suspend(), suspend(reason="other"), resume(), resume(reason="other")],
    "settings": [
        change_settings({}),
        change_settings({"hold_minutes": 5}),
        change_settings({"hold_minutes": 6}),
        change_settings({"hold_minutes": None}),
        change_settings({"hold_minutes": 5, "max_call_seconds": 60}),
    ],
    "one key, many verbs": [
        charge(1, key="k"),
        credit(1, key="k"),
        suspend(key="k"),
        resume(key="k", reason="unpaid"),
        change_settings({}, key="k"),
        kill(key="k"),
        extend(seconds=60, key="k"),
    ],
}

EQUAL: dict[str, tuple[Command, Command]] = {
    "reserve": (reserve(managed=True), reserve(strict=False, give_back=True)),
    "reserve elsewhere": (reserve(org_id="a"), reserve(org_id="b")),
    "extend": (extend(seconds=60, key="a"), extend(seconds=60, key="b")),
    "commit": (commit(seconds=60), heard(seconds=60, proof=Proof.RECONCILED)),
    "commit dry": (commit(seconds=60), commit(seconds=60, dry_run=True)),
    "deduct": (charge(1, key="a"), charge(1, key="b", dry_run=True)),
    "settings": (
        change_settings({"hold_minutes": 5, "max_call_seconds": 60}),
        change_settings({"max_call_seconds": 60, "hold_minutes": 5}),
    ),
    "settings with prices": (
        change_settings({"asset_prices": {"did": 1, "sms": 2}}),
        change_settings({"asset_prices": {"sms": 2, "did": 1}}),
    ),
}

call_ids = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20
)
of_a_call: dict[str, Callable[[str], Command]] = {
    "reserve": reserve,
    "commit": lambda call_id: commit(call_id, seconds=1),
    "release": release,
    "expire": expire,
    "kill": kill,
}


@pytest.mark.parametrize(("command", "key"), SAME_CALL)
def test_what_a_command_is_stored_under(command: Command, key: str) -> None:
    """A verb and its call, or the caller's key in the space of callers."""
    assert command.key == key


@pytest.mark.parametrize("command", [extend(seconds=60), prolong()])
def test_an_extension_is_named_when_it_is_decided(command: Command) -> None:
    """Without a caller's key an extension is the next one of its call, so the rules name it."""
    assert command.key == ""


@repeatable
@given(call_id=call_ids, other=call_ids)
def test_derived_keys_never_meet(call_id: str, other: str) -> None:
    """Two verbs, or two calls, never share a key, whatever the calls are named."""
    keys = [make(one).key for make in of_a_call.values() for one in {call_id, other}]

    assert len(set(keys)) == len(keys)


@repeatable
@given(client_key=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1))
def test_key_spaces_never_meet(client_key: str) -> None:
    """No key of a caller is one that the engine derives: `reserve:call-1` is just a text."""
    derived = {make("call-1").key for make in of_a_call.values()} | {"extend:call-1:1"}
    command = credit(1, key=client_key[:255])

    assert command.key not in derived
    assert not any(command.key.startswith(f"{verb}:") for verb in of_a_call)


def test_a_caller_cannot_take_a_derived_key() -> None:
    """A credit under the text of a hold's key leaves that hold its own."""
    book = Book(1000)
    book.do(credit(1, key="reserve:call-1"))
    book.do(credit(1, key="extend:call-1:1"))

    assert entered(book.do(reserve())).key == "reserve:call-1"
    assert entered(book.do(extend(seconds=60))).key == "extend:call-1:1"


def test_extensions_are_counted_whoever_names_them() -> None:
    """One under a caller's key takes its number too, so the next derived key is free."""
    book = Book(1000)
    book.do(reserve())

    keys = [
        entered(book.do(command)).key
        for command in (
            extend(seconds=60),
            extend(seconds=60, key="mine"),
            extend(seconds=60),
        )
    ]

    assert keys == ["extend:call-1:1", "client:mine", "extend:call-1:3"]


@pytest.mark.parametrize("commands", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_fingerprints_differ_with_what_is_asked(commands: list[Command]) -> None:
    """Every field that changes what is asked changes the fingerprint."""
    for one, other in combinations(commands, 2):
        assert one.fingerprint != other.fingerprint, (one, other)


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL.keys())
def test_equal_requests_have_equal_fingerprints(pair: tuple[Command, Command]) -> None:
    """Who asks, how strictly, and in which order the fields stand are not what is asked."""
    one, other = pair

    assert one.fingerprint == other.fingerprint


def test_fingerprints_are_the_same_in_every_process() -> None:
    """A retry may come to another node, after a restart: no seed of a process is in it."""
    assert charge(41, description="Call").fingerprint == "d776588dfa9631be7bcdf8dd2f2c9f80"
    assert reserve().fingerprint == "86dcfd39e78c5fb88d8a6c06897f5a76"


def test_a_fingerprint_can_be_stored() -> None:
    """It is short and plain whatever the texts of the request are."""
    fingerprint = charge(1, description="世" * 500).fingerprint

    assert len(fingerprint) == 32
    assert fingerprint.isascii()


@pytest.mark.parametrize("command", [reserve(), commit(seconds=1), release(), expire(), kill()])
def test_call_commands_name_their_call(command: CallCommand) -> None:
    """What belongs to a call can be looked up by it."""
    assert command.call_id == "call-1"
