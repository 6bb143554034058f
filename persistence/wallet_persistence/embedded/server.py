"""What an embedded server can be asked for, whichever it is."""

import asyncio
import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import IO, Self

from .home import EmbeddedServerError
from .process import POLL_S, ChildProcess

HOST = "127.0.0.1"

START_S_MAX = 60.0
"""How long a server may take to be ready: recovery after a crash may replay gigabytes."""

PORT_ATTEMPTS = 3
"""How many free ports are tried: between choosing one and using it, another may take it."""

PORTS = range(10_000, 32_768)
PORTS_TRIED_MAX = 100

TAIL_BYTES, TAIL_LINES = 4096, 8
"""How much of a log an error shows: the fault is in its last lines."""


class EmbeddedServer(ABC):
    """A server that this process owns for as long as it runs.

    `async with` starts and stops it.  It is bound to no event loop.
    """

    def __init__(self, *, port: int) -> None:
        """Prepare it on `port`; 0 takes a free one, and keeps it over `kill` and `start`."""
        self._port = port
        self._child: ChildProcess | None = None

    @abstractmethod
    async def start(self) -> None:
        """Start the server and wait until it answers.

        A cancelled caller leaves nothing running.

        Raises:
            EmbeddedServerError: it does not start; nothing is left running.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Shut the server down as an operator would; one that does not run is left alone."""

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        await self.stop()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._port

    @property
    def is_running(self) -> bool:
        """Whether the process is there; paused counts."""
        return self._child is not None and self._child.returncode is None

    @property
    def process(self) -> ChildProcess:
        """The process, which was started."""
        assert self._child is not None, "the server was not started"
        return self._child

    async def wait(self) -> int:
        """Wait until the server ends, by itself or by others, and return its exit code."""
        return await self.process.wait()

    def kill(self) -> None:
        """End every process of the server at once, as a crash does; `start` brings it back."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze every process of the server; connections stay open and silent."""
        self.process.pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        self.process.resume()

    async def _launch(
        self,
        launch: Callable[[int], ChildProcess],
        answers: Callable[[], Awaitable[bool]],
        log: IO[bytes],
    ) -> None:
        """Start the process by `launch(port)` and wait until it `answers`."""
        attempts = 1 if self._port else PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            if attempts > 1:
                self._port = free_port()
            self._child = launch(self._port)
            try:
                if await self._is_ready(answers):
                    return
            except TimeoutError:
                raise EmbeddedServerError(f"the server is not ready:\n{tail_of(log)}") from None
            if attempt == attempts or "in use" not in tail_of(log):
                raise EmbeddedServerError(f"the server did not start:\n{tail_of(log)}")

    async def _is_ready(self, answers: Callable[[], Awaitable[bool]]) -> bool:
        """Wait for an answer, or for the end of the process."""
        async with asyncio.timeout(START_S_MAX):
            while self.is_running:
                if await answers():
                    return True
                await asyncio.sleep(POLL_S)
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses at the moment.

    It is below those that systems give to outgoing connections: one of them would take it
    before it is used.
    """
    for _ in range(PORTS_TRIED_MAX):
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedServerError(f"no free port of {HOST} was found in {PORTS_TRIED_MAX} tries")


def tail_of(log: IO[bytes]) -> str:
    """Return the last lines of a log, to show why a server did not start."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
    return "\n".join(log.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
