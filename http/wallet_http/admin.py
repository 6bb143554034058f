"""What operators set: organisations, who answers their calls, the kill switch of the fleet."""

import secrets
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any, Final, NotRequired, Required

import structlog
from aiohttp import web
from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from wallet_engine.commands import CLIENT_SPACE, REASON_MAX, ChangeSettings, Welcome
from wallet_engine.errors import InvalidCommand, UnknownOrg, WalletError
from wallet_engine.ports import FleetSwitch, HistoryQuery, Org
from wallet_engine.settings import OVERRIDABLE, Overrides, Settings, merged, settings_of
from wallet_engine.texts import NAME_MAX, check_org_id, check_text
from wallet_engine.wallet import Entry

from .answers import Problem, answer_response, iso_ms, json_response
from .auth import PRINCIPAL
from .billing import WalletView, looked
from .bodies import body_of, check_storable, optional_key_of, reader_of
from .routing import Route, Scope
from .services import SERVICES, Services
from .shapes import STRICT, OrgId, Reason, text

CHANGES_PAGE = 100

Name = Annotated[str, text(NAME_MAX)]
SettingsBody = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {"type": "object", "description": "Settings by name; null inherits the default."}
    ),
]

log = structlog.get_logger(__name__)


class NewOrg(TypedDict, total=False):
    """An organisation to create."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    org_id: Required[OrgId]
    name: Required[Name]
    settings: SettingsBody


class OrgChange(TypedDict, total=False):
    """What to change of an organisation."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    name: Name
    settings: SettingsBody


class SwitchThrow(TypedDict, total=False):
    """The state that the kill switch of the fleet shall have."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    engaged: Required[bool]
    end_live_calls: bool
    reason: Required[Reason]


class OrgView(TypedDict):
    """An organisation: its settings in effect, what it overrides of the defaults, its wallet."""

    org_id: str
    name: str
    created_at: str
    settings: dict[str, Any]
    overrides: dict[str, Any]
    wallet: WalletView
    duplicate: NotRequired[bool]


class SwitchView(TypedDict):
    """The kill switch of the fleet; `switch_id` 0 was never thrown."""

    switch_id: int
    engaged: bool
    end_live_calls: bool
    reason: str
    actor: str
    at: str | None
    duplicate: NotRequired[bool]


_read_new_org = reader_of(NewOrg)
_read_change = reader_of(OrgChange)
_read_throw = reader_of(SwitchThrow)


async def _welcome(services: Services, org_id: str) -> None:
    """Tell the wallet's node that the org exists; else it may be unknown there for seconds."""
    try:
        welcome = Welcome(org_id=org_id)
        await services.node.ask(welcome, timeout_s=services.options.request_deadline_s)
    except WalletError as error:
        log.warning("A new org is not known everywhere yet", org_id=org_id, error=str(error))


async def create_org(request: web.Request) -> web.Response:
    """Create an org; the same again changes nothing, another under its name is refused."""
    services = request.app[SERVICES]
    body = _read_new_org(await body_of(request))
    org_id = check_org_id(body["org_id"])
    name = check_text("name", body["name"], low=1, high=NAME_MAX)
    wanted = checked_settings(body.get("settings", {}))
    overrides = merged({}, wanted)
    settings_of(services.options.defaults, overrides)
    org = Org(org_id=org_id, name=name, created_ms=services.clock.now_ms())
    created = await services.store.create_org(org, overrides, node=services.node.node_id)
    if created:
        await _welcome(services, org_id)
        services.directory.forget_org(org_id)
    elif not await _is_same(services, org, overrides):
        raise Problem(
            HTTPStatus.CONFLICT,
            "already_exists",
            f"There is an organisation {org_id} already, and it is a different one.",
        )
    view = await _org_view(services, org_id)
    status = HTTPStatus.CREATED if created else HTTPStatus.OK
    return json_response({**view, "duplicate": not created}, status)


async def show_org(request: web.Request) -> web.Response:
    """Show an org."""
    org_id = check_org_id(request.match_info["org_id"])
    return json_response(await _org_view(request.app[SERVICES], org_id))


async def change_org(request: web.Request) -> web.Response:
    """Rename an org, change its settings, or both; a repeat under the same key does nothing."""
    services = request.app[SERVICES]
    org_id = check_org_id(request.match_info["org_id"])
    body = _read_change(await body_of(request))
    key = optional_key_of(request) or fresh_key()
    name = body.get("name")
    if name is not None:
        check_text("name", name, low=1, high=NAME_MAX)
    await _known(services, org_id)
    if "settings" in body:
        command = ChangeSettings(
            org_id=org_id, client_key=key, changes=checked_settings(body["settings"])
        )
        answer = await services.node.ask(command, timeout_s=services.options.request_deadline_s)
        if answer.code is not None:
            return answer_response(answer)
    if name is not None:
        await services.store.rename_org(org_id, name)
    services.directory.forget_org(org_id)
    return json_response(await _org_view(services, org_id))


async def throw_switch(request: web.Request) -> web.Response:
    """Throw the kill switch of the fleet; without a key of its own each throw is a new one."""
    services = request.app[SERVICES]
    body = _read_throw(await body_of(request))
    reason = check_text("reason", body["reason"], low=1, high=REASON_MAX)
    wanted = (body["engaged"], body.get("end_live_calls", False), reason)
    key = optional_key_of(request) or fresh_key()
    switch, repeat = await services.fleet.throw(
        key=key,
        engaged=wanted[0],
        end_live_calls=wanted[1],
        reason=reason,
        actor=request[PRINCIPAL].subject,
    )
    if repeat and (switch.engaged, switch.end_live_calls, switch.reason) != wanted:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_key_reuse",
            "This idempotency key was used before, for a different request.",
        )
    status = HTTPStatus.OK if repeat else HTTPStatus.CREATED
    return json_response({**_switch_view(switch), "duplicate": repeat}, status)


