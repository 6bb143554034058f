"""How what the engine says becomes JSON with a status: answers, refusals, errors, times.

Two tables decide every status: `STATUS_OF` for refusals, `ERRORS` for operating errors.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web
from multidict import CIMultiDict
from pydantic_core import to_json

from wallet_engine import errors
from wallet_engine.journal import Answer, Outcome, RefusalCode

from .fast import WholeResponse

STATUS_OF: Final[Mapping[RefusalCode, HTTPStatus]] = MappingProxyType(
    {
        RefusalCode.INSUFFICIENT_CREDITS: HTTPStatus.PAYMENT_REQUIRED,
        RefusalCode.DEBT_LIMIT_EXCEEDED: HTTPStatus.PAYMENT_REQUIRED,
        RefusalCode.WALLET_SUSPENDED: HTTPStatus.FORBIDDEN,
        RefusalCode.FEATURE_DISABLED: HTTPStatus.FORBIDDEN,
        RefusalCode.CONCURRENCY_LIMIT: HTTPStatus.CONFLICT,
        RefusalCode.CALL_ENDED: HTTPStatus.CONFLICT,
        RefusalCode.UNKNOWN_CALL: HTTPStatus.NOT_FOUND,
        RefusalCode.KEY_REUSE: HTTPStatus.UNPROCESSABLE_ENTITY,
        RefusalCode.BALANCE_LIMIT: HTTPStatus.CONFLICT,
    }
)
"""The status of each refusal.  Source: SPEC §5."""

STATUS_OF_OUTCOME: Final[Mapping[Outcome, HTTPStatus]] = MappingProxyType(
    {
        Outcome.CREATED: HTTPStatus.CREATED,
        Outcome.REPEATED: HTTPStatus.OK,
        Outcome.ANSWERED: HTTPStatus.OK,
    }
)
"""The status of each outcome but a refusal, whose code decides.  Source: SPEC §5.6."""

RETRY_AFTER_S = "1"
"""When a caller who was told 503 should come again: an owner is replaced within seconds."""

FIELD_NAME_MAX = 100
"""A caller's own field name is repeated to it up to this length."""

TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that ISO 8601 can tell in four digits."""

JSON_HEADERS: Final[CIMultiDict[str]] = CIMultiDict(
    {"Content-Type": "application/json", "Server": "wallet"}
)
RETRY_HEADERS: Final[CIMultiDict[str]] = CIMultiDict({**JSON_HEADERS, "Retry-After": RETRY_AFTER_S})


class Problem(Exception):
    """A request that the edge itself answers with an error; nothing was done."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        fields: Mapping[str, object] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields
        self.headers = headers


ERRORS: Final[Mapping[type[errors.WalletError], tuple[HTTPStatus, str, str]]] = MappingProxyType(
    {
        errors.InvalidCommand: (HTTPStatus.BAD_REQUEST, "invalid_request", ""),
        errors.UnknownOrg: (HTTPStatus.NOT_FOUND, "unknown_org", ""),
        errors.Overloaded: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "overloaded",
            "Too much waits to be decided; nothing was done. Try again shortly.",
        ),
        errors.DeadlinePassed: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "deadline_passed",
            "No decision in time. Repeat the request with the same key to learn its outcome.",
        ),
        errors.LedgerUnavailable: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "database_unavailable",
            "The database cannot be reached; nothing was written. Try again shortly.",
        ),
        errors.LedgerFault: (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "ledger_fault",
            "The database refused this request; nothing was written.",
        ),
        errors.NotCommitted: (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "ledger_fault",
            "The database refused this request; nothing was written.",
        ),
        errors.LedgerBusy: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "database_unavailable",
            "The database cannot work now; nothing was written. Try again shortly.",
        ),
        errors.OutcomeUnknown: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "outcome_unknown",
            "The database did not answer. Repeat the request with the same key.",
        ),
        errors.OwnerUnreachable: (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "owner_unreachable",
            "The wallet's node cannot be asked; nothing was done. Try again shortly.",
        ),
        # What else the engine may raise is not meant to come here.
        errors.WalletError: (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side.",
        ),
    }
)
"""Status, code and sentence of each operating error; an empty sentence is made from the error."""


def json_response(body: object, status: int = HTTPStatus.OK) -> web.Response:
    """Return `body` as compact JSON."""
    return WholeResponse(body=to_json(body), status=status, headers=JSON_HEADERS)


def answer_response(answer: Answer) -> web.Response:
    """Return what the asker of a command or query hears."""
    code = answer.code
    status = STATUS_OF_OUTCOME[answer.outcome] if code is None else STATUS_OF[code]
    return WholeResponse(body=to_json(answer.body), status=status, headers=JSON_HEADERS)


def problem_response(problem: Problem) -> web.Response:
    """Return an error of the edge in the one form that all errors have."""
    body = {"error": problem.message, "code": problem.code, **problem.fields}
    unavailable = problem.status is HTTPStatus.SERVICE_UNAVAILABLE
    headers = RETRY_HEADERS if unavailable else JSON_HEADERS
    response = web.Response(body=to_json(body), status=problem.status, headers=headers)
    response.headers.update(problem.headers)
    return response


def problem_of(error: errors.WalletError) -> Problem:
    """Return how an operating error is told."""
    kind = type(error)
    while kind not in ERRORS:  # an error derived from one in the table is told like that one
        kind = kind.__base__  # type: ignore[assignment]  # the table's root ends the walk
    status, code, sentence = ERRORS[kind]
    if isinstance(error, errors.InvalidCommand):
        name = error.field[:FIELD_NAME_MAX]
        return Problem(status, code, f"{name} {error.problem}.", {"field": name})
    return Problem(status, code, sentence or str(error))


def iso_ms(at_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds; what lies beyond year 9999 is its end.

    A rich wallet at a low rate runs dry in a million years.
    """
    seconds, millis = divmod(min(max(at_ms, 0), TIME_MS_MAX), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def shown(body: Mapping[str, object]) -> dict[str, object]:
    """Return `body` with its times (`…_at_ms`, `paid_until_ms`) as ISO 8601, however deep."""
    found: dict[str, object] = {}
    for name, value in body.items():
        if name.endswith("_ms") and (value is None or type(value) is int):
            found[name.removesuffix("_ms")] = None if value is None else iso_ms(value)
        elif isinstance(value, list):
            found[name] = [shown(item) if isinstance(item, Mapping) else item for item in value]
        else:
            found[name] = value
    return found
