"""Commands: a bad one cannot exist.  Both sides of every bound, by the name of the field."""

from collections.abc import Callable

import pytest

from wallet_engine.commands import (
    REASON_MAX,
    SECONDS_MAX,
    Check,
    Command,
    Commit,
    Credit,
    CreditType,
    Deduct,
    Kill,
    Look,
    NoteStart,
    Query,
    Release,
    Reserve,
    Resume,
    SpendClass,
    Suspend,
)
from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import PENCE_MAX
from wallet_engine.texts import DESCRIPTION_MAX
from wallet_testing.builders import (
    CALL,
    ORG,
    buy,
    change_settings,
    charge,
    check,
    commit,
    credit,
    expire,
    extend,
    kill,
    look,
    note_start,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)

Make = Callable[..., Command | Query]
"""Makes a command whose one interesting field has a value that may be anything."""

EVERY_VERB: dict[str, Make] = {
    "reserve": lambda org: reserve(org_id=org),
    "extend": lambda org: extend(org_id=org, seconds=60),
    "prolong": lambda org: prolong(org_id=org),
    "commit": lambda org: commit(org_id=org, seconds=1),
    "release": lambda org: release(org_id=org),
    "expire": lambda org: expire(org_id=org),
    "kill": lambda org: kill(org_id=org),
    "charge": lambda org: charge(1, org_id=org),
    "buy": lambda org: buy(1, org_id=org),
    "credit": lambda org: credit(1, org_id=org),
    "suspend": lambda org: suspend(org_id=org),
    "resume": lambda org: resume(org_id=org),
    "settings": lambda org: change_settings({}, org_id=org),
    "check": lambda org: check(org_id=org),
    "look": lambda org: look(org_id=org),
    "start": lambda org: note_start(org_id=org),
}

EVERY_CALL: dict[str, Make] = {
    "reserve": reserve,
    "extend": lambda call: extend(call, seconds=60),
    "prolong": prolong,
    "commit": lambda call: commit(call, seconds=1),
    "release": release,
    "expire": expire,
    "kill": kill,
    "check": check,
    "start": note_start,
}

EVERY_KEY: dict[str, Make] = {
    "extend": lambda key: extend(seconds=60, key=key),
    "kill": lambda key: kill(key=key),
    "charge": lambda key: charge(1, key=key),
    "buy": lambda key: buy(1, key=key),
    "credit": lambda key: credit(1, key=key),
    "suspend": lambda key: suspend(key=key),
    "resume": lambda key: resume(key=key),
    "settings": lambda key: change_settings({}, key=key),
}

EVERY_REASON: dict[str, Make] = {
    "release": lambda reason: Release(org_id=ORG, call_id=CALL, reason=reason),
    "kill": lambda reason: Kill(org_id=ORG, call_id=CALL, reason=reason),
    "suspend": lambda reason: Suspend(org_id=ORG, client_key="k", reason=reason),
    "resume": lambda reason: Resume(org_id=ORG, client_key="k", reason=reason),
}

EVERY_DESCRIPTION: dict[str, Make] = {
    "charge": lambda text: charge(1, description=text),
    "buy": lambda text: buy(1, description=text),
    "credit": lambda text: credit(1, description=text),
}

Bounds = tuple[Make, str, int, int]

