"""Who owns the folder of an embedded Postgres: whoever holds its lock.

Whatever else still runs in the folder was left behind by a process that was killed, and is ended
before the next start.
"""

import asyncio
import fcntl
import hashlib
import signal
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from .home import EmbeddedServerError
from .process import POLL_S

STOP_S_MAX = 15.0
"""How long a server may take to write out what it has, before it is ended less gently."""


def mark_of(home: Path) -> str:
    """Return what the command line of each process of the server in `home` holds."""
    return f"wallet-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"


def family_of(home: Path) -> list[psutil.Process]:
    """Return the processes of the server in `home`, whoever started it; no zombies."""
    mark = mark_of(home)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words: list[str] = process.info["cmdline"] or []
        if words and Path(words[0]).name.startswith("postgres") and mark in " ".join(words):
            found.append(process)
    return found


def locked(path: Path) -> IO[str]:
    """Take the lock of a folder; it is released when the file is closed, or by our death."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise EmbeddedServerError(
            f"another process uses the database in {path.parent}: stop it, or choose another folder"
        ) from None
    return file


async def end_orphans(home: Path) -> None:
    """End what a killed process left behind; who calls holds the lock, so nobody owns it."""
    pid_file = home / "pgdata" / "postmaster.pid"
    postmaster = int(pid_file.read_text().split()[0]) if pid_file.exists() else None
    family = family_of(home)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.resume()
            if process.pid == postmaster:
                process.send_signal(signal.SIGINT)
    if any(process.pid == postmaster for process in family):
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                await _gone(home)
    # Whatever is left has no master, or hangs.  A crash is safe: the next start recovers.
    for process in family_of(home):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await _gone(home)
    # Postgres believes a stale file if any live process has that number, or a dead one that
    # nobody reaps.
    if postmaster is not None and psutil.pid_exists(postmaster):
        pid_file.unlink(missing_ok=True)


async def _gone(home: Path) -> None:
    while family_of(home):  # noqa: ASYNC110  # not our children: nothing tells
        await asyncio.sleep(POLL_S)
