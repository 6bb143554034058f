"""Who answers which calls: `/admin/assistants` and `/admin/phone-numbers`."""

import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Final, Required

from aiohttp import web
from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from wallet_engine.errors import InvalidCommand, UnknownOrg
from wallet_engine.ports import Assistant, PhoneNumber
from wallet_engine.texts import check_org_id, check_printable

from .answers import Problem, json_response
from .bodies import body_of, check_storable, reader_of
from .routing import Route, Scope
from .services import SERVICES, Services
from .shapes import STRICT, OrgId, text

ID_MAX = 128
"""As long as the id of a call: providers' ids are UUIDs."""

CONFIG_BYTES_MAX = 1024 * 1024
"""A whole assistant with its prompts and tools; Vapi's own are far smaller."""

NUMBER = re.compile(r"^(\+[1-9][0-9]{1,14}|sips?:[!-~]{1,120})$")
"""A number in E.164, or an address in SIP."""

ProviderId = Annotated[str, text(ID_MAX)]


class AssistantBody(TypedDict, total=False):
    """Who answers calls: `assistant` is its whole configuration, if the engine shall send it."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    org_id: Required[OrgId]
    default: bool
    assistant: (
        Annotated[
            dict[str, Any], WithJsonSchema({"type": "object", "description": "As Vapi takes it."})
        ]
        | None
    )


class NumberBody(TypedDict, total=False):
    """A number, and who answers it; without `assistant_id` the org's default does."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    org_id: Required[OrgId]
    number: Required[Annotated[str, text(125, pattern=NUMBER.pattern)]]
    assistant_id: ProviderId | None


class AssistantView(TypedDict):
    """Who answers calls."""

    assistant_id: str
    org_id: str
    default: bool
    assistant: dict[str, Any] | None


class NumberView(TypedDict):
    """A number, and who answers it."""

    phone_number_id: str
    org_id: str
    number: str
    assistant_id: str | None


_read_assistant = reader_of(AssistantBody)
_read_number = reader_of(NumberBody)


async def put_assistant(request: web.Request) -> web.Response:
    """Store an assistant, whole: what is not said is not kept."""
    services = request.app[SERVICES]
    assistant_id = check_printable("assistant_id", request.match_info["assistant_id"], high=ID_MAX)
    body = _read_assistant(await body_of(request))
    config = body.get("assistant")
    check_storable("assistant", config)
    org_id = await _org(services, body["org_id"])
    assistant = Assistant(
        assistant_id=assistant_id,
        org_id=org_id,
        default=body.get("default", False),
        config_json=None if config is None else _dumped(config),
    )
    before = await services.store.assistant(assistant_id)
    await services.store.put_assistant(assistant)
    services.directory.forget_assistant(assistant_id)
    status = HTTPStatus.CREATED if before is None else HTTPStatus.OK
    return json_response(_assistant_view(assistant), status)


async def show_assistant(request: web.Request) -> web.Response:
    """Show an assistant."""
    assistant_id = check_printable("assistant_id", request.match_info["assistant_id"], high=ID_MAX)
    assistant = await request.app[SERVICES].store.assistant(assistant_id)
    if assistant is None:
        raise _unknown("assistant", assistant_id)
    return json_response(_assistant_view(assistant))


async def put_number(request: web.Request) -> web.Response:
    """Store a number, whole."""
    services = request.app[SERVICES]
    number_id = check_printable(
        "phone_number_id", request.match_info["phone_number_id"], high=ID_MAX
    )
    body = _read_number(await body_of(request))
    if not NUMBER.fullmatch(check_printable("number", body["number"], high=125)):
        raise InvalidCommand("number", "must be E.164 such as +14155550123, or a sip: address")
    org_id = await _org(services, body["org_id"])
    assistant_id = body.get("assistant_id")
    if assistant_id is not None:
        check_printable("assistant_id", assistant_id, high=ID_MAX)
        known = await services.store.assistant(assistant_id)
        if known is not None and known.org_id != org_id:
            raise InvalidCommand("assistant_id", "belongs to another organisation")
    number = PhoneNumber(
        phone_number_id=number_id, org_id=org_id, number=body["number"], assistant_id=assistant_id
    )
    before = await services.store.number(number_id, "")
    await services.store.put_number(number)
    services.directory.forget_number(number_id)
    status = HTTPStatus.CREATED if before is None else HTTPStatus.OK
    return json_response(_number_view(number), status)


async def show_number(request: web.Request) -> web.Response:
    """Show a number."""
    number_id = check_printable(
        "phone_number_id", request.match_info["phone_number_id"], high=ID_MAX
    )
    number = await request.app[SERVICES].store.number(number_id, "")
    if number is None:
        raise _unknown("phone number", number_id)
    return json_response(_number_view(number))


async def _org(services: Services, value: object) -> str:
    org_id = check_org_id(value)
    if await services.store.org(org_id) is None:
        raise UnknownOrg(org_id)
    return org_id


def _unknown(kind: str, name: str) -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND, f"unknown_{kind.replace(' ', '_')}", f"There is no {kind} {name}."
    )


def _dumped(config: dict[str, Any]) -> str:
    try:
        return json.dumps(config, ensure_ascii=False, allow_nan=False)
    except ValueError:  # an integer of thousands of digits
        raise InvalidCommand("assistant", "holds a number that cannot be stored") from None


def _assistant_view(assistant: Assistant) -> dict[str, object]:
    config = assistant.config_json
    return {
        "assistant_id": assistant.assistant_id,
        "org_id": assistant.org_id,
        "default": assistant.default,
        "assistant": None if config is None else json.loads(config),
    }


def _number_view(number: PhoneNumber) -> dict[str, object]:
    return {
        "phone_number_id": number.phone_number_id,
        "org_id": number.org_id,
        "number": number.number,
        "assistant_id": number.assistant_id,
    }


MAPPING_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="PUT",
        path="/admin/assistants/{assistant_id}",
        handler=put_assistant,
        summary="Store who answers an organisation's calls",
        scope=Scope.OPERATOR,
        tag="admin",
        request=AssistantBody,
        responses={HTTPStatus.CREATED: AssistantView, HTTPStatus.OK: AssistantView},
        body_max_bytes=CONFIG_BYTES_MAX,
    ),
    Route(
        method="GET",
        path="/admin/assistants/{assistant_id}",
        handler=show_assistant,
        summary="Show an assistant",
        scope=Scope.OPERATOR,
        tag="admin",
        responses={HTTPStatus.OK: AssistantView},
    ),
    Route(
        method="PUT",
        path="/admin/phone-numbers/{phone_number_id}",
        handler=put_number,
        summary="Store whose number this is, and who answers it",
        scope=Scope.OPERATOR,
        tag="admin",
        request=NumberBody,
        responses={HTTPStatus.CREATED: NumberView, HTTPStatus.OK: NumberView},
    ),
    Route(
        method="GET",
        path="/admin/phone-numbers/{phone_number_id}",
        handler=show_number,
        summary="Show a phone number",
        scope=Scope.OPERATOR,
        tag="admin",
        responses={HTTPStatus.OK: NumberView},
    ),
)
