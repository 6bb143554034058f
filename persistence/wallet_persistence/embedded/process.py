"""A server run as a child of this process, which dies with it: started, paused, killed, stopped.

Bound to no event loop, so that a server can outlive the loop of the test that started it.
"""

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

import psutil

from . import launch

POLL_S = 0.01
"""How often a process is looked at; a server takes a tenth of a second to start or to end."""

POLL_S_MAX = 0.1
"""How often one is looked at that may run for days."""

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
"""What a server sees of the environment: no secret, and no PG* that would configure it."""


class ChildProcess:
    """One running program, and whatever processes belong to it.

    Start it in a thread that lives as long as it should: Linux takes the end of that *thread*
    for the death of the parent.  On other systems a child outlives a killed parent.
    """

    def __init__(
        self,
        program: Sequence[str],
        *,
        log: IO[bytes],
        death_signal: signal.Signals = signal.SIGKILL,
        user: str | None = None,
        stdin: bytes = b"",
        family: Callable[[], list[psutil.Process]] | None = None,
    ) -> None:
        """Start `program`.

        Args:
            program: absolute path and arguments.
            log: where its output goes.
            death_signal: sent to it when this process dies.
            user: who runs it; only root may say.
            stdin: what it can read.
            family: finds processes that belong to it, its own among them or not.
        """
        user_id, group_id = -1, -1
        if user is not None:
            entry = pwd.getpwnam(user)
            user_id, group_id = entry.pw_uid, entry.pw_gid
        ids = (os.getpid(), int(death_signal), user_id, group_id)
        launcher = (sys.executable, "-I", "-S", launch.__file__, *map(str, ids))
        variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._family = family or list
        self._popen = subprocess.Popen(  # noqa: S603  # the caller's own program
            [*launcher, *program],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**variables, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # Ctrl-C is for this process, which then stops the server
        )
        assert self._popen.stdin is not None
        with self._popen.stdin, suppress(BrokenPipeError):
            self._popen.stdin.write(stdin)

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, `None` while it runs."""
        return self._popen.poll()

    async def wait(self) -> int:
        """Wait until it ends, and return how.  A cancelled caller leaves it running."""
        pause_s = POLL_S
        while (code := self.returncode) is None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S_MAX)
        return code

    def pause(self) -> None:
        """Stop it and its family in mid-step, as a machine does that hangs."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """End it and its family at once, as a machine does that loses power."""
        self._send(signal.SIGKILL)
        self._popen.wait()
        gone_by = time.monotonic() + 5
        while self._family() and time.monotonic() < gone_by:
            time.sleep(POLL_S)

    async def stop(self, *signals: signal.Signals, grace_s: float) -> None:
        """Ask it to end by each signal in turn, `grace_s` seconds apart, and kill it at last.

        A cancelled caller leaves it ending, or not: ask again.
        """
        self.resume()
        for each in signals:
            if self.returncode is not None:
                return
            self._popen.send_signal(each)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.wait()
        if self.returncode is None:
            self.kill()

    def _send(self, number: signal.Signals) -> None:
        # First the program itself: it then makes no more children, so that none is missed.
        self._popen.send_signal(number)
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
