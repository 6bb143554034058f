"""Vapi's server messages: what each type does.  Source: SPEC §5.1.

A message is found its org, handled, answered and noted in the delivery log.  Only admissions
and settlements touch money; a settlement is acknowledged once it is durable, and what cannot
be done now is answered 503, so that Vapi sends it again.
"""

import asyncio
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from wallet_engine.errors import DeadlinePassed, UnknownOrg, WalletError
from wallet_engine.journal import Answer, Outcome
from wallet_engine.ports import Delivery
from wallet_http.answers import Problem, problem_of, problem_response
from wallet_http.services import SERVICES, Services

from . import replies
from .admission import admission
from .auth import authenticated_body
from .durations import duration_ms
from .facts import facts_of
from .messages import NO_MESSAGE, Message, read_message
from .replies import Reply, okay

ADMISSION: Final = "assistant-request"
STATUS: Final = "status-update"
REPORT: Final = "end-of-call-report"

ANSWER_SHARE: Final = 0.95
"""The part of the deadline that deciding may take; the rest is for giving the answer."""

IGNORED: Final = frozenset(
    {
        "assistant.speechStarted",
        "assistant.started",
        "call.artifact.upload",
        "call.delete.failed",
        "call.deleted",
        "call.endpointing.request",
        "campaign.predial",
        "chat.created",
        "chat.deleted",
        "conversation-update",
        "function-call",
        "handoff-destination-request",
        "hang",
        "knowledge-base-request",
        "language-change-detected",
        "language-changed",
        "model-output",
        "phone-call-control",
        "session.created",
        "session.deleted",
        "session.updated",
        "speech-update",
        "tool-calls",
        "transcript",
        "transfer-destination-request",
        "transfer-update",
        "user-interrupted",
        "voice-input",
        "voice-request",
    }
)
"""Documented types that mean nothing to a wallet; `hang` says that the assistant is slow.
Source: Vapi's OpenAPI, ServerMessage, and the types that can be subscribed to."""

log = structlog.get_logger(__name__)


async def take_message(request: web.Request) -> web.Response:
    """Take a message whose org is found by what it says."""
    return await _taken(request, "")


async def take_org_message(request: web.Request) -> web.Response:
    """Take a message for the org in the path, which is registered at Vapi."""
    return await _taken(request, request.match_info["org_id"])


async def _taken(request: web.Request, path_org_id: str) -> web.Response:
    services = request.app[SERVICES]
    options = services.options
    now_s = asyncio.get_running_loop().time
    received_ms, received_s = services.clock.now_ms(), now_s()
    raw = await authenticated_body(request, options, received_ms)
    message = NO_MESSAGE
    try:
        message = read_message(raw)
        if (known := _ignorable(services, message, path_org_id)) is not None:
            reply = Reply(okay(), "ignored", known)
        elif message.type == ADMISSION:
            reply = await admission(
                request.app,
                message,
                path_org_id,
                spoken=bool(path_org_id) or options.vapi.refusal == "spoken",
                until_s=received_s + options.vapi_deadline_s * ANSWER_SHARE,
            )
        else:
            async with asyncio.timeout_at(received_s + options.vapi_deadline_s):
                reply = await _handled(services, message, path_org_id, received_ms)
    except TimeoutError:
        reply = _unhandled(message, problem_of(DeadlinePassed("Not handled in time.")))
    except UnknownOrg:
        reply = Reply(okay(), "unknown_org")
    except WalletError as error:
        reply = _unhandled(message, problem_of(error))
    except Exception:
        log.exception("A message of Vapi met a bug", type=message.type, call_id=message.call_id)
        reply = _unhandled(message, replies.BUG)
    latency_ms = round((now_s() - received_s) * 1000)
    services.recorder.delivery(_delivery(message, reply, received_ms, latency_ms))
    return reply.response


def _ignorable(services: Services, message: Message, path_org_id: str) -> str | None:
    """Return the org of a message that means nothing, if this node remembers its call."""
    if message.type not in IGNORED:
        return None
    known = services.directory.org_of_known_call(message.call_id)
    return known if not path_org_id or path_org_id == known else None


