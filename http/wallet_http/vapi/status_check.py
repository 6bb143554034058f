"""The kill switch's question: may this call go on?  Source: SPEC §5.2.

Asked often and by many, so the usual answer is made with as little as possible: no timer, and
no row in the delivery log.  Only what ends a call or could not be answered is noted there.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from wallet_engine.commands import SECONDS_MAX
from wallet_engine.errors import DeadlinePassed, InvalidCommand, UnknownOrg, WalletError
from wallet_engine.ports import Delivery
from wallet_http.answers import json_response, problem_of, problem_response
from wallet_http.options import VapiOptions
from wallet_http.services import SERVICES, Services

from .auth import authenticated_body
from .durations import scaled
from .messages import Message, read_body

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


async def status_check(request: web.Request) -> web.Response:
    """Say whether a call must end, how long it may last, and whether to warn its caller."""
    services = request.app[SERVICES]
    received_ms = services.clock.now_ms()
    raw = await authenticated_body(request, services.options, received_ms)
    message = Message({})
    try:
        message = Message(read_body(raw))
        if not message.call_id:
            raise InvalidCommand("callId", "is required, or call.id, or message.call.id")
        found = await _checked(services, message)
    except UnknownOrg:
        found = None
    except (WalletError, TimeoutError) as error:
        known = error if isinstance(error, WalletError) else DeadlinePassed("Not asked in time.")
        problem = problem_of(known)
        _note(services, message, received_ms, problem.status, "error", problem.code)
        return problem_response(problem)
    if found is None:
        _note(services, message, received_ms, 200, "unknown_org")
        return json_response(UNKNOWN)
    org_id, body = found
    if body["end_call"]:
        reason = str(body["reason"])
        _note(services, message, received_ms, 200, f"end_call:{reason}", org_id=org_id, body=body)
    return json_response(_told(body, services.options.vapi))


async def _checked(services: Services, message: Message) -> tuple[str, Mapping[str, object]] | None:
    """Ask the call's wallet; None: the call belongs to no org that is known."""
    call_id = message.call_id
    elapsed_ms = _elapsed_ms(message)
    timeout_s = services.options.vapi_deadline_s
    org_id = services.directory.org_of_known_call(call_id)
    if org_id is None:
        async with asyncio.timeout(timeout_s):
            located = await services.directory.org_of_message(message.ids(""))
        org_id = located.org_id
        if org_id is None:
            return None
    answer = await services.calls.check(org_id, call_id, elapsed_ms=elapsed_ms, timeout_s=timeout_s)
    return org_id, answer.body


def _elapsed_ms(message: Message) -> int | None:
    """Return how long the call has lasted, if the request says so.

    Raises:
        InvalidCommand: it says so, but not as a number of seconds that can be.
    """
    told: object = message.body.get("elapsedSeconds")
    if told is None:
        told = message.message.get("elapsedSeconds")
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
    message: Message,
    received_ms: int,
    http_status: int,
    outcome: str,
    error: str | None = None,
    *,
    org_id: str | None = None,
    body: Mapping[str, object] | None = None,
) -> None:
    services.recorder.delivery(
        Delivery(
            org_id=org_id,
            call_id=message.call_id or None,
            type=TYPE,
            status=None,
            received_ms=received_ms,
            http_status=http_status,
            outcome=outcome,
            error=error,
            detail=body or {},
            latency_ms=services.clock.now_ms() - received_ms,
        )
    )
