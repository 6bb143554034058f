"""`GET /openapi.json`, made from the table of routes, and `GET /docs`, which shows it."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import to_json

from .answers import JSON_HEADERS
from .options import EdgeOptions
from .routing import Route, Scope
from .shapes import ErrorAnswer

PAGE = Path(__file__).with_name("docs.html")

PAGE_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'"
    ),
    "Server": "wallet",
}

DESCRIPTION: Final = """\
Prepaid wallets for platforms that resell voice AI. Money is in whole pence (`…_pence`), times
are ISO 8601 in UTC. A request that changes money carries an `Idempotency-Key`, or takes its key
from the call: the same again is answered as the first time, with `duplicate: true`. Every error
is `{"error": "<sentence>", "code": "<word>", …}`; a 503 says when to try again."""

SECURITY: Final[Mapping[Scope, list[dict[str, list[str]]]]] = {
    Scope.OPEN: [],
    Scope.ORG: [{"token": []}],
    Scope.SERVICE: [{"token": []}],
    Scope.OPERATOR: [{"token": []}],
    Scope.VAPI: [{"vapiSecret": []}, {"vapiBearer": []}, {}],
}

WHO: Final[Mapping[Scope, str]] = {
    Scope.OPEN: "Open to everybody.",
    Scope.ORG: "For tokens of any scope; `org` sees its own organisation.",
    Scope.SERVICE: "For tokens of scope `service` or `operator`.",
    Scope.OPERATOR: "For tokens of scope `operator`.",
    Scope.VAPI: "For Vapi, by the secret or signature that is configured.",
}

SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": (
            "Claims: `exp`; `scope`, one of `org` (default; needs `org_id`, sees its own org), "
            "`service` (any org, /v1 and billing) and `operator` (everything)."
        ),
    },
    "vapiSecret": {"type": "apiKey", "in": "header", "name": "X-Vapi-Secret"},
    "vapiBearer": {"type": "http", "scheme": "bearer"},
}

PARAMETERS: Final[Mapping[str, Mapping[str, object]]] = {
    "org_id": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"},
    "assistant_id": {"type": "string", "minLength": 1, "maxLength": 128},
    "phone_number_id": {"type": "string", "minLength": 1, "maxLength": 128},
    "call_id": {"type": "string", "minLength": 1, "maxLength": 128},
    "key": {"type": "string", "minLength": 1, "maxLength": 255},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "cursor": {"type": "string", "pattern": "^[0-9]+$"},
    "seq": {"type": "integer", "minimum": 1},
    "from": {"type": "string", "format": "date-time"},
    "to": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "date-time"},
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255},
}
"""What parameters may be, by name; any other is a text."""

REQUIRED: Final = frozenset({"time"})
"""Parameters of a query that cannot be left out."""

JSON: Final = "application/json"
KINDS: Final[Mapping[str, str]] = {"/metrics": "text/plain", "/docs": "text/html"}
"""What is answered as something else than JSON, by path."""

VARIABLE = re.compile(r"\{(\w+)\}")

BAD_BODY: Final = (400, 408, 413)
BY_TAG: Final[Mapping[str, tuple[int, ...]]] = {
    "engine": (402, 403, 404, 409, 422),
    "billing": (400, 404),
    "admin": (400, 404, 409, 422),
}
"""Which errors the operations under a tag may answer with, beside those that all have."""


class Document:
    """The documents that describe the interface, made once."""

    def __init__(self, routes: Sequence[Route], options: EdgeOptions) -> None:
        self.json = to_json(document(routes, options))
        self.page = PAGE.read_bytes()


DOCUMENT: Final = web.AppKey("DOCUMENT", Document)


async def openapi_json(request: web.Request) -> web.Response:
    """Return the description of this interface."""
    return web.Response(body=request.app[DOCUMENT].json, headers=JSON_HEADERS)


async def docs(request: web.Request) -> web.Response:
    """Return a page that shows the description."""
    return web.Response(body=request.app[DOCUMENT].page, headers=PAGE_HEADERS)


OPENAPI_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/openapi.json",
        handler=openapi_json,
        summary="This description",
        scope=Scope.OPEN,
        tag="operations",
        responses={HTTPStatus.OK: dict[str, Any]},
    ),
    Route(
        method="GET",
        path="/docs",
        handler=docs,
        summary="This description, as a page",
        scope=Scope.OPEN,
        tag="operations",
        responses={HTTPStatus.OK: str},
    ),
)


def document(routes: Sequence[Route], options: EdgeOptions) -> dict[str, object]:
    """Return the OpenAPI 3.1 document of `routes`."""
    references, components = _schemas(routes)
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        path = paths.setdefault(route.path, {})
        path[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wallet engine",
            "version": options.version,
            "description": DESCRIPTION,
        },
        "servers": [{"url": options.public_url or "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _errors(routes, references),
            "securitySchemes": SCHEMES,
        },
    }


Reference = tuple[object, JsonSchemaMode]


def _schemas(routes: Sequence[Route]) -> tuple[dict[Reference, Any], dict[str, Any]]:
    """Return the schema of each shape that goes over the wire, and what they refer to."""
    wanted: dict[Reference, None] = {(ErrorAnswer, "serialization"): None}
    for route in routes:
        if route.request is not None:
            wanted[route.request, "validation"] = None
        for shape in responses_of(route).values():
            wanted[shape, "serialization"] = None
    adapters = [(shape, mode, TypeAdapter[Any](cast("type", shape))) for shape, mode in wanted]
    found, rest = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    references = {(shape, mode): found[shape, mode] for shape, mode in wanted}
    return references, rest.get("$defs", {})


def responses_of(route: Route) -> dict[int, object]:
    """Return the shape of every answer that a route may give, errors included."""
    errors: set[int] = {500}
    if route.scope is not Scope.OPEN:
        errors.add(503)
    if route.scope in {Scope.ORG, Scope.SERVICE, Scope.OPERATOR}:
        errors |= {401, 403}
    if route.scope is Scope.VAPI:
        errors.add(408)
    elif route.request is not None:
        errors |= {*BAD_BODY}
    errors |= {*BY_TAG.get(route.tag, ())}
    return {**dict.fromkeys(sorted(errors), ErrorAnswer), **route.responses}


def _errors(routes: Sequence[Route], references: Mapping[Reference, Any]) -> dict[str, object]:
    """Return the answers that many operations share: one for each status of an error."""
    statuses = {
        status
        for route in routes
        for status, shape in responses_of(route).items()
        if shape is ErrorAnswer
    }
    return {
        _named(status): _response(status, ErrorAnswer, references, JSON)
        for status in sorted(statuses)
    }


def _named(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _operation(route: Route, references: Mapping[Reference, Any]) -> dict[str, object]:
    found: dict[str, object] = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "description": f"{(route.handler.__doc__ or '').strip()}\n\n{WHO[route.scope]}".strip(),
        "security": SECURITY[route.scope],
        "parameters": [*_parameters(route)],
        "responses": {
            str(int(status)): (
                {"$ref": f"#/components/responses/{_named(status)}"}
                if shape is ErrorAnswer
                else _response(int(status), shape, references, KINDS.get(route.path, JSON))
            )
            for status, shape in sorted(responses_of(route).items())
        },
    }
    if route.request is not None:
        schema = references[route.request, "validation"]
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", VARIABLE.sub(r"\1", route.path)).strip("_")
    return f"{route.method.lower()}_{words}"


def _parameters(route: Route) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        _parameter("path", name, "", required=True, lax=route.scope is Scope.VAPI)
        for name in VARIABLE.findall(route.path)
    ]
    for name, text in route.query.items():
        found.append(_parameter("query", name, text, required=name in REQUIRED))
    for name, text in route.headers.items():
        found.append(_parameter("header", name, text, required=text.startswith("Required")))
    return found


def _parameter(
    place: str, name: str, text: str, *, required: bool, lax: bool = False
) -> dict[str, object]:
    """Describe a parameter; `lax`: whatever it is, it is not refused for that."""
    return {
        "in": place,
        "name": name,
        "required": required,
        "schema": {"type": "string"} if lax else PARAMETERS.get(name, {"type": "string"}),
        **({"description": text} if text else {}),
    }


def _response(
    status: int, shape: object, references: Mapping[Reference, Any], kind: str
) -> dict[str, object]:
    headers: dict[str, object] = {
        "X-Request-Id": {
            "description": "The id under which this request is found in the logs.",
            "schema": {"type": "string"},
        }
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE and shape is ErrorAnswer:
        headers["Retry-After"] = {
            "description": "Seconds to wait.",
            "schema": {"type": "string"},
        }
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers,
        "content": {kind: {"schema": references[shape, "serialization"]}},
    }
