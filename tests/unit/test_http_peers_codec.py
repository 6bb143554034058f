"""What nodes say to each other comes back as it was: every answer, every error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine import errors
from wallet_engine.journal import Answer, Outcome, RefusalCode
from wallet_http.peers.codec import (
    ERRORS,
    Unreadable,
    Unsayable,
    answer_item,
    answer_of,
    document_of,
    error_item,
    items_of,
)


def heard(answer: Answer) -> Answer | errors.WalletError:
    [arrived] = items_of(document_of([answer_item(7, answer)]))
    assert arrived[0] == 7
    return answer_of(arrived)


def raised(error: BaseException) -> errors.WalletError:
    [arrived] = items_of(document_of([error_item(7, error)]))
    found = answer_of(arrived)
    assert isinstance(found, errors.WalletError)
    return found


# --- answers ----------------------------------------------------------------------------------

bodies = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    max_size=5,
)


@given(body=bodies, outcome=st.sampled_from(Outcome))
def test_an_answer_comes_back_as_it_was_given(body: dict[str, Any], outcome: Outcome) -> None:
    """With the same types, and its fields in the same order."""
    found = heard(Answer(outcome, body))

    assert isinstance(found, Answer)
    assert found == Answer(outcome, body)
    assert repr(found) == repr(Answer(outcome, body))


@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusal_comes_back_with_its_code(code: RefusalCode) -> None:
    """The edge finds its status by the very enum."""
    found = heard(Answer(Outcome.REFUSED, {"error": "No.", "code": code}, code))

    assert isinstance(found, Answer)
    assert found.code is code
    assert found.outcome is Outcome.REFUSED
    assert found.body == {"error": "No.", "code": code}


@pytest.mark.parametrize(
    "item",
    [
        [1],
        [1, "created"],
        [1, "created", []],
        [1, "undone", {}],
        [1, "refused", {}, "no such code"],
        [1, None, {}],
        [1, {}, {}],
        [1, "NotMine"],
        [1, "NotMine", 5],
        [1, "NotMine", "a", "b"],
        [1, "SystemExit", "0"],
    ],
    ids=repr,
)
def test_what_is_no_answer_is_none(item: list[Any]) -> None:
    """No type is found by its name but those of the table."""
    with pytest.raises(Unreadable):
        answer_of(item)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCommand("amount_pence", "must be more"),
        errors.UnknownOrg("org-9"),
        errors.Overloaded("full"),
        errors.DeadlinePassed("late"),
        errors.LedgerUnavailable("away"),
        errors.LedgerFault("refused"),
        errors.OwnerUnreachable("away"),
        errors.NotMine("b:1"),
        errors.NotMine(""),
        errors.PeerUnreachable("away"),
        errors.PeerLost("gone"),
    ],
    ids=repr,
)
def test_an_error_comes_back_as_it_was_raised(error: errors.WalletError) -> None:
    """The same type, the same text, the same parts."""
    found = raised(error)

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_what_a_caller_may_see_has_a_name_between_nodes() -> None:
    """Only what a ledger, the leases or a provider say stays where it is raised."""
    at_home = {errors.LedgerError, errors.LeasesUnavailable, errors.CallControlFailed}
    seen = {*errors.WalletError.__subclasses__(), *errors.ClusterError.__subclasses__()}

    assert set(ERRORS) == seen - at_home - {errors.ClusterError}


class Fuller(errors.Overloaded):
    """An error that only one of two nodes knows."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Fuller("full"), errors.Overloaded),
        (errors.OutcomeUnknown("?"), errors.PeerLost),
        (ValueError("a bug"), errors.PeerLost),
    ],
)
def test_an_unknown_error_is_told_as_the_nearest(
    error: Exception, told: type[errors.WalletError]
) -> None:
    """Where there is none, nobody can tell what was done."""
    assert type(raised(error)) is told


def test_the_text_of_an_error_is_bounded_and_valid() -> None:
    """A text that could not be sent would cost the asker the answer."""
    assert str(raised(errors.LedgerFault("x" * 10_000))) == "x" * 500
    assert str(raised(errors.LedgerFault("\ud800"))) == "?"
    assert raised(errors.InvalidCommand("\ud800", "is odd")).args == ("?: is odd",)


# --- documents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document", [b"", b"[", b"{}", b"5", b"[5]", b"[[]]", b'[["1",2]]', b"[[true,2]]", b"[" * 10**5]
)
def test_what_is_no_list_of_numbered_items_is_refused(document: bytes) -> None:
    """Also what nests too deep to be read."""
    with pytest.raises(Unreadable):
        items_of(document)


@pytest.mark.parametrize("value", ["\ud800", object(), b"\xff"], ids=["surrogate", "object", "raw"])
def test_what_json_cannot_say_is_not_said(value: object) -> None:
    """It is told before anything is sent."""
    with pytest.raises(Unsayable):
        document_of([(1, value)])
