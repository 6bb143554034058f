"""The sockets of a node: an application, served on a port, and taken off it in order."""

from aiohttp import web

from .fast import FastServer
from .server import unserved

BACKLOG = 1024
"""Connections that may wait to be accepted: a burst of a thousand callers is not turned away."""

KEEPALIVE_S = 3630.0
"""How long a silent connection stays open: longer than proxies keep theirs (at most an hour), so
that it is never us who close one that a proxy is about to use."""


class Listener:
    """Serves one application.  `start`, then `stop_listening`, then `close`."""

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        body_max_bytes: int,
        grace_s: float,
        reuse_port: bool = False,
    ) -> None:
        self._app = app
        self._body_max_bytes = body_max_bytes
        self._host = host
        self._wanted_port = port
        self._reuse_port = reuse_port
        self._grace_s = grace_s
        self._port: int | None = None
        self._front: FastServer | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once started; also when that is over."""
        assert self._port is not None, "not started"
        return self._port

    async def start(self) -> None:
        """Begin to take requests.

        Raises:
            OSError: the port is in use, or the address is not ours.
        """
        self._app.on_startup.freeze()
        await self._app.startup()
        self._app.freeze()
        front = self._front = FastServer(
            self._app, body_max_bytes=self._body_max_bytes, refuse=unserved
        )
        runner = web.ServerRunner(
            front.server(keepalive_s=KEEPALIVE_S), shutdown_timeout=self._grace_s
        )
        await runner.setup()
        self._runner = runner
        self._site = web.TCPSite(
            runner,
            self._host,
            self._wanted_port,
            backlog=BACKLOG,
            reuse_port=self._reuse_port or None,
        )
        await self._site.start()
        self._port = runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """Take no new connections; those that are open are closed after their next answer."""
        if self._front is not None:
            self._front.is_leaving = True
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def close(self) -> None:
        """Let open requests end, for as long as the grace allows, and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._app.shutdown()
        await self._app.cleanup()