INTEGERS: dict[str, Bounds] = {
    "reserve minutes": (
        lambda it: Reserve(org_id=ORG, call_id=CALL, estimated_minutes=it),
        "estimated_minutes",
        1,
        1440,
    ),
    "reserve pence": (lambda it: reserve(pence=it), "amount_pence", 1, PENCE_MAX),
    "extend seconds": (lambda it: extend(seconds=it), "seconds", 1, SECONDS_MAX),
    "extend pence": (lambda it: extend(pence=it), "amount_pence", 1, PENCE_MAX),
    "commit time": (
        lambda it: Commit(org_id=ORG, call_id=CALL, actual_ms=it),
        "actual_seconds",
        0,
        SECONDS_MAX * 1000,
    ),
    "commit pence": (lambda it: commit(pence=it), "amount_pence", 0, PENCE_MAX),
    "charge": (charge, "amount_pence", 1, PENCE_MAX),
    "buy": (buy, "amount_pence", 1, PENCE_MAX),
    "topup": (credit, "amount_pence", 1, PENCE_MAX),
    "adjustment": (
        lambda it: credit(it, type=CreditType.ADJUSTMENT),
        "amount_pence",
        -PENCE_MAX,
        PENCE_MAX,
    ),
    "clawback": (
        lambda it: credit(it, type=CreditType.CLAWBACK),
        "amount_pence",
        -PENCE_MAX,
        -1,
    ),
    "check": (
        lambda it: Check(org_id=ORG, call_id=CALL, elapsed_ms=it),
        "elapsed_seconds",
        0,
        SECONDS_MAX * 1000,
    ),
}

UNSTORABLE = ["a\0b", "\ud800", "a\udfff"]
NO_TEXT: list[object] = [None, 1, True, b"bytes", ["list"]]


