"""Every ask arrives at another node as it was sent, is checked again, and crosses versions."""

from collections.abc import Iterator
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine import errors
from wallet_engine.commands import (
    Ask,
    ChangeSettings,
    Command,
    Deduct,
    Proof,
    Query,
    SpendClass,
    Welcome,
)
from wallet_engine.mailbox import Due
from wallet_http.peers.asks import FORWARDED, AskReader, AskWriter, table
from wallet_http.peers.codec import (
    Unreadable,
    document_of,
    items_of,
    value_of,
)
from wallet_testing.builders import (
    CALL,
    ORG,
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
from wallet_testing.wishes import wishes

ONE_OF_EACH: tuple[Ask, ...] = (
    Welcome(org_id="org-1"),
    change_settings({"rate_pence_per_minute": 60, "cap_policy": None}),
    check(seconds=1),
    commit(seconds=42, proof=Proof.RECONCILED),
    credit(500),
    charge(56),
    expire(),
    extend(seconds=60),
    kill(),
    look(),
    note_start(),
    prolong(),
    release(),
    reserve(),
    resume(),
    suspend(),
)


def verbs(root: type) -> Iterator[str]:
    """Walk over the verbs of all that is derived from `root` in the engine.

    Not over the types: each dataclass with slots leaves the one behind that it was made from.
    """
    kind: type
    for kind in root.__subclasses__():
        if "verb" in vars(kind) and kind.__module__.startswith("wallet_engine."):
            yield vars(kind)["verb"]
        yield from verbs(kind)


def sent(ask: Ask) -> Ask:
    """Return what arrives at the other node."""
    item = (7, 1500, ask.verb, AskWriter().values(ask))
    [arrived] = items_of(document_of([item]))
    left_s, found = AskReader(value_of(table())).ask(arrived)
    assert (arrived[0], left_s) == (7, 1.5)
    return found


# --- asks -------------------------------------------------------------------------------------


def test_every_command_and_query_is_forwarded() -> None:
    """A new one cannot be forgotten; a question of a node to itself is not forwarded."""
    known = sorted({*verbs(Command), *verbs(Query)} - {Due.verb})

    assert sorted(kind.verb for kind in FORWARDED) == known
    assert sorted(ask.verb for ask in ONE_OF_EACH) == known


@pytest.mark.parametrize("ask", ONE_OF_EACH, ids=lambda ask: ask.verb)
def test_an_ask_arrives_as_it_was_sent(ask: Ask) -> None:
    """Each field with its value and its type: an enum is an enum again."""
    found = sent(ask)

    assert found == ask
    for field in fields(ask):
        assert type(getattr(found, field.name)) is type(getattr(ask, field.name))


@pytest.mark.parametrize("ask", ONE_OF_EACH, ids=lambda ask: ask.verb)
def test_every_switch_arrives(ask: Ask) -> None:
    """`strict`, `dry_run`, `managed`, `give_back`: also when they are not as usual."""
    switches = [name for name, hint in get_type_hints(type(ask)).items() if hint is bool]
    turned: Ask = replace(ask, **{name: not getattr(ask, name) for name in switches})  # type: ignore[arg-type]  # booleans all

    assert sent(turned) == turned


@given(wish=wishes, strict=st.booleans(), dry_run=st.booleans())
def test_any_command_arrives(wish: Any, strict: bool, dry_run: bool) -> None:  # noqa: ANN401  # a Wish
    """Whatever texts and numbers it has; and it is the same request, to whoever keeps its key."""
    command = replace(wish.command(ORG), strict=strict, dry_run=dry_run)
    found = sent(command)

    assert found == command
    assert isinstance(found, Command)
    assert (found.key, found.fingerprint) == (command.key, command.fingerprint)


def test_settings_in_a_frozen_mapping_arrive() -> None:
    """A mapping need not be a dict to be sent."""
    frozen = MappingProxyType({"asset_prices": MappingProxyType({"did": 5})})
    found = sent(ChangeSettings(org_id=ORG, client_key="k", changes=frozen))

    assert isinstance(found, ChangeSettings)
    assert found.changes == {"asset_prices": {"did": 5}}


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("amount_pence", 0, "amount_pence"),
        ("amount_pence", True, "amount_pence"),
        ("org_id", "no such name!", "org_id"),
        ("org_id", None, "org_id"),
        ("client_key", 5, "Idempotency-Key"),
        ("type", "did", "type"),
        ("description", ["x"], "description"),
    ],
)
def test_a_command_is_checked_again(field: str, value: object, named: str) -> None:
    """A command that may not exist does not come to exist by being sent."""
    with pytest.raises(errors.InvalidCommand) as caught:
        read("deduct", {field: value})

    assert caught.value.field == named


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("deduct", {"spend_class": "loan"}),
        ("deduct", {"spend_class": []}),
        ("deduct", {"type": {}}),
        ("deduct", {"strict": "yes"}),
        ("deduct", {"dry_run": None}),
        ("settings", {"changes": []}),
        ("commit", {"proof": 9}),
    ],
)
def test_what_no_node_would_send_is_no_ask(verb: str, values: dict[str, object]) -> None:
    """What a command does not check itself, because Python's types do, is checked on arrival."""
    with pytest.raises(Unreadable):
        read(verb, values)


