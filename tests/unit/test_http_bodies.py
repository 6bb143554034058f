"""What comes in as a body: strict, bounded, and named when it is wrong."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.errors import InvalidCommand
from wallet_http import shapes
from wallet_http.bodies import check_storable, reader_of, whole_ms

read_deduct = reader_of(shapes.DeductBody)
read_commit = reader_of(shapes.CommitBody)

DEDUCT = {"org_id": "o", "amount_pence": 5, "class": "call", "type": "call_deduction"}


def fault_of(raw: bytes) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as caught:
        read_deduct(raw)
    return caught.value


def test_a_body_is_read_into_the_names_of_the_engine() -> None:
    """`class` is a word of Python's own, so the engine calls it otherwise."""
    assert read_deduct(json.dumps(DEDUCT).encode()) == {
        "org_id": "o",
        "amount_pence": 5,
        "spend_class": "call",
        "type": "call_deduction",
    }


@pytest.mark.parametrize(
    "amount",
    ["true", "5.0", "5.5", '"5"', "null", "[5]", "{}", "1e3", "NaN", "Infinity"],
)
def test_money_is_a_whole_number(amount: str) -> None:
    """Neither `true` nor 5.0 is one, nor a text that looks like one."""
    body = json.dumps(DEDUCT).replace(": 5,", f": {amount},")

    assert fault_of(body.encode()).field == "amount_pence"


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (b"", "body", "must be JSON"),
        (b"{", "body", "must be JSON"),
        (b"{} {}", "body", "must be JSON"),
        (b"\xff", "body", "must be JSON"),
        (b'\xef\xbb\xbf{"org_id": "o"}', "body", "must be JSON"),
        (b'{"org_id": "\xff"}', "body", "must be JSON"),
        (b'{"org_id": "\\ud800"}', "body", "must be JSON"),
        (b'{"org_id": "\\ud800\\u0041"}', "body", "must be JSON"),
        (b"[" * 100_000, "body", "must be JSON"),
        (b'{"a":' * 50_000, "body", "must be JSON"),
        (b'{"amount_pence": 1' + b"0" * 5000 + b"}", "body", "must be JSON"),
        (b"[]", "body", "must be an object"),
        (b'"text"', "body", "must be an object"),
        (b"null", "body", "must be an object"),
        (b"{}", "org_id", "is required"),
        (json.dumps({**DEDUCT, "more": 1}).encode(), "more", "is not a known field"),
        (json.dumps({**DEDUCT, "strict": False}).encode(), "strict", "is not a known field"),
        (json.dumps({**DEDUCT, "client_key": "k"}).encode(), "client_key", "is not a known field"),
        (json.dumps({**DEDUCT, "spend_class": "call"}).encode(), "spend_class", "is not a known"),
        (json.dumps({**DEDUCT, "class": "loan"}).encode(), "class", "must be one of"),
        (json.dumps({**DEDUCT, "org_id": 5}).encode(), "org_id", "must be a text"),
        (json.dumps({**DEDUCT, "dry_run": 1}).encode(), "dry_run", "must be true or false"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, field: str, problem: str) -> None:
    """Bad JSON, wrong types, unknown fields: each is a 400 that says where."""
    fault = fault_of(raw)

    assert fault.field == field
    assert fault.problem.startswith(problem)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"org_id":"o","amount_pence":5,"amount_pence":9,"class":"call","type":"call_deduction"}',
        b'{"org_id":"o","amount_pence":5,"amount\\u005fpence":9,"class":"call","type":"x"}',
    ],
)
def test_a_field_given_twice_is_refused(raw: bytes) -> None:
    """Which of two amounts counts must not depend on who reads them."""
    fault = fault_of(raw)

    assert (fault.field, fault.problem) == ("amount_pence", "is given twice")


def test_colons_in_texts_are_no_second_field() -> None:
    """Ids may hold colons."""
    body = {**DEDUCT, "org_id": "a:b:c", "description": "amount_pence: 5"}

    assert read_deduct(json.dumps(body).encode())["org_id"] == "a:b:c"


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    """Whatever comes is read, or refused in the one way."""
    with suppress(InvalidCommand):
        read_deduct(raw)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0.0, 0),
        (-0.0, 0),
        (180.0, 180_000),
        (0.2, 200),
        (42.7, 42_700),
        (4.35, 4_350),
        (1.001, 1_001),
        (1.0001, 1_001),
        (59.9999, 60_000),
        (60.000_000_000_1, 60_001),
        (5e-324, 1),
        (9_999_999.9999, 10_000_000_000),
    ],
)
def test_seconds_become_milliseconds_in_decimals(seconds: float, milliseconds: int) -> None:
    """42.7 * 1000 is 42700.000000000004 for a float, which would be a millisecond too much."""
    assert whole_ms(seconds) == milliseconds


@pytest.mark.parametrize("seconds", ["true", '"60"', "NaN", "Infinity", "1e999", "-1", "1e8"])
def test_seconds_are_a_number_within_bounds(seconds: str) -> None:
    """A length is a finite number, not negative and not for ever."""
    raw = f'{{"org_id":"o","call_id":"c","actual_seconds":{seconds}}}'.encode()
    with pytest.raises(InvalidCommand) as caught:
        read_commit(raw)

    assert caught.value.field == "actual_seconds"


def test_seconds_may_be_whole() -> None:
    """180 and 180.0 are the same length."""
    for text in (b"180", b"180.0", b"1.8e2"):
        raw = b'{"org_id":"o","call_id":"c","actual_seconds":' + text + b"}"
        assert read_commit(raw)["actual_ms"] == 180_000


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "\ud800",
        {"a\0b": 1},
        {"deep": [{"deeper": ["\0"]}]},
        float("nan"),
        [float("inf")],
        "x" * 65_537,
    ],
)
def test_free_json_must_be_storable(value: object) -> None:
    """One NUL in a stored configuration would be refused by the database."""
    with pytest.raises(InvalidCommand) as caught:
        check_storable("assistant", value)

    assert caught.value.field == "assistant"


def test_free_json_may_be_anything_else() -> None:
    """Texts of any script, numbers, nested to where the parser ends."""
    check_storable("assistant", {"name": "Åsa 👋", "n": [1, 2.5, None, True, {"k": "v"}]})
