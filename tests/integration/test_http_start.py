"""A node that starts before its database: it waits, within bounds, and says so."""

import asyncio
import signal
import sys

import asyncpg
import pytest

from wallet_config import AuthSettings, HttpSettings, Settings
from wallet_http.compose import Program
from wallet_http.logs import SILENT
from wallet_loadtests.node import environment_of
from wallet_persistence.embedded import EmbeddedPostgres, free_port
from wallet_persistence.migrate import migrate
from wallet_testing.processes import shut_down, until

WAITS = "The node waits for its database"


def program_on(dsn: str) -> Program:
    settings = Settings(environment="test", http=HttpSettings(port=0), auth=AuthSettings())
    return Program(settings, dsn=dsn, providers="simulated", decisions=SILENT)


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(
        dsn, server_settings={"default_transaction_read_only": "off"}
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def until_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    async def told() -> bool:
        return WAITS in caplog.text

    await until(told, WAITS)


async def test_a_database_that_is_started_later(caplog: pytest.LogCaptureFixture) -> None:
    """As when a whole machine boots."""
    async with EmbeddedPostgres(None) as postgres:
        await migrate(postgres.dsn)
        await shut_down(postgres)
        program = program_on(postgres.dsn)
        starting = asyncio.create_task(program.start())
        await until_it_waits(caplog)
        assert not starting.done()

        await postgres.start()
        await starting

        assert program.port
        await program.stop()


async def test_a_database_that_takes_no_writes_yet(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a standby that is about to be promoted."""
    name = database.rpartition("/")[2]
    await execute(database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    program = program_on(database)
    starting = asyncio.create_task(program.start())
    await until_it_waits(caplog)

    await execute(database, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await starting

    assert program.port
    await program.stop()


async def test_it_can_be_told_to_stop_while_it_waits() -> None:
    """SIGTERM ends it at once and in order, not after its patience."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "wallet_http", "serve"),
        env=environment_of(
            {
                "WALLET_ENVIRONMENT": "test",
                "WALLET_POSTGRES__DSN": f"postgresql://wallet@127.0.0.1:{free_port()}/none",
                "WALLET_POSTGRES__START_PATIENCE_S": "3600",
            }
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        while WAITS.encode() not in await process.stdout.readline():
            assert not process.stdout.at_eof()
        process.send_signal(signal.SIGTERM)
        told = (await process.stdout.read()).decode()

        assert await process.wait() == 0
        assert "The node stops before it has started" in told
        assert "Traceback" not in told
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
