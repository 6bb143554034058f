"""The kill switch's question: may this call go on?  Source: SPEC §5.2.

Asked often and by many, so the usual answer is made with as little as possible: no timer, and
no row in the delivery log.  Only what ends a call or could not be answered is noted there.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from aiohttp import web
from pydantic_core import to_json

from wallet_engine.commands import SECONDS_MAX
from wallet_engine.errors import DeadlinePassed, InvalidCommand, UnknownOrg, WalletError
from wallet_engine.ports import Delivery
from wallet_http.answers import JSON_HEADERS, json_response, problem_of, problem_response
from wallet_http.fast import WholeResponse
from wallet_http.options import VapiOptions
from wallet_http.services import SERVICES, Services

from .auth import authenticated_body
from .durations import scaled
from .messages import Body, Message, read_body
from .replies import NOTHING

TYPE: Final = "status-check"
"""What the delivery log calls these requests."""

UNKNOWN: Final = {
    "endCall": False,
    "balance_pence": 0,
    "effective_balance_pence": 0,
    "held_pence": 0,
    "accrued_pence": 0,
    "remaining_seconds": 0,
}
"""What is answered for a call of no known org: it is not ours to end."""

NUMBERS: Final = tuple(name for name in UNKNOWN if name != "endCall")


class Asked(NamedTuple):
    """Which call is asked about, and whose it is; empty where that is not known."""

    org_id: str
    call_id: str


NOBODY: Final = Asked("", "")


async def answer_question(request: web.Request) -> web.Response:
    """Say whether a call must end, how long it may last, and whether to warn its caller."""
    services = request.app[SERVICES]
    received_ms = services.clock.now_ms()
    raw = await authenticated_body(request, services.options, received_ms)
    asked = NOBODY
    try:
        body = read_body(raw)
        asked = _remembered(body, services) or await _looked_up(body, services)
        if not asked.org_id:
            _note(services, asked, received_ms, 200, "unknown_org")
            return json_response(UNKNOWN)
        answer = await services.calls.check(
            asked.org_id,
            asked.call_id,
            elapsed_ms=_elapsed_ms(body),
            timeout_s=services.options.vapi_deadline_s,
        )
    except UnknownOrg:
        _note(services, asked, received_ms, 200, "unknown_org")
        return json_response(UNKNOWN)
    except (WalletError, TimeoutError) as error:
        known = error if isinstance(error, WalletError) else DeadlinePassed("Not asked in time.")
        problem = problem_of(known)
        _note(services, asked, received_ms, problem.status, "error", problem.code)
        return problem_response(problem)
    found = answer.body
    if found["end_call"]:
        _note(services, asked, received_ms, 200, f"end_call:{found['reason']}", detail=found)
    return WholeResponse(body=to_json(_told(found, services.options.vapi)), headers=JSON_HEADERS)


def _remembered(body: Body, services: Services) -> Asked | None:
    """Find a call that this node remembers: its id was checked when it was admitted."""
    inner, outer = body.get("message"), body.get("call")
    call = inner.get("call") if inner is not None else None
    said = (call and call.get("id")) or (outer and outer.get("id")) or body.get("callId")
    if type(said) is not str:
        return None
    org_id = services.directory.org_of_known_call(said)
    return None if org_id is None else Asked(org_id, said)


async def _looked_up(body: Body, services: Services) -> Asked:
    """Find the call's org by all that the question says.

    Raises:
        InvalidCommand: it names no call.
        LedgerUnavailable, TimeoutError: the directory cannot be asked.
    """
    message = Message(body)
    if not message.call_id:
        raise InvalidCommand("callId", "is required, or call.id, or message.call.id")
    _elapsed_ms(body)  # what makes no sense is told before anybody is asked
    async with asyncio.timeout(services.options.vapi_deadline_s):
        located = await services.directory.org_of_message(message.ids(""))
    return Asked(located.org_id or "", message.call_id)


def _elapsed_ms(body: Body) -> int | None:
    """Return how long the call has lasted, if the question says so.

    Raises:
        InvalidCommand: it says so, but not as a number of seconds that can be.
    """
    told = body.get("elapsedSeconds")
    if told is None and (message := body.get("message")) is not None:
        told = message.get("elapsedSeconds")
    if told is None:
        return None
    elapsed_ms = scaled(told, 1000, SECONDS_MAX * 1000)
    if elapsed_ms is None:
        raise InvalidCommand("elapsedSeconds", f"must be a number of seconds in 0..{SECONDS_MAX}")
    return elapsed_ms


def _told(body: Mapping[str, object], options: VapiOptions) -> dict[str, object]:
    found: dict[str, object] = {"endCall": body["end_call"]}
    if body["end_call"]:
        found["message"] = options.spoken_ending
    elif body["warn_seconds"] is not None:
        found["warning"] = {
            "message": options.spoken_warning,
            "remainingSeconds": body["warn_seconds"],
        }
    for name in NUMBERS:
        found[name] = body[name]
    return found


def _note(
    services: Services,
    asked: Asked,
    received_ms: int,
    http_status: int,
    outcome: str,
    error: str | None = None,
    *,
    detail: Mapping[str, object] = NOTHING,
) -> None:
    services.recorder.delivery(
        Delivery(
            org_id=asked.org_id or None,
            call_id=asked.call_id or None,
            type=TYPE,
            status=None,
            received_ms=received_ms,
            http_status=http_status,
            outcome=outcome,
            error=error,
            detail=detail,
            latency_ms=services.clock.now_ms() - received_ms,
        )
    )
