"""The HTTP application: routes, and the one middleware through which every request goes.

The middleware gives each request an id, asks who it is, and turns whatever goes wrong into
JSON.  It is one function, because each further middleware costs every request.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import count
from typing import Final

import structlog
from aiohttp import ClientPayloadError, web
from aiohttp.typedefs import Middleware
from aiohttp.web_urldispatcher import AbstractRoute

from wallet_engine.errors import WalletError

from .answers import Problem, problem_of, problem_response
from .auth import PRINCIPAL, Guard, Keys, OneKey, check_scope
from .jwks import KeySet
from .logs import DECISIONS, SILENT, DecisionLog
from .options import AuthOptions
from .routing import Handler, Route, Scope
from .services import SERVICES, Services

REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
"""The id under which a request is found in the logs."""

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}")
"""A caller's own request id is kept if it looks like this: it goes into headers and logs."""

USUAL_BODY_BYTES = 65_536
"""What `Route` says of bodies when it says nothing: then the operator's setting counts."""

SIGNED_IN = frozenset({Scope.ORG, Scope.SERVICE, Scope.OPERATOR})

log = structlog.get_logger(__name__)


INTERNAL: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side."
)
BROKEN_BODY: Final = Problem(
    HTTPStatus.BAD_REQUEST,
    "invalid_request",
    "body could not be read: it is cut off, or not encoded as its headers say.",
    {"field": "body"},
)
NO_HTTP: Final = Problem(
    HTTPStatus.BAD_REQUEST, "invalid_http", "What was sent is no request of HTTP/1.1."
)

CODES: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.EXPECTATION_FAILED: "expectation_failed",
}
"""The machine words of what aiohttp itself refuses."""


def make_app(
    services: Services, routes: Sequence[Route], *, decisions: DecisionLog = SILENT
) -> web.Application:
    """Return the application that serves `routes`."""
    options = services.options
    edge = Edge(options.auth, usual_body_bytes=options.body_max_bytes)
    app = web.Application(client_max_size=options.body_max_bytes, middlewares=[edge.middleware()])
    app[SERVICES] = services
    app[DECISIONS] = decisions
    for route in routes:
        edge.add(app.router, route)
    app.on_cleanup.append(edge.close)
    return app


def keys_of(options: AuthOptions) -> Keys:
    """Return where the key comes from that verifies tokens."""
    return KeySet(options.jwks_url) if options.jwks_url else OneKey(options)


class Edge:
    """What the middleware knows: its routes, and whom it has verified."""

    def __init__(self, options: AuthOptions, *, usual_body_bytes: int) -> None:
        self._keys = keys_of(options)
        self._guard = Guard(options, self._keys)
        self._usual_body_bytes = usual_body_bytes
        self._signed_in: dict[AbstractRoute, Scope] = {}
        self._body_max: dict[AbstractRoute, int] = {}

    def add(self, router: web.UrlDispatcher, route: Route) -> None:
        """Have `router` serve `route`; what may be got may also be asked for by HEAD."""
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            added = router.add_route(method, route.path, route.handler)
            if route.scope in SIGNED_IN:
                self._signed_in[added] = route.scope
            if route.body_max_bytes > max(USUAL_BODY_BYTES, self._usual_body_bytes):
                self._body_max[added] = route.body_max_bytes

    async def close(self, _app: web.Application) -> None:
        """Close what fetches keys."""
        if isinstance(self._keys, KeySet):
            await self._keys.close()

    def middleware(self) -> Middleware:
        """Return the middleware, as aiohttp wants it: a function."""
        guard, signed_in, body_max = self._guard, self._signed_in, self._body_max
        prefix, ids = secrets.token_hex(6), count(1)

        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            headers = request.headers
            request_id = headers.get("X-Request-Id")
            if request_id is None or not SANE_REQUEST_ID.fullmatch(request_id):
                request_id = f"{prefix}-{next(ids):x}"
            request[REQUEST_ID] = request_id
            route = request.match_info.route
            try:
                scope = signed_in.get(route)
                if scope is not None:
                    authorization = headers.get("Authorization")
                    principal = guard.known(authorization) or await guard.admit(authorization)
                    check_scope(principal, scope)
                    request[PRINCIPAL] = principal
                if route in body_max:
                    request = request.clone(client_max_size=body_max[route])
                response = await handler(request)
            except Exception as error:  # noqa: BLE001  # whatever it is, it becomes an answer
                response = problem_response(told(error, request))
            response.headers["X-Request-Id"] = request_id
            return response

        return serve


def told(error: Exception, request: web.Request) -> Problem:
    """Return how `error` is told to the caller; what is our fault is logged."""
    match error:
        case Problem():
            return error
        case WalletError():
            problem = problem_of(error)
        case web.HTTPException():
            problem = _of_aiohttp(error)
        case ClientPayloadError() | web.RequestPayloadError():
            return BROKEN_BODY
        case _:
            problem = INTERNAL
    if problem.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error(
            "Unhandled error",
            exc_info=error,
            request_id=request[REQUEST_ID],
            method=request.method,
            path=request.path,
        )
    return problem


def unserved(status: int) -> web.Response:
    """Answer what came to no handler: it is no HTTP, or aiohttp itself failed."""
    theirs = status < HTTPStatus.INTERNAL_SERVER_ERROR
    response = problem_response(NO_HTTP if theirs else INTERNAL)
    response.headers["X-Request-Id"] = secrets.token_hex(8)
    return response


def _of_aiohttp(error: web.HTTPException) -> Problem:
    status = HTTPStatus(error.status)
    allow = error.headers.get("Allow")
    return Problem(
        status,
        CODES.get(status, "http_error"),
        f"{status.description or status.phrase}.",
        headers={"Allow": allow} if allow else {},
    )
