"""An embedded Postgres in a folder of its own: the server of production, and as durable."""

import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import asyncpg

from .home import (
    EmbeddedServerError,
    existing_home,
    packaged_bin_dirs,
    reachable_bin_dir,
    reachable_home,
    server_user,
    temporary_home,
)
from .ownership import STOP_S_MAX, end_orphans, family_of, locked, mark_of
from .process import ChildProcess
from .server import HOST, EmbeddedServer, tail_of

ROLE = "wallet"
DATABASE = "wallet"

CONNECT_S_MAX = 5.0
"""How long connecting may take once it is ready."""

ATTEMPT_S_MAX = 1.0
"""How long one attempt to connect may take while it starts."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""A log of earlier runs that is longer is begun anew: nobody rotates it."""

TUNING: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # all statements are short
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}

DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""What makes an acknowledged commit survive a crash; no caller may switch it off."""


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres server in a folder: `async with EmbeddedPostgres(folder) as postgres`."""

    def __init__(
        self,
        data_dir: Path | None,
        *,
        port: int = 0,
        bin_dir: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            data_dir: keeps the data between runs; `None`: a temporary one, removed by `stop`.
            port: 0 takes a free one, and keeps it over `kill` and `start`.
            bin_dir: holds `postgres` and `initdb`; `None`: those of the installed package.
            options: settings of the server, such as `{"max_connections": "20"}`.
        """
        super().__init__(port=port)
        self._wanted = data_dir
        self._home: Path | None = None
        self._bin_dir = bin_dir
        self._options = {**TUNING, **(options or {}), **DURABLE}
        self._lock: IO[str] | None = None
        self._password = ""

    @property
    def home(self) -> Path:
        """The folder that is used: `data_dir`, or one that `nobody` can reach."""
        assert self._home is not None, "the server was not started"
        return self._home

    @property
    def notice(self) -> str | None:
        """A sentence for whoever looks for the data where they are not."""
        if self._wanted is None or self.home == self._wanted.resolve():
            return None
        user = server_user()
        return f"Postgres runs as {user}, who cannot reach {self._wanted}: its data are {self.home}"

    @property
    def dsn(self) -> str:
        """How to connect to the database `wallet`, with its password."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """How to connect to another database of this server."""
        return _dsn(self._password, self._port, database)

    async def start(self) -> None:
        """Start the server and wait until it lets a client in; see `EmbeddedServer.start`.

        A database that a killed process left running is shut down first.
        """
        assert not self.is_running
        is_first = self._home is None
        if self._home is None:
            self._home = temporary_home() if self._wanted is None else reachable_home(self._wanted)
        try:
            self._lock = self._lock or locked(self.home / "lock")
            await end_orphans(self.home)
            bin_dir = reachable_bin_dir(self._bin_dir or _bin_dir_for(self.home / "pgdata"))
            if not (self.home / "pgdata").exists():
                await self._initialise(bin_dir)
            self._password = (self.home / "password").read_text()
            with self._opened_log() as log:
                await self._launch(partial(self._run_server, bin_dir, log), self._lets_in, log)
            await _ensure_database(self.dsn_of("postgres"))
        except BaseException:
            if self._child is not None:
                self._child.kill()
            self._let_go(forget=is_first)
            raise

    async def stop(self) -> None:
        """Shut the server down, and remove what was temporary."""
        if self._child is not None:
            # Fast: sessions are ended, data written out.  Then at once: recovery at next start.
            await self._child.stop(signal.SIGINT, signal.SIGQUIT, grace_s=STOP_S_MAX)
            self._child = None
        self._let_go(forget=True)

    def _let_go(self, *, forget: bool) -> None:
        """Release the folder, and remove a temporary one if that is wanted."""
        if forget and self._wanted is None and self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _initialise(self, bin_dir: Path) -> None:
        """Make the data folder and the password of its role, whole or not at all."""
        for unfinished in self.home.glob("pgdata.new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="pgdata.new-", dir=self.home))
        password = self.home / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        if user := server_user():
            shutil.chown(new, user)
            shutil.chown(password, user)
        flags = ["-D", str(new), "-U", ROLE, f"--pwfile={password}", "-A", "scram-sha-256"]
        flags += ["-E", "UTF8", "--locale=C"]
        if self._wanted is None:
            flags.append("--no-sync")  # it is removed anyway; the server itself does sync
        with tempfile.TemporaryFile() as log:
            child = ChildProcess([str(bin_dir / "initdb"), *flags], log=log, user=user)
            try:
                code = await child.wait()
            except BaseException:
                child.kill()
                raise
            if code != 0:
                raise EmbeddedServerError(f"initdb failed:\n{tail_of(log)}")
        new.rename(self.home / "pgdata")  # noqa: ASYNC240  # takes no time, and nobody else waits

    def _opened_log(self) -> IO[bytes]:
        path = self.home / "postgres.log"
        too_long = path.exists() and path.stat().st_size > LOG_BYTES_MAX
        return path.open("w+b" if too_long else "a+b")

    def _run_server(self, bin_dir: Path, log: IO[bytes], port: int) -> ChildProcess:
        settings = {
            **self._options,
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "cluster_name": mark_of(self.home),
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        return ChildProcess(
            [str(bin_dir / "postgres"), "-D", str(self.home / "pgdata"), *flags],
            log=log,
            death_signal=signal.SIGINT,
            user=server_user(),
            family=partial(family_of, self.home),
        )

    async def _lets_in(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn_of("postgres"), timeout=ATTEMPT_S_MAX)
            try:  # another server may have the port
                name = await connection.fetchval("SELECT current_setting('cluster_name')")
            finally:
                await connection.close(timeout=ATTEMPT_S_MAX)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return bool(name == mark_of(self.home))


def running_dsn(data_dir: Path) -> str | None:
    """Return how to connect to the server that runs in `data_dir`, `None` if none does.

    For other processes than its owner, who end when the owner does.
    """
    home = existing_home(data_dir)
    with suppress(OSError, IndexError, ValueError):
        lines = (home / "pgdata" / "postmaster.pid").read_text().splitlines()
        if any(process.pid == int(lines[0]) for process in family_of(home)):
            return _dsn((home / "password").read_text(), int(lines[3]), DATABASE)
    return None


def _dsn(password: str, port: int, database: str) -> str:
    return f"postgresql://{ROLE}:{password}@{HOST}:{port}/{database}"


async def _ensure_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close(timeout=CONNECT_S_MAX)


def _bin_dir_for(data: Path) -> Path:
    """Return the newest programs, or those of the version that made `data`."""
    found = packaged_bin_dirs()
    if not (data / "PG_VERSION").exists():
        return found[0]
    wanted = (data / "PG_VERSION").read_text().strip()
    for bin_dir in found:
        words = subprocess.run(  # noqa: S603  # our own program
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()
        if words[2].split(".")[0] == wanted:
            return bin_dir
    raise EmbeddedServerError(f"{data} was made by Postgres {wanted}, which is not installed")
