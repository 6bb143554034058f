"""A database is brought to the schema: from nothing, again, by many at once, after a failure."""

import asyncio
import importlib
import os
import shutil
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from wallet_engine.errors import LedgerUnavailable
from wallet_engine.sharding import shard_of
from wallet_persistence.migrate import HEAD, LOCK_KEY, MIGRATIONS, current, migrate
from wallet_persistence.schema import expected_objects, found_objects

MIGRATE_PROGRAM = """
import asyncio, sys
from wallet_persistence.migrate import migrate
print(asyncio.run(migrate(sys.argv[1])))
"""

WAITERS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def objects_of(dsn: str) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        return await found_objects(connection)
    finally:
        await connection.close()


async def migrate_in_a_process(dsn: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", MIGRATE_PROGRAM, dsn),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().strip()


def test_head_is_the_newest_script() -> None:
    """A migration that is added without a new `HEAD` does not go unnoticed."""
    scripts = ScriptDirectory(MIGRATIONS)
    assert scripts.get_current_head() == HEAD
    for script in scripts.walk_revisions():
        assert Path(script.path).with_suffix(".sql").is_file()


async def test_fresh_database_is_brought_to_head(empty_database: str) -> None:
    """An empty database has no revision; afterwards it has ours, and what `schema.txt` says."""
    assert await current(empty_database) is None

    assert await migrate(empty_database) == HEAD

    assert await current(empty_database) == HEAD
    assert await objects_of(empty_database) == expected_objects()


async def test_second_run_changes_nothing(empty_database: str) -> None:
    """Migrating twice is the same as once: what is stored stays."""
    await migrate(empty_database)
    await execute(
        empty_database, "INSERT INTO organizations (id, name) VALUES ('demo-org', 'Demo')"
    )

    assert await migrate(empty_database) == HEAD

    connection = await asyncpg.connect(empty_database)
    stored = await connection.fetchrow("SELECT id, shard, debt_limit_pence FROM organizations")
    await connection.close()
    assert stored is not None
    assert tuple(stored) == ("demo-org", shard_of("demo-org"), 500)


async def test_four_processes_at_once(empty_database: str) -> None:
    """Nodes that start together all succeed, and the schema is made once."""
    outcomes = await asyncio.gather(*(migrate_in_a_process(empty_database) for _ in range(4)))

    assert outcomes == [(0, HEAD)] * 4
    assert await objects_of(empty_database) == expected_objects()


async def test_four_tasks_at_once(empty_database: str) -> None:
    """The same within one event loop."""
    assert await asyncio.gather(*(migrate(empty_database) for _ in range(4))) == [HEAD] * 4


async def test_failed_script_leaves_nothing(empty_database: str) -> None:
    """A script that fails near its end is undone whole, and can be run again."""
    await execute(empty_database, "CREATE TABLE fleet_switches (id int)")
    before = await objects_of(empty_database)

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_database)

    assert await objects_of(empty_database) == before
    assert await current(empty_database) is None
    await execute(empty_database, "DROP TABLE fleet_switches")
    assert await migrate(empty_database) == HEAD


async def test_waits_its_turn_and_can_be_cancelled(empty_database: str) -> None:
    """While another upgrade runs this one waits; cancelled there, it has done nothing."""
    other = await asyncpg.connect(empty_database)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        waiting = asyncio.create_task(migrate(empty_database))
        while not await other.fetchval(WAITERS):
            assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await other.close()

    assert await objects_of(empty_database) == {}
    assert await migrate(empty_database) == HEAD


async def test_only_what_is_new_is_run(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database of the last release gets the versions since, in their order, and no other."""
    shutil.copytree(MIGRATIONS, tmp_path, dirs_exist_ok=True)
    for revision, before, sql in (
        ("8001", HEAD, "CREATE TABLE later (n int)"),
        ("8002", "8001", "ALTER TABLE later ADD m int"),
    ):
        script = (tmp_path / "versions/v0001_initial.py").read_text()
        script = script.replace("down_revision = None", f'down_revision = "{before}"')
        script = script.replace('revision = "0001"', f'revision = "{revision}"', 1)
        (tmp_path / f"versions/v{revision}_later.py").write_text(script)
        (tmp_path / f"versions/v{revision}_later.sql").write_text(sql)
    module = importlib.import_module("wallet_persistence.migrate")
    monkeypatch.setattr(module, "MIGRATIONS", tmp_path)
    monkeypatch.setattr(module, "HEAD", "8002")

    assert await migrate(database) == "8002"
    assert "column later.m" in await objects_of(database)


async def test_newer_database_is_left_alone(database: str) -> None:
    """A program of yesterday starts on the schema of tomorrow, for migrations only add."""
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")

    assert await migrate(database) == "9999"


async def test_unreachable_server() -> None:
    """No connection is an operating error of ours: nothing was changed."""
    nowhere = "postgresql://nobody:secret@127.0.0.1:1/nothing"

    with pytest.raises(LedgerUnavailable) as migrating:
        await migrate(nowhere)
    with pytest.raises(LedgerUnavailable):
        await current(nowhere)

    assert "secret" not in str(migrating.value)
