"""Every refusal and every error has a status, and all errors have one form."""

import json
from http import HTTPStatus

import pytest

from wallet_engine import errors
from wallet_engine.journal import Answer, Outcome, RefusalCode
from wallet_http.answers import (
    STATUS_OF,
    STATUS_OF_OUTCOME,
    Problem,
    answer_response,
    iso_ms,
    problem_of,
    problem_response,
    shown,
)


def error_types() -> list[type[errors.WalletError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.WalletError)
        and value is not errors.WalletError
    ]


def test_every_refusal_has_a_status() -> None:
    """A refusal added to the engine cannot reach the edge without a status."""
    assert set(STATUS_OF) == set(RefusalCode)


def test_every_outcome_but_a_refusal_has_a_status() -> None:
    """A refusal's code decides its status."""
    assert set(STATUS_OF_OUTCOME) == set(Outcome) - {Outcome.REFUSED}


@pytest.mark.parametrize("kind", error_types())
def test_every_error_is_told(kind: type[errors.WalletError]) -> None:
    """An error added to the engine is told, at worst as the error it derives from."""
    arguments = ("field", "is wrong") if kind is errors.InvalidCommand else ("org-1",)

    problem = problem_of(kind(*arguments))

    assert problem.code
    assert problem.message


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidCommand("org_id", "is wrong"), 400, "invalid_request"),
        (errors.UnknownOrg("org-1"), 404, "unknown_org"),
        (errors.Overloaded("full"), 503, "overloaded"),
        (errors.DeadlinePassed("late"), 503, "deadline_passed"),
        (errors.LedgerUnavailable("gone"), 503, "database_unavailable"),
        (errors.LedgerBusy("busy"), 503, "database_unavailable"),
        (errors.OutcomeUnknown("lost"), 503, "outcome_unknown"),
        (errors.LedgerFault("refused"), 500, "ledger_fault"),
        (errors.NotCommitted("refused"), 500, "ledger_fault"),
    ],
)
def test_an_error_of_the_database_is_never_a_402(
    error: errors.WalletError, status: int, code: str
) -> None:
    """What cannot be decided now is 503, whatever else goes wrong 500."""
    problem = problem_of(error)

    assert (problem.status, problem.code) == (status, code)


def test_an_error_that_is_derived_from_one_is_told_like_it() -> None:
    """Adapters may refine the errors of the engine."""

    class Contended(errors.NotCommitted):
        pass

    assert problem_of(Contended("a lock")).code == "ledger_fault"


def test_the_text_of_the_database_is_not_told() -> None:
    """A caller learns what it can do, not what the server said."""
    told = problem_of(errors.LedgerFault("password authentication failed for wallet"))

    assert "password" not in told.message


def test_a_problem_names_the_field() -> None:
    """400 says which part is wrong, in a sentence and for a machine."""
    response = problem_response(problem_of(errors.InvalidCommand("amount_pence", "is required")))

    assert json.loads(response.body or b"") == {  # type: ignore[arg-type]  # bytes
        "error": "amount_pence is required.",
        "code": "invalid_request",
        "field": "amount_pence",
    }


def test_a_long_field_name_is_cut() -> None:
    """An unknown field may be as long as the body; it is not sent back whole."""
    problem = problem_of(errors.InvalidCommand("x" * 60_000, "is not a known field"))

    assert len(problem.message) < 200


def test_503_says_when_to_try_again() -> None:
    """And only 503."""
    busy = problem_response(problem_of(errors.Overloaded("full")))
    wrong = problem_response(Problem(HTTPStatus.NOT_FOUND, "not_found", "Not here."))

    assert busy.headers["Retry-After"] == "1"
    assert "Retry-After" not in wrong.headers


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(Outcome.CREATED, {}), 201),
        (Answer(Outcome.REPEATED, {}), 200),
        (Answer(Outcome.ANSWERED, {}), 200),
        (Answer(Outcome.REFUSED, {}, RefusalCode.INSUFFICIENT_CREDITS), 402),
        (Answer(Outcome.REFUSED, {}, RefusalCode.DEBT_LIMIT_EXCEEDED), 402),
        (Answer(Outcome.REFUSED, {}, RefusalCode.WALLET_SUSPENDED), 403),
        (Answer(Outcome.REFUSED, {}, RefusalCode.FEATURE_DISABLED), 403),
        (Answer(Outcome.REFUSED, {}, RefusalCode.CONCURRENCY_LIMIT), 409),
        (Answer(Outcome.REFUSED, {}, RefusalCode.CALL_ENDED), 409),
        (Answer(Outcome.REFUSED, {}, RefusalCode.UNKNOWN_CALL), 404),
        (Answer(Outcome.REFUSED, {}, RefusalCode.KEY_REUSE), 422),
        (Answer(Outcome.REFUSED, {}, RefusalCode.BALANCE_LIMIT), 409),
    ],
)
def test_answers_have_the_status_of_the_specification(answer: Answer, status: int) -> None:
    """Created 201, repeated 200, refusals by their code."""
    assert answer_response(answer).status == status


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_197_600_120, "2026-11-20T18:00:00.120Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_iso_8601(at_ms: int, text: str) -> None:
    """In UTC, with milliseconds; a wallet that lasts a million years lasts until 9999."""
    assert iso_ms(at_ms) == text


def test_times_are_shown_however_deep() -> None:
    """Only what is named `…_ms` is a time."""
    body = {"seq": 7, "runs_dry_at_ms": None, "calls": [{"started_at_ms": 1000, "final": False}]}

    assert shown(body) == {
        "seq": 7,
        "runs_dry_at": None,
        "calls": [{"started_at": "1970-01-01T00:00:01.000Z", "final": False}],
    }
