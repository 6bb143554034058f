"""The one table of routes: the router and `/openapi.json` are both made from it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scope(StrEnum):
    """Who may call a route.  `VAPI` is checked by Vapi's own authentications."""

    OPEN = "open"
    ORG = "org"
    SERVICE = "service"
    OPERATOR = "operator"
    VAPI = "vapi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: how it is reached, by whom, what it takes and gives.

    `request` and `response` are types that pydantic's TypeAdapter understands (dataclasses
    or TypedDicts); `responses` maps a status to its type; `query` and `headers` name
    parameters with a sentence each.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    scope: Scope
    tag: str
    request: object | None = None
    responses: Mapping[int, object] = field(default_factory=lambda: MappingProxyType({}))
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body_max_bytes: int = 65_536
