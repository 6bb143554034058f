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


FILL_ATTEMPTS = 100
"""A disk cannot become smaller than what is on it, and somebody may just be writing more."""


class SmallDisk:
    """A folder on a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Have no room for anything more."""
        for _ in range(FILL_ATTEMPTS):
            status = os.statvfs(self.folder)
            if self._resized((status.f_blocks - status.f_bfree) * status.f_frsize):
                return
        raise OSError(f"{self.folder} cannot be filled")

    def empty(self) -> None:
        """Have room again."""
        if not self._resized(SIZE_BYTES):
            raise OSError(f"{self.folder} cannot be emptied")

    def _resized(self, size_bytes: int) -> bool:
        return _mount("-o", f"remount,size={size_bytes}", str(self.folder))


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
    return _mount("-t", "tmpfs", "-o", options, "wallet-disk", str(folder))


def _mount(*arguments: str) -> bool:
    try:
        ran = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    except OSError:
        return False
    return ran.returncode == 0