async def show_switch(request: web.Request) -> web.Response:
    """Show the kill switch of the fleet."""
    return json_response(_switch_view(request.app[SERVICES].fleet.switch))


def checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` if they are some, and can be stored; what they may be is for the engine."""
    for name, value in settings.items():
        if name not in OVERRIDABLE:
            raise InvalidCommand(name, "is not a setting")
        check_storable(name, value)
    return settings


def fresh_key() -> str:
    """Return a key that nobody used: each request without one is a request of its own."""
    return f"admin-{secrets.token_hex(16)}"


async def _known(services: Services, org_id: str) -> Org:
    org = await services.store.org(org_id)
    if org is None:
        raise UnknownOrg(org_id)
    return org


async def _is_same(services: Services, wanted: Org, overrides: Overrides) -> bool:
    """Whether the org that exists was created by the same request."""
    org = await services.store.org(wanted.org_id)
    first = await services.history.by_seq(wanted.org_id, 1)
    began_with: Overrides = {}
    if first is not None and first.type == "settings_change" and not is_of_caller(first):
        changes = first.detail["changes"]
        assert isinstance(changes, dict), "settings are stored as an object"
        began_with = changes
    return org is not None and org.name == wanted.name and dict(began_with) == dict(overrides)


def is_of_caller(entry: Entry) -> bool:
    """Whether a caller chose the key of this row, and not the engine."""
    return entry.key.startswith(CLIENT_SPACE)


async def overrides_of(services: Services, org_id: str) -> Overrides:
    """Return what an org overrides, by its journal: every change is a row there."""
    changes: list[Overrides] = []
    before_seq = 0
    while True:
        page = await services.history.page(
            HistoryQuery(
                org_id=org_id, limit=CHANGES_PAGE, before_seq=before_seq, type="settings_change"
            )
        )
        for entry in page:
            change = entry.detail["changes"]
            assert isinstance(change, dict), "settings are stored as an object"
            changes.append(change)
        if len(page) < CHANGES_PAGE:
            break
        before_seq = page[-1].seq
    found: Overrides = {}
    for change in reversed(changes):
        found = merged(found, change)
    return found


async def _org_view(services: Services, org_id: str) -> dict[str, object]:
    org = await _known(services, org_id)
    overrides = await overrides_of(services, org_id)
    return {
        "org_id": org_id,
        "name": org.name,
        "created_at": iso_ms(org.created_ms),
        "settings": settings_view(settings_of(services.options.defaults, overrides)),
        "overrides": dict(overrides),
        "wallet": await looked(services, org_id),
    }


def settings_view(settings: Settings) -> dict[str, object]:
    """Return settings as JSON, in the order in which they are declared."""
    found = {
        name: getattr(settings, name)
        for name, item in Settings.__dataclass_fields__.items()
        if item.init
    }
    return {**found, "asset_prices": dict(settings.asset_prices)}


def _switch_view(switch: FleetSwitch | None) -> dict[str, object]:
    if switch is None:
        return {
            "switch_id": 0,
            "engaged": False,
            "end_live_calls": False,
            "reason": "",
            "actor": "",
            "at": None,
        }
    return {
        "switch_id": switch.switch_id,
        "engaged": switch.engaged,
        "end_live_calls": switch.end_live_calls,
        "reason": switch.reason,
        "actor": switch.actor,
        "at": iso_ms(switch.at_ms),
    }


KEY_HEADER: Final = MappingProxyType({"Idempotency-Key": "Makes a repeat do nothing more."})


ORG_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/admin/orgs",
        handler=create_org,
        summary="Create an organisation with an empty wallet",
        scope=Scope.OPERATOR,
        tag="admin",
        request=NewOrg,
        responses={HTTPStatus.CREATED: OrgView, HTTPStatus.OK: OrgView},
    ),
    Route(
        method="GET",
        path="/admin/orgs/{org_id}",
        handler=show_org,
        summary="Show an organisation, its settings and its wallet",
        scope=Scope.OPERATOR,
        tag="admin",
        responses={HTTPStatus.OK: OrgView},
    ),
    Route(
        method="PATCH",
        path="/admin/orgs/{org_id}",
        handler=change_org,
        summary="Rename an organisation, or change its settings",
        scope=Scope.OPERATOR,
        tag="admin",
        request=OrgChange,
        responses={HTTPStatus.OK: OrgView},
        headers=KEY_HEADER,
    ),
    Route(
        method="POST",
        path="/admin/kill-switch",
        handler=throw_switch,
        summary="Stop, or release, the whole fleet",
        scope=Scope.OPERATOR,
        tag="admin",
        request=SwitchThrow,
        responses={HTTPStatus.CREATED: SwitchView, HTTPStatus.OK: SwitchView},
        headers=KEY_HEADER,
    ),
    Route(
        method="GET",
        path="/admin/kill-switch",
        handler=show_switch,
        summary="Show the kill switch of the fleet",
        scope=Scope.OPERATOR,
        tag="admin",
        responses={HTTPStatus.OK: SwitchView},
    ),
)
