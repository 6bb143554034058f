"""The yardstick: a bare aiohttp server that gives back each body it is sent.

No application, no route, no middleware would be barer still, but nobody runs such a thing:
this is aiohttp as its manual has it, on uvloop, without an access log.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop
from aiohttp import ClientError, ClientSession, web

from wallet_persistence.embedded import free_port

PATHS = ("/v1/deduct", "/v1/reserve", "/v1/commit", "/api/vapi/webhook/status-check")
HOST = "127.0.0.1"
START_S_MAX = 10.0
POLL_S = 0.02


async def echo(request: web.Request) -> web.Response:
    """Give back the body."""
    return web.Response(body=await request.read(), content_type="application/json")


async def serve(port: int) -> None:
    """Serve until told to stop."""
    app = web.Application()
    app.add_routes([web.post(path, echo) for path in PATHS])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=1024).start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    await runner.cleanup()


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """A running echo server."""

    url: str
    pid: int


@asynccontextmanager
async def echo_server() -> AsyncIterator[Echo]:
    """Run an echo server as a process of its own."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, str(port))
    try:
        async with asyncio.timeout(START_S_MAX), ClientSession() as session:
            while not await _answers(session, url):  # noqa: ASYNC110  # another process
                await asyncio.sleep(POLL_S)
        yield Echo(url=url, pid=process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _answers(session: ClientSession, url: str) -> bool:
    try:
        async with session.post(url + PATHS[0], data=b"{}") as response:
            return response.ok
    except ClientError:
        return False


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
