"""The engine's own API: `POST /v1/{verb}`, one handler over a table of verbs.  No rule about money.

Each verb has its own static path: a path with a variable in it costs a quarter of the speed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web

from wallet_engine import commands
from wallet_engine.journal import Outcome

from . import shapes
from .answers import answer_response, json_response
from .bodies import body_of, key_of, optional_key_of, reader_of
from .logs import DECISIONS
from .routing import Handler, Route, Scope
from .services import SERVICES


class Key(Enum):
    """Whether a verb takes an `Idempotency-Key`, or derives its own from the call."""

    REQUIRED = auto()
    OPTIONAL = auto()
    DERIVED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """How one verb becomes a command."""

    command: type[commands.Command]
    body: type
    key: Key
    summary: str


VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        "reserve": Verb(
            command=commands.Reserve,
            body=shapes.ReserveBody,
            key=Key.DERIVED,
            summary="Open a hold for a call, if the money is there",
        ),
        "extend": Verb(
            command=commands.Extend,
            body=shapes.ExtendBody,
            key=Key.OPTIONAL,
            summary="Enlarge the hold of a live call",
        ),
        "commit": Verb(
            command=commands.Commit,
            body=shapes.CommitBody,
            key=Key.DERIVED,
            summary="Charge what a call really cost, and release the rest of its hold",
        ),
        "release": Verb(
            command=commands.Release,
            body=shapes.ReleaseBody,
            key=Key.DERIVED,
            summary="Free the hold of a call that costs nothing",
        ),
        "deduct": Verb(
            command=commands.Deduct,
            body=shapes.DeductBody,
            key=Key.REQUIRED,
            summary="Charge an amount outright",
        ),
        "credit": Verb(
            command=commands.Credit,
            body=shapes.CreditBody,
            key=Key.REQUIRED,
            summary="Pay money in",
        ),
        "suspend": Verb(
            command=commands.Suspend,
            body=shapes.SwitchBody,
            key=Key.REQUIRED,
            summary="Stop new calls and purchases, and end the live calls",
        ),
        "resume": Verb(
            command=commands.Resume,
            body=shapes.SwitchBody,
            key=Key.REQUIRED,
            summary="Lift a suspension",
        ),
        "kill": Verb(
            command=commands.Kill,
            body=shapes.KillBody,
            key=Key.REQUIRED,
            summary="Decide that a call must end now",
        ),
    }
)


def _decides(name: str, verb: Verb) -> Handler:
    read = reader_of(verb.body)
    command_of, key = verb.command, verb.key

    async def decide(request: web.Request) -> web.Response:
        services = request.app[SERVICES]
        values = read(await body_of(request))
        if key is Key.REQUIRED:
            values["client_key"] = key_of(request)
        elif key is Key.OPTIONAL:
            values["client_key"] = optional_key_of(request)
        command = command_of(**values)
        answer = await services.node.ask(command, timeout_s=services.options.request_deadline_s)
        if answer.outcome is Outcome.REFUSED:
            request.app[DECISIONS].refused(name, command.org_id, values.get("call_id"), answer.body)
        return answer_response(answer)

    return decide


_read_check = reader_of(shapes.CheckBody)


async def _check(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    values = _read_check(await body_of(request))
    values.pop("dry_run", None)  # a question never changes anything
    query = commands.Check(**values)
    answer = await services.node.ask(query, timeout_s=services.options.request_deadline_s)
    body = {"org_id": query.org_id, "call_id": query.call_id, "duplicate": False}
    return json_response({**body, **answer.body})


def _route_of(name: str, verb: Verb) -> Route:
    needs_key = {
        Key.REQUIRED: {"Idempotency-Key": "Required: a repeat under the same key does nothing."},
        Key.OPTIONAL: {"Idempotency-Key": "Makes repeats harmless; without it each enlarges."},
        Key.DERIVED: {},
    }
    return Route(
        method="POST",
        path=f"/v1/{name}",
        handler=_decides(name, verb),
        summary=verb.summary,
        scope=Scope.SERVICE,
        tag="engine",
        request=verb.body,
        responses={
            HTTPStatus.CREATED: shapes.DecisionAnswer,
            HTTPStatus.OK: shapes.DecisionAnswer,
        },
        headers=needs_key[verb.key],
    )


V1_ROUTES: Final[tuple[Route, ...]] = (
    *(_route_of(name, verb) for name, verb in VERBS.items()),
    Route(
        method="POST",
        path="/v1/check",
        handler=_check,
        summary="Ask whether a call may go on, and for how long",
        scope=Scope.SERVICE,
        tag="engine",
        request=shapes.CheckBody,
        responses={HTTPStatus.OK: shapes.CheckAnswer},
    ),
)