@pytest.mark.parametrize(
    "item",
    [
        [1],
        [1, 1000, "look"],
        [1, 1000, "look", ["org-1"], "more"],
        [1, 1000, "look", []],
        [1, 1000, "look", ["org-1", 5]],
        [1, 1000, "look", "org-1"],
        [1, 1000, "look", None],
        [1, 1000, "due", ["org-1", CALL]],
        [1, 1000, [], ["org-1"]],
        [1, 0, "look", ["org-1"]],
        [1, True, "look", ["org-1"]],
        [1, "1000", "look", ["org-1"]],
        [1, 10**9, "look", ["org-1"]],
    ],
    ids=repr,
)
def test_what_has_not_the_form_of_an_ask_is_none(item: list[Any]) -> None:
    """It is refused by itself, and costs nobody else an answer."""
    with pytest.raises(Unreadable):
        AskReader(value_of(table())).ask(item)


def read(verb: str, changed: dict[str, object]) -> Ask:
    """Read the usual ask of that verb, with some values changed on its way."""
    [usual] = [ask for ask in ONE_OF_EACH if ask.verb == verb]
    names = [field.name for field in fields(usual)]
    values = dict(zip(names, AskWriter().values(usual), strict=True)) | changed
    _, found = AskReader(value_of(table())).ask([1, 1000, verb, list(values.values())])
    return found


# --- nodes of two versions --------------------------------------------------------------------


def test_a_field_that_only_they_have_may_have_its_default() -> None:
    """A newer node can ask what an older one knows."""
    theirs = AskReader({"look": [["org_id"], ["deep", False]]})

    assert theirs.ask([1, 1000, "look", [ORG, False]]) == (1.0, look())
    with pytest.raises(Unreadable, match="deep"):
        theirs.ask([1, 1000, "look", [ORG, True]])


def test_a_field_that_only_we_have_gets_its_default() -> None:
    """An older node can ask a newer one; what it must say and does not is no ask."""
    told = [["client_key"], ["type"], ["spend_class"], ["amount_pence"], ["org_id"]]
    theirs = AskReader({"deduct": told, "look": []})
    values = ["k", "call_deduction", "call", 5, ORG]

    assert theirs.ask([1, 1000, "deduct", values])[1] == Deduct(
        org_id=ORG, client_key="k", amount_pence=5, spend_class=SpendClass.CALL,
        type="call_deduction",
    )  # fmt: skip
    with pytest.raises(Unreadable):
        theirs.ask([1, 1000, "look", []])


@pytest.mark.parametrize("told", [None, [], 5, {"look": 5}, {"look": [5]}, {"look": [[]]}])
def test_what_is_no_table_is_refused(told: object) -> None:
    """Nothing can be read by it."""
    with pytest.raises(Unreadable):
        AskReader(told)
