"""The embedded servers: they keep what they acknowledged, and leave nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from wallet_persistence.embedded import (
    EmbeddedPostgres,
    EmbeddedServerError,
    EmbeddedValkey,
    home,
    packaged_bin_dirs,
    running_dsn,
)
from wallet_persistence.embedded.ownership import family_of, mark_of

BIN_DIRS = [*packaged_bin_dirs(), *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
VERSIONS = [f"{bin_dir.parent.parent.name}-{bin_dir.parent.name}" for bin_dir in BIN_DIRS]

SILENCE_S = 0.3
"""How long a paused server is listened to: many times what it takes to answer."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is replaced by nobody")

STARTER = """
import asyncio, sys
from pathlib import Path
from wallet_persistence.embedded import EmbeddedPostgres, EmbeddedValkey

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as postgres, EmbeddedValkey() as valkey:
        print(postgres.process.pid, valkey.process.pid, flush=True)
        await postgres.wait()

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that other users can reach, as pytest's own temporary ones are not."""
    made = Path(tempfile.mkdtemp(prefix="wallet-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def run(dsn: str, statement: str) -> object:
    """Run a statement on a connection of its own, and return its first value."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(statement)
    finally:
        connection.terminate()


@pytest.mark.parametrize("bin_dir", BIN_DIRS, ids=VERSIONS)
async def test_data_stay_between_runs(folder: Path, bin_dir: Path) -> None:
    """What one run wrote the next one reads, with the programs of any supported version."""
    async with EmbeddedPostgres(folder / "data", bin_dir=bin_dir) as postgres:
        await run(postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS number")

    async with EmbeddedPostgres(folder / "data", bin_dir=bin_dir) as postgres:
        assert await run(postgres.dsn, "SELECT number FROM kept") == 7


async def test_data_are_opened_by_the_version_that_made_them(folder: Path) -> None:
    """A newer package must not make the data of an older one unreadable."""
    oldest = packaged_bin_dirs()[-1]
    async with EmbeddedPostgres(folder / "data", bin_dir=oldest) as postgres:
        made = await run(postgres.dsn, "SHOW server_version")

    async with EmbeddedPostgres(folder / "data") as postgres:
        assert await run(postgres.dsn, "SHOW server_version") == made


async def test_nothing_can_make_it_forget() -> None:
    """Whatever the caller tunes, an acknowledged commit is on the disk."""
    options = {"fsync": "off", "synchronous_commit": "off", "max_connections": "17"}

    async with EmbeddedPostgres(None, options=options) as postgres:
        assert await run(postgres.dsn, "SHOW fsync") == "on"
        assert await run(postgres.dsn, "SHOW synchronous_commit") == "on"
        assert await run(postgres.dsn, "SHOW full_page_writes") == "on"
        assert await run(postgres.dsn, "SHOW max_connections") == "17"


async def test_a_killed_server_comes_back_at_the_same_address(folder: Path) -> None:
    """What was acknowledged before a kill is there after it, and clients need no new address."""
    async with EmbeddedPostgres(folder / "data") as postgres:
        dsn = postgres.dsn
        await run(dsn, "CREATE TABLE kept AS SELECT 7 AS number")

        postgres.kill()
        assert not postgres.is_running
        assert running_dsn(folder / "data") is None
        with pytest.raises(ConnectionRefusedError):
            await run(dsn, "SELECT 1")
        await postgres.start()

        assert postgres.dsn == dsn
        assert await run(dsn, "SELECT number FROM kept") == 7


async def test_a_stale_pid_file_is_not_believed(folder: Path) -> None:
    """After a crash the number in the file may be that of anybody, here of this test."""
    postgres = EmbeddedPostgres(folder / "data")
    await postgres.start()
    postgres.kill()
    pid_file = postgres.home / "pgdata" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    await postgres.start()

    assert await run(postgres.dsn, "SELECT 1") == 1
    await postgres.stop()


async def test_a_paused_server_is_silent_and_goes_on() -> None:
    """Also on connections that were open before: each of its processes stands still."""
    async with EmbeddedPostgres(None) as postgres:
        connection = await asyncpg.connect(postgres.dsn)
        postgres.pause()
        answer = asyncio.ensure_future(connection.fetchval("SELECT 7"))

        done, _ = await asyncio.wait({answer}, timeout=SILENCE_S)
        assert not done
        postgres.resume()
        assert await answer == 7
        await connection.close()


async def test_a_paused_server_can_be_stopped() -> None:
    """A test that fails while its server is paused leaves nothing behind."""
    postgres = EmbeddedPostgres(None)
    await postgres.start()
    used = postgres.home
    postgres.pause()

    await postgres.stop()

    assert family_of(used) == []
    assert not used.exists()


async def test_two_owners_of_one_folder_are_refused(folder: Path) -> None:
    """The second one is told so, and the first one is not disturbed."""
    async with EmbeddedPostgres(folder / "data") as postgres:
        with pytest.raises(EmbeddedServerError, match="another process uses the database"):
            await EmbeddedPostgres(folder / "data").start()

        assert await run(postgres.dsn, "SELECT 1") == 1


@pytest.mark.parametrize("is_paused", [False, True])
async def test_an_orphan_is_ended_and_its_data_are_taken_over(
    folder: Path, is_paused: bool
) -> None:
    """A server whose owner is gone, running or hung, does not keep the next owner out."""
    orphan = EmbeddedPostgres(folder / "data")
    await orphan.start()
    await run(orphan.dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    if is_paused:
        orphan.pause()
    orphan._let_go(forget=False)  # what the death of its owner does

    async with EmbeddedPostgres(folder / "data") as postgres:
        assert not orphan.is_running
        assert await run(postgres.dsn, "SELECT number FROM kept") == 7


async def test_left_over_processes_are_ended(folder: Path) -> None:
    """A killed postmaster whose sessions still work does not keep the next one from starting."""
    postgres = EmbeddedPostgres(folder / "data")
    await postgres.start()
    asking = asyncio.create_task(run(postgres.dsn, "SELECT count(*) FROM generate_series(1, 1e12)"))
    while not any("SELECT" in " ".join(it.cmdline()) for it in family_of(postgres.home)):  # noqa: ASYNC110
        await asyncio.sleep(0)  # until the session works, which only its title tells
    os.kill(postgres.process.pid, signal.SIGKILL)
    await postgres.wait()
    assert family_of(postgres.home)
    postgres._let_go(forget=False)

    async with EmbeddedPostgres(folder / "data") as successor:
        assert await run(successor.dsn, "SELECT 1") == 1
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asking


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child")
def test_servers_die_with_their_starter(folder: Path) -> None:
    """After a kill -9 of the program that started them nothing is left running."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder / "data")], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter.stdout:
        servers = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
    assert len(servers) == 2

    starter.kill()
    starter.wait()

    _, alive = psutil.wait_procs(servers, timeout=30)
    assert [it for it in alive if it.status() != psutil.STATUS_ZOMBIE] == []


async def test_others_find_the_running_server(folder: Path) -> None:
    """Another command of the same user can connect, and learns when there is nothing."""
    assert running_dsn(folder / "data") is None
    async with EmbeddedPostgres(folder / "data") as postgres:
        assert running_dsn(folder / "data") == postgres.dsn
    assert running_dsn(folder / "data") is None


async def test_a_password_is_wanted() -> None:
    """Another user of the machine, who can reach the port, cannot come in."""
    async with EmbeddedPostgres(None) as postgres:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await run(f"postgresql://wallet:guess@127.0.0.1:{postgres.port}/wallet", "SELECT 1")
        assert (postgres.home / "password").stat().st_mode & 0o077 == 0


async def test_a_taken_port_is_refused(folder: Path) -> None:
    """The error shows what the server said, and nothing is left running or locked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match="in use"):
            await EmbeddedPostgres(folder / "data", port=port).start()
        with pytest.raises(EmbeddedServerError, match="in use"):
            await EmbeddedValkey(port=port).start()

    async with EmbeddedPostgres(folder / "data", port=port) as postgres:
        assert postgres.port == port


@pytest.mark.parametrize("patience_s", [0.05, 0.3, 0.6, 0.9])
async def test_a_cancelled_start_leaves_nothing(folder: Path, patience_s: float) -> None:
    """Whenever it is cancelled, in initdb or later, the next start works."""
    postgres = EmbeddedPostgres(folder / "data")
    try:
        async with asyncio.timeout(patience_s):
            await postgres.start()
    except TimeoutError:
        assert not postgres.is_running
        assert family_of(postgres.home) == []
    await postgres.stop()

    async with EmbeddedPostgres(folder / "data") as postgres:
        assert await run(postgres.dsn, "SELECT 1") == 1


@as_root
async def test_a_closed_folder_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's data in a folder that `nobody` cannot reach are kept elsewhere, and that is said."""
    monkeypatch.setattr(home, "STATE_DIR", folder)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    wanted = closed / "data"
    async with EmbeddedPostgres(wanted) as postgres:
        await run(postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        assert str(postgres.home) in str(postgres.notice)
        assert running_dsn(wanted) == postgres.dsn

    async with EmbeddedPostgres(wanted) as postgres:
        assert await run(postgres.dsn, "SELECT number FROM kept") == 7

    shutil.rmtree(wanted)  # whoever removes it wants to begin anew
    async with EmbeddedPostgres(wanted) as postgres:
        assert await run(postgres.dsn, "SELECT to_regclass('kept')") is None
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
async def test_closed_programs_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's checkout in a folder that `nobody` cannot reach works as any other does."""
    monkeypatch.setattr(home, "STATE_DIR", folder)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    bin_dir = packaged_bin_dirs()[0]
    package = bin_dir.parent.parent
    for needed in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(needed, closed / needed.name, symlinks=True)

    for _ in ("copied", "found"):
        closed_bin_dir = closed / bin_dir.relative_to(package.parent)
        async with EmbeddedPostgres(None, bin_dir=closed_bin_dir) as postgres:
            assert str(closed) not in " ".join(psutil.Process(postgres.process.pid).cmdline())
            assert await run(postgres.dsn, "SELECT 1") == 1


def test_other_processes_are_not_of_the_family(folder: Path) -> None:
    """A command that names the server, as one that looks for it does, is not ended with it."""
    with subprocess.Popen([sys.executable, "-c", "input()", mark_of(folder)], stdin=-1) as other:
        assert family_of(folder) == []
        other.kill()


async def test_valkey_answers_and_begins_empty() -> None:
    """It keeps its address over a kill, and nothing else."""
    async with EmbeddedValkey() as valkey:
        url = valkey.url
        async with Redis.from_url(url) as client:
            await client.set("key", "value")
            assert await client.get("key") == b"value"

        valkey.kill()
        await valkey.start()

        async with Redis.from_url(url) as client:
            assert await client.get("key") is None


async def test_valkey_wants_its_password() -> None:
    """Another user of the machine, who can reach the port, cannot come in."""
    async with (
        EmbeddedValkey() as valkey,
        Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.get("key")


async def test_a_paused_valkey_is_silent_and_goes_on() -> None:
    """What was asked meanwhile is answered later."""
    async with EmbeddedValkey() as valkey, Redis.from_url(valkey.url) as client:
        await client.set("key", "value")
        valkey.pause()
        answer = asyncio.ensure_future(client.get("key"))

        done, _ = await asyncio.wait({answer}, timeout=SILENCE_S)
        assert not done
        valkey.resume()
        assert await answer == b"value"
