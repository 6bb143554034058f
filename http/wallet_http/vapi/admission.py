"""May this call start?  Who answers it is found first, then the money is held.

Whatever happens inside, Vapi is answered in time: past the deadline, and whenever no decision
is possible, `on_unavailable` says what the caller gets.  Source: SPEC §5.1.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import web

from wallet_engine.directory import MessageIds
from wallet_engine.errors import (
    DeadlinePassed,
    InvalidCommand,
    LedgerUnavailable,
    UnknownOrg,
    WalletError,
)
from wallet_engine.journal import Outcome
from wallet_engine.ports import Assistant
from wallet_engine.settings import OnUnavailable, Settings, settings_of
from wallet_http.answers import Problem, json_response, problem_of
from wallet_http.logs import DECISIONS
from wallet_http.options import EdgeOptions
from wallet_http.services import SERVICES, Services

from . import replies
from .facts import facts_of
from .messages import Message
from .replies import No, Reply

SERVER_MESSAGES: Final = ("status-update", "end-of-call-report")
"""What settlement needs.  More would only be noise: Vapi's default is eleven types."""

SERVER_TIMEOUT_S: Final = 20
"""How long Vapi shall wait for an answer to these messages: its own default."""

BACKOFF_PLAN: Final[Mapping[str, object]] = {
    "type": "exponential",
    "maxRetries": 6,
    "baseDelaySeconds": 1,
    "excludedStatusCodes": [400, 401, 403, 404, 409, 413, 422],
}
"""How Vapi shall repeat what was not delivered; by default it does not.  Six attempts reach over
a minute, a database's failover included.  What is excluded fails again however often it comes."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Way:
    """How far an admission came before it had to be answered.

    `settings` say what an undecided caller gets: once read they are not read again, since the
    engine was told by then whether to keep a hold that comes late.
    """

    ids: MessageIds
    org_id: str | None = None
    assistant: Assistant | None = None
    settings: Settings | None = None


async def admission(
    app: web.Application, message: Message, path_org_id: str, *, spoken: bool, until_s: float
) -> Reply:
    """Answer an assistant-request, not later than the loop's time `until_s`.

    A hold that becomes durable for a caller who was told no is given back by the engine.
    """
    services = app[SERVICES]
    way = _Way(message.ids(path_org_id))
    try:
        async with asyncio.timeout_at(until_s):
            no = await _decided(services, message, way)
    except UnknownOrg:
        no = replies.unknown_org(services.options.vapi)
    except TimeoutError:
        late = DeadlinePassed("No decision about this call in time.")
        no = _undecided(services, message, way, problem_of(late))
    except InvalidCommand as error:
        no = replies.failed(problem_of(error), services.options.vapi)
    except WalletError as error:
        no = _undecided(services, message, way, problem_of(error))
    except Exception:
        log.exception("An admission met a bug", org_id=way.org_id, call_id=message.call_id)
        no = _undecided(services, message, way, replies.BUG)
    if isinstance(no, Reply):
        return no
    app[DECISIONS].refused(
        "reserve",
        way.org_id,
        message.call_id,
        {"error": no.problem.message, "code": no.problem.code, **no.detail},
        assistant_id=way.assistant and way.assistant.assistant_id,
    )
    return no.reply(way.org_id, spoken=spoken)


async def _decided(services: Services, message: Message, way: _Way) -> Reply | No:
    options, directory = services.options, services.directory
    call_id = message.call_id
    if not call_id:
        raise InvalidCommand("message.call.id", "is required")
    try:
        no = await _found(services, way)
    except LedgerUnavailable:  # a decision may be possible all the same
        if not _recollected(services, way):
            raise
        no = None
    if no is not None:
        return no
    org_id, assistant, settings = way.org_id, way.assistant, way.settings
    assert org_id is not None
    assert assistant is not None
    assert settings is not None
    # The same timeout for everyone: the engine watches all asks of one timeout in one line.
    answer = await services.calls.admit(
        org_id,
        call_id,
        let_in_undecided=settings.on_unavailable is OnUnavailable.ALLOW,
        timeout_s=options.vapi_deadline_s,
    )
    if answer.code is not None:
        return replies.refused(answer, options.vapi)
    directory.note_call(call_id, org_id)
    facts = facts_of(message, org_id, services.clock.now_ms())
    services.recorder.call(replace(facts, assistant_id=assistant.assistant_id))
    cap = answer.body["max_duration_seconds"]
    assert isinstance(cap, int), "a hold has a cap"
    return Reply(
        json_response(answered_by(assistant, org_id, call_id, cap, options)),
        "duplicate" if answer.outcome is Outcome.REPEATED else "admitted",
        org_id,
        detail={"held_pence": answer.body["reserved_pence"], "max_duration_seconds": cap},
    )


async def _found(services: Services, way: _Way) -> Reply | No | None:
    """Find out whose the call is, who answers it, and what its org wants; or why nobody does."""
    options, directory, ids = services.options, services.directory, way.ids
    located = await directory.org_of_message(ids)
    org_id = way.org_id = located.org_id
    if org_id is None:
        return replies.unknown_org(options.vapi)
    if located.conflict:
        return replies.conflict(org_id)
    way.assistant = await directory.answering(
        org_id,
        phone_number_id=ids.phone_number_id,
        number=ids.number,
        assistant_id=ids.assistant_id,
    )
    if way.assistant is None:
        return replies.no_assistant(options.vapi)
    way.settings = await _settings(services, org_id)
    return None


def _recollected(services: Services, way: _Way) -> bool:
    """The directory cannot be asked: what it knew last is good enough to ask for a decision."""
    known = services.directory.recollect(way.ids)
    owner = services.directory.org_of_known_call(way.ids.call_id)
    if known is None or {way.org_id, owner} - {None, known.org_id}:
        return False
    way.org_id, way.assistant = known.org_id, known.assistant
    way.settings = services.node.known_settings(known.org_id)
    if way.settings is None:
        try:
            way.settings = settings_of(services.options.defaults, known.overrides)
        except InvalidCommand:
            way.settings = services.options.defaults
    return True


async def _settings(services: Services, org_id: str) -> Settings:
    """Return an org's settings: of its wallet if that is here, else as they are stored.

    When the node that has the wallet has died, they are what says whether to answer all the same.
    """
    known = services.node.known_settings(org_id)
    if known is not None:
        return known
    defaults = services.options.defaults
    try:
        return settings_of(defaults, await services.directory.overrides(org_id))
    except (LedgerUnavailable, InvalidCommand) as error:
        # A decision needs none of this, so it may still come.
        log.warning("The settings of an org are not known", org_id=org_id, error=str(error))
        return defaults


def _undecided(services: Services, message: Message, way: _Way, problem: Problem) -> Reply | No:
    """Do as `on_unavailable` says.

    A call that is let in keeps the hold that comes late; if none comes, its report is booked.
    """
    options = services.options
    if way.assistant is None:
        _recollected(services, way)
    if way.org_id is None or way.assistant is None:
        return replies.failed(problem, options.vapi)
    settings = way.settings or options.defaults
    if settings.on_unavailable is not OnUnavailable.ALLOW:
        return replies.failed(problem, options.vapi)
    cap = settings.max_call_seconds
    log.warning(
        "Call allowed without a decision",
        org_id=way.org_id,
        call_id=message.call_id,
        code=problem.code,
        max_duration_seconds=cap,
    )
    return Reply(
        json_response(answered_by(way.assistant, way.org_id, message.call_id, cap, options)),
        f"allowed:{problem.code}",
        way.org_id,
        problem.message,
        {"max_duration_seconds": cap},
    )


def answered_by(
    assistant: Assistant, org_id: str, call_id: str, cap_seconds: int, options: EdgeOptions
) -> dict[str, object]:
    """Return who answers and for how long; a stored assistant's own, shorter cap stays."""
    found: dict[str, object] = {}
    if assistant.config_json is None:
        found["assistantId"] = assistant.assistant_id
    else:
        config = found["assistant"] = json.loads(assistant.config_json)
        own = config.get("maxDurationSeconds") if isinstance(config, dict) else None
        if type(own) is int and 0 < own < cap_seconds:
            cap_seconds = own
    overrides: dict[str, object] = {
        "maxDurationSeconds": cap_seconds,
        "metadata": {"orgId": org_id, "callId": call_id},
    }
    if options.public_url:
        overrides["server"] = server_of(org_id, options)
        overrides["serverMessages"] = SERVER_MESSAGES
    found["assistantOverrides"] = overrides
    return found


def server_of(org_id: str, options: EdgeOptions) -> dict[str, object]:
    """Return this engine as a server of Vapi: the path of the org, with a retry plan."""
    path = f"/api/vapi/orgs/{quote(org_id, safe=':')}/webhook"
    server: dict[str, object] = {
        "url": options.public_url + path,
        "timeoutSeconds": SERVER_TIMEOUT_S,
        "backoffPlan": BACKOFF_PLAN,
    }
    if options.vapi.server_credential_id:
        server["credentialId"] = options.vapi.server_credential_id
    return server