def named(makers: dict[str, Make]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", makers.values(), ids=makers.keys())


def field_of(make: Make, value: object) -> str:
    """Return which field is named when `value` is refused."""
    with pytest.raises(InvalidCommand) as refusal:
        make(value)
    return refusal.value.field


@pytest.mark.parametrize("org_id", ["a", "A-Z_a.z:0", "x" * 64])
@named(EVERY_VERB)
def test_org_ids_that_name_a_wallet(make: Make, org_id: str) -> None:
    """1 to 64 of A-Z a-z 0-9 _ . : -."""
    assert make(org_id).org_id == org_id


@pytest.mark.parametrize(
    "org_id", ["", "x" * 65, "a b", "a/b", "a\n", "ä", "a\0", "\ud800", *NO_TEXT]
)
@named(EVERY_VERB)
def test_org_ids_that_do_not(make: Make, org_id: object) -> None:
    """Anything else names no organisation, a trailing newline included."""
    assert field_of(make, org_id) == "org_id"


@pytest.mark.parametrize("call_id", ["c", "x" * 128, "019b-ä:/é 世"])
@named(EVERY_CALL)
def test_call_ids_that_name_a_call(make: Make, call_id: str) -> None:
    """1 to 128 printable characters, of any script."""
    assert getattr(make(call_id), "call_id", None) == call_id


@pytest.mark.parametrize(
    "call_id", ["", "x" * 129, "a\nb", "a\tb", "\u200b", *UNSTORABLE, *NO_TEXT]
)
@named(EVERY_CALL)
def test_call_ids_that_do_not(make: Make, call_id: object) -> None:
    """Nothing empty, long, unprintable, or other than text."""
    assert field_of(make, call_id) == "call_id"


@pytest.mark.parametrize("key", ["k", "x" * 255, "order 7/é"])
@named(EVERY_KEY)
def test_keys_that_name_a_request(make: Make, key: str) -> None:
    """1 to 255 printable characters."""
    command = make(key)

    assert isinstance(command, Command)
    assert command.key == f"client:{key}"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", *UNSTORABLE, 1, True, b"bytes"])
@named(EVERY_KEY)
def test_keys_that_do_not(make: Make, key: object) -> None:
    """Nothing empty, long, unprintable, or other than text."""
    assert field_of(make, key) == "Idempotency-Key"


@pytest.mark.parametrize("reason", ["r", "x" * REASON_MAX, "two\nlines"])
@named(EVERY_REASON)
def test_reasons_that_can_be_stored(make: Make, reason: str) -> None:
    """A reason is a bounded text."""
    assert getattr(make(reason), "reason", None) == reason


@pytest.mark.parametrize("reason", ["", "x" * (REASON_MAX + 1), *UNSTORABLE, *NO_TEXT])
@named(EVERY_REASON)
def test_reasons_that_cannot(make: Make, reason: object) -> None:
    """One NUL or lone surrogate would abort the batch of all other wallets."""
    assert field_of(make, reason) == "reason"


@pytest.mark.parametrize("text", ["", "x" * DESCRIPTION_MAX, "é 世"])
@named(EVERY_DESCRIPTION)
def test_descriptions_that_can_be_stored(make: Make, text: str) -> None:
    """A description may be empty, and is bounded."""
    assert getattr(make(text), "description", None) == text


@pytest.mark.parametrize("text", ["x" * (DESCRIPTION_MAX + 1), *UNSTORABLE, *NO_TEXT])
@named(EVERY_DESCRIPTION)
def test_descriptions_that_cannot(make: Make, text: object) -> None:
    """One NUL or lone surrogate would abort the batch of all other wallets."""
    assert field_of(make, text) == "description"


@pytest.mark.parametrize("bounds", INTEGERS.values(), ids=INTEGERS.keys())
def test_numbers_at_their_bounds(bounds: Bounds) -> None:
    """The bound itself is allowed, one more is not; `true` and 5.0 are no whole numbers."""
    make, field, low, high = bounds

    assert make(low)
    assert make(high)
    for value in (low - 1, high + 1, True, float(high), "1"):
        assert field_of(make, value) == field


def test_an_adjustment_of_nothing() -> None:
    """An adjustment may go either way, but must move something."""
    with pytest.raises(InvalidCommand, match="amount_pence"):
        credit(0, type=CreditType.ADJUSTMENT)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: reserve(minutes=5, pence=100), "amount_pence"),
        (extend, "seconds"),
        (lambda: extend(seconds=60, pence=100), "seconds"),
        (commit, "actual_seconds"),
        (lambda: commit(seconds=60, pence=100), "actual_seconds"),
    ],
    ids=["reserve both", "extend none", "extend both", "commit none", "commit both"],
)
def test_fields_that_exclude_each_other(make: Callable[[], Command], field: str) -> None:
    """Time and money are two ways to say the same; exactly one is given, for a hold at most."""
    with pytest.raises(InvalidCommand) as refusal:
        make()

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("spend_class", "type_", "allowed"),
    [
        (SpendClass.CALL, "call_deduction", True),
        (SpendClass.CALL, "phone_number", False),
        (SpendClass.ASSET, "call_deduction", False),
        (SpendClass.ASSET, "phone_provisioning", True),
        (SpendClass.ASSET, "phone_number", True),
        (SpendClass.ASSET, "toll_free_number", True),
        (SpendClass.ASSET, "did", True),
        (SpendClass.ASSET, "license", True),
        (SpendClass.ASSET, "sms", True),
        (SpendClass.ASSET, "seat", True),
        (SpendClass.ASSET, "storage", True),
        (SpendClass.ASSET, "addon", True),
        (SpendClass.ASSET, "topup", False),
        (SpendClass.ASSET, "", False),
    ],
)
def test_types_belong_to_a_class(spend_class: SpendClass, type_: str, allowed: bool) -> None:
    """Only calls may go into debt, so no asset can be charged as one, nor the other way."""
    make: Make = lambda it: Deduct(  # noqa: E731  # `field_of` takes a maker
        org_id=ORG, client_key="k", amount_pence=1, spend_class=spend_class, type=it
    )

    if allowed:
        assert make(type_)
    else:
        assert field_of(make, type_) == "type"


@pytest.mark.parametrize("heard_ms", [True, 1.5, "1", None])
def test_when_a_call_was_heard_is_a_time(heard_ms: object) -> None:
    """What is no number would poison the timers of the whole node."""
    make: Make = lambda it: NoteStart(org_id=ORG, call_id=CALL, heard_ms=it)  # noqa: E731  # as above

    assert field_of(make, heard_ms) == "heard_ms"


def test_commands_cannot_change() -> None:
    """What was checked when it was made stays as it was."""
    for command in (look(), credit(1)):
        assert isinstance(command, Look | Credit)
        with pytest.raises(AttributeError):
            command.org_id = "other"  # type: ignore[misc]
