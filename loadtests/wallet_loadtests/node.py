"""A node as a process of its own, started, paused and killed as operators and accidents do it.

Also used by the tests that need real processes.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from wallet_persistence.embedded import free_port, launch

START_S_MAX = 60.0
"""How long a node may take until it is ready: importing everything on a busy machine."""

STOP_S_MAX = 20.0
"""How long a node may take to end in order: its own grace is 10 s."""

PORT_ATTEMPTS = 3
"""How many ports are tried: between choosing one and using it, another may take it."""

POLL_S = 0.02
ANSWER_S_MAX = 2.0
TAIL_BYTES = 4096

PROGRAM = (sys.executable, "-m", "wallet_http")


class NodeError(Exception):
    """A node did not start, or a command of it failed; the text shows its last words."""


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these settings of the engine, and none of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WALLET_")}
    return {**kept, **settings}


class NodeProcess:
    """One `wallet serve` on a free port of 127.0.0.1, which dies with this process.

    `async with` starts it and ends it in order.  Each start takes another port, so ask for `url`.
    """

    def __init__(
        self,
        *,
        dsn: str,
        jwt_secret: str,
        vapi_secret: str,
        log: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a node; nothing is started yet.

        Args:
            dsn: of its database, which is migrated.
            jwt_secret: verifies the tokens.
            vapi_secret: proves Vapi's requests.
            log: its output goes here, to the end of what is there.
            settings: more, or other, `WALLET_…` variables.
        """
        self.port = 0
        self.log = log
        self._settings = {
            "WALLET_ENVIRONMENT": "test",
            "WALLET_HTTP__HOST": "127.0.0.1",
            "WALLET_POSTGRES__DSN": dsn,
            "WALLET_AUTH__JWT_SECRET": jwt_secret,
            "WALLET_VAPI__SECRET": vapi_secret,
            **(settings or {}),
        }
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id, once started."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there; paused counts."""
        return self._popen is not None and self._popen.poll() is None

    async def start(self) -> None:
        """Start the process on a free port and wait until it is ready.

        Raises:
            NodeError: it ended, or is not ready in time; nothing is left running.
        """
        assert not self.is_running
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port()
            self._popen = self._launched()
            try:
                await self._until_ready()
            except BaseException as error:
                self.kill()
                lost_the_port = isinstance(error, NodeError) and "in use" in self.last_words()
                if not lost_the_port or attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launched(self) -> subprocess.Popen[bytes]:
        # The launcher ties the node's life to ours: a killed test leaves no node behind.
        tied = (str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1")
        launcher = (sys.executable, "-I", "-S", launch.__file__, *tied)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launcher, *PROGRAM, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment_of({**self._settings, "WALLET_HTTP__PORT": str(self.port)}),
                start_new_session=True,
            )

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_S_MAX):
                while not await self.is_ready():
                    if not self.is_running:
                        raise NodeError(f"the node ended:\n{self.last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise NodeError(f"the node is not ready:\n{self.last_words()}") from None

    async def is_ready(self) -> bool:
        """Whether the node says that it takes requests."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.url}/health/ready") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def stop(self) -> int:
        """Ask the node to end, wait for it, and return its exit code."""
        started = self._started()
        self.resume()
        started.terminate()
        return await self._ended(STOP_S_MAX)

    def kill(self) -> None:
        """End it at once, as a machine does that loses power."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def pause(self) -> None:
        """Stop it in mid-step; connections stay open and silent."""
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self.is_running:
            self._started().send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        """Return the end of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            return log.read().decode(errors="replace")

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None, "the node was not started"
        return self._popen

    async def _ended(self, grace_s: float) -> int:
        started = self._started()
        try:
            async with asyncio.timeout(grace_s):
                while started.poll() is None:  # noqa: ASYNC110  # a process of our own
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            self.kill()
        return started.wait()

    async def __aenter__(self) -> Self:
        """Start the node."""
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the node in order, or at once if it does not want to."""
        if self.is_running:
            await self.stop()


async def run_command(*words: str, settings: Mapping[str, str]) -> tuple[int, str]:
    """Run a `wallet` command to its end; return its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment_of(settings),
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
