"""A disk that can be full: a file system of its own, in memory, whose size is what it is told.

It takes the right to mount.  Limits of processes are no substitute: on RLIMIT_FSIZE Postgres says
XX000 "File too large", where on a full disk it says 53100, and those are different to a node.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wallet_persistence.embedded.home import is_reachable, server_user

SIZE_BYTES = 2 << 30
"""As large as it may ever get; only what is used takes memory."""


class SmallDisk:
    """A folder on a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Have no room for anything more."""
        status = os.statvfs(self.folder)
        self._resize((status.f_blocks - status.f_bfree) * status.f_frsize)

    def empty(self) -> None:
        """Have room again."""
        self._resize(SIZE_BYTES)

    def _resize(self, size_bytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(self.folder)], check=True)


@contextmanager
def small_disk() -> Iterator[SmallDisk | None]:
    """Give a disk that belongs to the user of an embedded Postgres, None if it cannot be made."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-disk-"))
    try:
        if not (is_reachable(folder) and _mounted(folder)):
            yield None
            return
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mounted(folder: Path) -> bool:
    user = server_user()
    owner = os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
    options = f"size={SIZE_BYTES},mode=700,uid={owner}"
    command = ["mount", "-t", "tmpfs", "-o", options, "wallet-disk", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