async def _handled(
    services: Services, message: Message, path_org_id: str, received_ms: int
) -> Reply:
    located = await services.directory.org_of_message(message.ids(path_org_id))
    org_id = located.org_id
    if org_id is None:
        return Reply(okay(), "unknown_org")
    if located.conflict:
        return replies.conflict(org_id)
    if message.type == REPORT:
        return await _reported(services, message, org_id, received_ms)
    if message.type == STATUS:
        return await _status(services, message, org_id, received_ms)
    return Reply(okay(), "ignored" if message.type in IGNORED else "unknown_type", org_id)


async def _status(services: Services, message: Message, org_id: str, received_ms: int) -> Reply:
    """Follow a call: its clock starts in progress, and it is settled some time after its end."""
    call_id = message.call_id
    if not call_id:
        return Reply(okay(), "ignored", org_id)
    _note(services, message, org_id, received_ms)
    match message.status:
        case "in-progress":
            await services.calls.started(
                org_id,
                call_id,
                heard_ms=received_ms,
                timeout_s=services.options.vapi_deadline_s,
            )
            return Reply(okay(), "started", org_id)
        case "ended":
            took_ms = duration_ms(message)
            services.calls.ended(org_id, call_id, took_ms)
            return Reply(okay(), "ended", org_id, detail={"duration_ms": took_ms})
        case _:  # `forwarding` is still live
            return Reply(okay(), "noted", org_id)


async def _reported(services: Services, message: Message, org_id: str, received_ms: int) -> Reply:
    """Settle a call by its report.  The answer says that it is durable."""
    call_id = message.call_id
    if not call_id:
        return Reply(okay(), "ignored", org_id)
    _note(services, message, org_id, received_ms)
    took_ms = duration_ms(message)
    answer = await services.calls.report(
        org_id, call_id, took_ms, timeout_s=services.options.vapi_deadline_s
    )
    detail: dict[str, object] = {"duration_ms": took_ms}
    if answer is None:
        return Reply(okay(), "unknown_duration", org_id, detail=detail)
    for name in ("seq", "charged_pence", "released_pence", "uncollected_pence"):
        if name in answer.body:
            detail[name] = answer.body[name]
    if answer.code is not None:
        error = str(answer.body["error"])
        return Reply(okay(), f"refused:{answer.code}", org_id, error, detail)
    return Reply(okay(), _outcome(answer), org_id, detail=detail)


def _note(services: Services, message: Message, org_id: str, received_ms: int) -> None:
    """Keep what a message says of its call, and whose it is: from now on that does not change.

    Also of a call that was never admitted: it is billed, and two orgs must not pay for it.
    """
    services.recorder.call(facts_of(message, org_id, received_ms))
    services.directory.note_call(message.call_id, org_id)


def _outcome(answer: Answer) -> str:
    if answer.outcome is Outcome.REPEATED:
        return "duplicate"
    match answer.body["type"]:
        case "adjustment":
            return "adjusted"
        case "reservation_release":
            return "released"
        case _:
            return "settled"


def _unhandled(message: Message, problem: Problem) -> Reply:
    """Answer a message that met an error; what means nothing is not worth a repetition."""
    ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if ours and message.type in IGNORED:
        return Reply(okay(), "ignored", error=problem.code)
    log.warning(
        "Message of Vapi not handled",
        type=message.type,
        status=message.status,
        call_id=message.call_id,
        code=problem.code,
    )
    outcome = "error" if ours else "invalid"
    return Reply(problem_response(problem), outcome, error=f"{problem.code}: {problem.message}")


def _delivery(message: Message, reply: Reply, received_ms: int, latency_ms: int) -> Delivery:
    return Delivery(
        org_id=reply.org_id,
        call_id=message.call_id or None,
        type=message.type or "unknown",
        status=message.status,
        received_ms=received_ms,
        http_status=reply.response.status,
        outcome=reply.outcome,
        error=reply.error,
        detail=reply.detail,
        latency_ms=latency_ms,
    )
