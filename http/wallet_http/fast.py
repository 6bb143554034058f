"""What makes the hot paths cheap: answers written in one piece, and routes found by one look-up.

Both are shortcuts through aiohttp with the same outcome: whatever is unusual about a request
(HTTP/1.0, `HEAD`, `Connection: close`, a path with variables) takes aiohttp's own way.
Measured together: a third of the CPU of a small POST.

What never becomes a request, because it is no HTTP, is answered here too, in the one form of all
errors: aiohttp's own answer repeats what was sent and names the libraries.
"""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import ClientConnectionResetError, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_parser import RawRequestMessage

from .routing import Handler

STATUS_LINES: Final[Mapping[int, str]] = {
    status: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class WholeResponse(web.Response):
    """A small answer, status line to body, handed to the socket in one piece.

    Its headers must come from this program, or be known to hold no line break.
    """

    _whole = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything at once, where nothing asks for more care."""
        body = self._body
        if (
            self._whole
            or not isinstance(body, bytes)
            or request.version != HttpVersion11
            or not request.keep_alive
            or self._keep_alive is False
            or request.method == "HEAD"
        ):
            return await super().prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._headers.items()])
        head = (
            f"{STATUS_LINES[self._status]}{lines}Date: {rfc822_formatted_time()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        transport.write(head.encode() + body)
        self._whole = True
        await request.writer.drain()  # waits only for a client who does not read
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the rest, of which there is none."""
        if not self._whole:
            await super().write_eof(data)

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection serves further requests."""
        return True if self._whole else super().keep_alive


Refuse = Callable[[int], web.Response]
"""Makes the answer to what the middleware never saw, for a status."""


class _Connection(web.RequestHandler):
    """One connection; what is no HTTP ends it, with an answer like any other error."""

    __slots__ = ("_refuse",)

    def __init__(self, refuse: Refuse, manager: web.Server, **options: Any) -> None:  # noqa: ANN401  # aiohttp's
        super().__init__(manager, **options)
        self._refuse = refuse

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Log as aiohttp does, but answer in our own words."""
        super().handle_error(request, status, exc, message)
        response = self._refuse(status)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes a connection of ours for each that is accepted."""

    def __init__(self, refuse: Refuse, *args: Any, **options: Any) -> None:  # noqa: ANN401  # aiohttp's
        super().__init__(*args, **options)
        self._refuse = refuse

    def __call__(self) -> web.RequestHandler:
        return _Connection(self._refuse, self, loop=self._loop, **self._kwargs)


Shortcuts = dict[tuple[str, str], web.UrlMappingMatchInfo]


class FastServer:
    """Serves an application, finding paths without variables by one look-up.

    Made for a frozen application with one middleware; `refuse` answers what it never saw.
    """

    def __init__(self, app: web.Application, *, body_max_bytes: int, refuse: Refuse) -> None:
        assert app.frozen, "routes that come later would not be found"
        [self._middleware] = app.middlewares
        self._app = app
        self._body_max_bytes = body_max_bytes
        self._refuse = refuse
        self._shortcuts = _shortcuts(app)
        self.is_leaving = False
        """Each connection is closed after its next answer: its client asks elsewhere then."""

    def server(self, *, keepalive_s: float) -> web.Server:
        """Return the server, for the running event loop."""
        return _Server(
            self._refuse,
            self._handle,
            request_factory=self._request,
            access_log=None,
            keepalive_timeout=keepalive_s,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.Request:
        loop = asyncio.get_running_loop()
        return web.Request(
            message, payload, protocol, writer, task, loop, client_max_size=self._body_max_bytes
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request), "our own factory made it"
        found = self._shortcuts.get((request.method, request.raw_path))
        if found is None:
            found = await self._app.router.resolve(request)
            found.add_app(self._app)
            found.freeze()
        request._match_info = found  # noqa: SLF001  # as the application does; has no setter
        handler = _expecting(found) if "Expect" in request.headers else found.handler
        response = await self._middleware(request, handler)
        if self.is_leaving and not response.prepared:
            response.force_close()
        return response


def _expecting(found: web.UrlMappingMatchInfo) -> Handler:
    """Return a handler that first lets the body come.

    Within the middleware: who may not ask is told so before the body, and what cannot be expected
    is an error like any other.
    """

    async def expected(request: web.Request) -> web.StreamResponse:
        response = await found.expect_handler(request)
        await request.writer.drain()
        return await found.handler(request) if response is None else response

    return expected


def _shortcuts(app: web.Application) -> Shortcuts:
    found: Shortcuts = {}
    for resource in app.router.resources():
        if isinstance(resource, web.PlainResource):
            for route in resource:
                info = web.UrlMappingMatchInfo({}, route)
                info.add_app(app)
                info.freeze()
                found[route.method, resource.canonical] = info
    return found
