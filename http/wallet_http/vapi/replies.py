"""What a message is answered, and how a no is told: with a status, or as Vapi speaks it.

On a status other than 2xx Vapi reads a technical message to the caller, so refusals on the
path that is registered there are a 200 with a sentence.  Source: SPEC §5.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple

from aiohttp import web

from wallet_engine.journal import Answer, RefusalCode
from wallet_http.answers import (
    JSON_HEADERS,
    STATUS_OF,
    Problem,
    json_response,
    problem_response,
)
from wallet_http.fast import WholeResponse
from wallet_http.options import VapiOptions

BUG: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side."
)
"""What is told of a fault of this program."""

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Reply(NamedTuple):
    """An answer to Vapi, and what the delivery log shall say of it."""

    response: web.Response
    outcome: str
    org_id: str | None = None
    error: str | None = None
    detail: Mapping[str, object] = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """A call is not admitted: the same no for a machine (`problem`) and for the caller's ear.

    `detail` are its numbers in the engine's own names, for the log.
    """

    problem: Problem
    spoken: str
    detail: Mapping[str, object] = field(default_factory=lambda: NOTHING)

    def reply(self, org_id: str | None, *, spoken: bool) -> Reply:
        """Tell it in the form that the path has."""
        problem = self.problem
        response = json_response({"error": self.spoken}) if spoken else problem_response(problem)
        return Reply(response, f"refused:{problem.code}", org_id, problem.message, self.detail)


def okay() -> web.Response:
    """Return what Vapi hears of a message that needs no answer."""
    return WholeResponse(body=b"{}", headers=JSON_HEADERS)


def refused(answer: Answer, options: VapiOptions) -> No:
    """Return the no of the rules."""
    code = answer.code
    assert code is not None, "an answer without a code is not a refusal"
    detail = {name: value for name, value in answer.body.items() if name not in {"error", "code"}}
    short = code is RefusalCode.INSUFFICIENT_CREDITS
    fields = _credit_fields(detail) if short else {camel(name): it for name, it in detail.items()}
    return No(
        problem=Problem(STATUS_OF[code], str(code), str(answer.body["error"]), fields),
        spoken=options.spoken_insufficient if short else options.spoken_refused,
        detail=detail,
    )


def unknown_org(options: VapiOptions) -> No:
    """Return the no to a call for nobody we know."""
    problem = Problem(
        HTTPStatus.NOT_FOUND, "unknown_org", "This call belongs to no organisation known here."
    )
    return No(problem=problem, spoken=options.spoken_refused)


def no_assistant(options: VapiOptions) -> No:
    """Return the no to a call that nobody can answer."""
    problem = Problem(
        HTTPStatus.CONFLICT,
        "no_assistant",
        "No assistant answers this call: map one to its number, or give the org a default.",
    )
    return No(problem=problem, spoken=options.spoken_refused)


def failed(problem: Problem, options: VapiOptions) -> No:
    """Return the no for want of a decision."""
    ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return No(
        problem=problem, spoken=options.spoken_unavailable if ours else options.spoken_refused
    )


def conflict(org_id: str) -> Reply:
    """Return the answer to a path that names another org than its call belongs to."""
    problem = Problem(
        HTTPStatus.CONFLICT, "org_mismatch", "This call belongs to another organisation."
    )
    return Reply(problem_response(problem), "conflict", org_id, problem.message)


def camel(name: str) -> str:
    """Return a name of the engine as this interface writes it."""
    first, *rest = name.removesuffix("_pence").split("_")
    return first + "".join(part.capitalize() for part in rest)


def _credit_fields(detail: Mapping[str, object]) -> dict[str, object]:
    return {
        "currentBalance": detail["current_balance_pence"],
        "effectiveBalance": detail["effective_balance_pence"],
        "requiredBalance": detail["required_pence"],
        "deficit": detail["deficit_pence"],
        "autoRechargeEnabled": bool(detail.get("auto_recharge_enabled", False)),
    }
