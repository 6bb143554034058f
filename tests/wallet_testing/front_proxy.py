"""The proxy as it stands in `config/proxy`, before nodes that a test makes and breaks."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import aiohttp
from aiohttp import web

from wallet_persistence.embedded import free_port, launch

from .operator_files import PROXY
from .processes import until

HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

BODY_MAX = 16 * 1024 * 1024
"""More than the proxy lets through: the limit that is tested is its own."""


@dataclass(slots=True)
class Upstream:
    """Something that listens as a node does, tells its name, and can be broken in many ways."""

    name: str
    port: int
    ready: bool = True
    breaks: bool = False
    """Whether it takes a request and goes away before it answers."""

    asked: list[str] = field(default_factory=list)
    """Method and path of whatever reached it whole, but for health checks."""

    held: asyncio.Event = field(default_factory=asyncio.Event)
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_get("/health/ready", self._tell_ready)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _tell_ready(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.ready else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append(f"{request.method} {request.path}")
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/hold":
            self.holding.set()
            await self.held.wait()
        return web.json_response({"node": self.name, "bytes": len(body)})


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back through the proxy."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, object]

    @property
    def node(self) -> str:
        return str(self.body["node"])


@dataclass(frozen=True, slots=True)
class Front:
    """The running proxy.  Each request goes on a connection of its own."""

    port: int
    metrics_port: int
    nodes: list[Upstream]

    async def ask(self, method: str, path: str, data: bytes | None = None) -> Heard:
        url = f"http://127.0.0.1:{self.port}{path}"
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, url, data=BytesIO(data) if data else None) as response,
        ):
            return Heard(response.status, response.headers, await response.json())

    async def org(self, org_id: str) -> Heard:
        """Say something about a call of this org, as Vapi does."""
        return await self.ask("POST", f"/api/vapi/orgs/{org_id}/webhook", b"{}")

    async def states(self) -> dict[str, str]:
        """Return what the proxy thinks of each node, by name."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        wanted = 'haproxy_server_status{proxy="nodes",server="'
        rows = (it.removeprefix(wanted) for it in lines if it.startswith(wanted))
        found = (row.replace('"', " ").split() for row in rows)
        return {name: state for name, _, state, _, value in found if value == "1"}

    async def until_seen(self, **states: str) -> None:
        """Wait until the proxy has seen what a test did to a node."""

        async def seen() -> bool:
            told = await self.states()
            return all(told.get(name.replace("_", "-")) == it for name, it in states.items())

        await until(seen, f"the proxy sees {states}")


@asynccontextmanager
async def front(folder: Path, nodes: list[Upstream] | None = None) -> AsyncIterator[Front]:
    """Run the proxy before three nodes; all of them end with it."""
    made = nodes or [Upstream(f"node-{nth}", port) for nth, port in enumerate(_free_ports(3), 1)]
    tied = (str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1")
    async with AsyncExitStack() as opened:
        for node in made:
            await node.start()
            opened.push_async_callback(node.stop)
        port, metrics_port = _free_ports(2)
        environment = {
            **os.environ,
            **{f"NODE_{number}": f"127.0.0.1:{node.port}" for number, node in enumerate(made, 1)},
            "PROXY_BIND": f"127.0.0.1:{port}",
            "PROXY_METRICS_BIND": f"127.0.0.1:{metrics_port}",
        }
        with (folder / "proxy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, *tied),
                *(HAPROXY or "haproxy", "-db", "-f", str(PROXY)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
            )
        running = Front(port, metrics_port, made)
        try:
            await until(lambda: _is_listening(running), "the proxy listens")
            await running.until_seen(node_1="UP", node_2="UP", node_3="UP")
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _free_ports(count: int) -> list[int]:
    """Return so many different ones: none of them is in use yet, so two could be the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


async def _is_listening(running: Front) -> bool:
    try:
        await running.states()
    except aiohttp.ClientError:
        return False
    return True
