"""The `wallet` command as people use it: real processes, in a folder of their own."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import jwt
import pytest

from wallet_persistence.embedded import free_port
from wallet_testing.edge import SECRET, edge

WALLET = (sys.executable, "-m", "wallet_http")
START_S_MAX = 60


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WALLET_")}
    return {**kept, "COLUMNS": "200", **more}


async def wallet(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Run the command; return its exit code, what it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *WALLET,
        *arguments,
        cwd=cwd,
        env=environment(**(env or {})),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    return process.returncode, printed.decode(), complained.decode()


@asynccontextmanager
async def wallet_up(cwd: Path, **env: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `wallet up` until the test is over; give the process and what it printed first."""
    process = await asyncio.create_subprocess_exec(
        *WALLET,
        "up",
        cwd=cwd,
        env=environment(WALLET_HTTP__PORT=str(free_port()), **env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(START_S_MAX):
            while "Ctrl-C ends it" not in printed:
                line = await process.stdout.readline()
                assert line, printed
                printed += line.decode()
        yield process, printed
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


async def shell(line: str, cwd: Path) -> str:
    """Run a line as if it had been pasted."""
    process = await asyncio.create_subprocess_shell(
        line, cwd=cwd, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return printed.decode()


@pytest.mark.timeout(180)
async def test_a_system_from_nothing(tmp_path: Path) -> None:
    """`wallet up` prints lines that work when pasted, keeps its data, and ends in order."""
    async with wallet_up(tmp_path) as (process, printed):
        url = re.search(r"http://127\.0\.0\.1:\d+", printed)
        assert url is not None
        pasted = [
            line.strip()
            for line in printed.splitlines()
            if re.match(r"  (curl|TOKEN=|SERVICE=)", line)
        ]
        assert len(pasted) >= 10
        answers = (await shell("\n".join(f"{line}\necho" for line in pasted), tmp_path)).split("\n")
        told = [json.loads(line) for line in answers if line]
        assert told[0]["assistantOverrides"]["maxDurationSeconds"] == 600
        assert told[2]["endCall"] is False
        assert told[4]["balance_pence"] == 888
        assert [row["type"] for row in told[5]["transactions"]] == [
            *("call_deduction", "reservation", "bonus"),
        ]
        assert len(told[6]["decisions"]) == 2
        assert told[7]["charged_pence"] == 100
        assert told[8]["held_pence"] == 280

        code, passed, complaint = await wallet("verify", "--gates", url[0], cwd=tmp_path)
        assert code == 0, passed + complaint
        count = re.search(r"(\d+)/(\d+) passed", passed)
        assert count is not None
        assert count[1] == count[2]
        code, audited, _ = await wallet("audit", cwd=tmp_path)
        assert code == 0, audited
        assert "everything adds up" in audited
        code, listed, _ = await wallet("org", "list", cwd=tmp_path)
        assert "demo-org" in listed
        code, _, complaint = await wallet("up", cwd=tmp_path)
        assert code == 1
        assert complaint.startswith("wallet: ")
        assert "Traceback" not in complaint

        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0

    code, shown, complaint = await wallet("org", "show", "demo-org", cwd=tmp_path)
    assert code == 0, complaint
    assert json.loads(shown)["balance_pence"] == 788
    async with wallet_up(tmp_path):
        code, shown, _ = await wallet("org", "show", "demo-org", cwd=tmp_path)
        assert json.loads(shown)["balance_pence"] == 788


async def test_a_token_and_nothing_else(tmp_path: Path) -> None:
    """What is printed can be put into a variable as it is."""
    env = {"WALLET_AUTH__JWT_SECRET": SECRET, "WALLET_AUTH__AUDIENCE": "wallet"}
    arguments = ("token", "--org", "org-1", "--scope", "org", "--ttl", "60", "--subject", "me")
    code, printed, complaint = await wallet(*arguments, cwd=tmp_path, env=env)

    assert (code, complaint, printed.count("\n")) == (0, "", 1)
    claims = jwt.decode(printed.strip(), SECRET, ["HS256"], audience="wallet")
    assert (claims["org_id"], claims["scope"], claims["sub"]) == ("org-1", "org", "me")
    assert 0 < claims["exp"] - time.time() <= 60


async def test_a_key_of_this_machine(tmp_path: Path) -> None:
    """Made once, for its owner's eyes only; tokens of two commands are signed with it."""
    tokens = [(await wallet("token", "--scope", "service", cwd=tmp_path))[1] for _ in range(2)]
    path = tmp_path / ".wallet" / "jwt-secret"

    assert path.stat().st_mode & 0o777 == 0o600
    for one in tokens:
        jwt.decode(one.strip(), path.read_text(), ["HS256"])


@pytest.mark.parametrize(
    ("arguments", "env", "complaint"),
    [
        (("token",), {}, "needs --org"),
        (("token", "--org", "a b"), {}, "--org must be"),
        (("serve",), {}, "WALLET_POSTGRES__DSN"),
        (("audit",), {}, "there is no database"),
        (("org", "list"), {}, "there is no database"),
        (("token", "--scope", "service"), {"WALLET_HTTP__PORT": "x"}, "WALLET_HTTP__PORT"),
        (
            ("token", "--scope", "service"),
            {"WALLET_AUTH__JWKS_URL": "https://id.example.com"},
            "signed elsewhere",
        ),
        (("serve",), {"WALLET_ENVIRONMENT": "production"}, "WALLET_AUTH__JWT_SECRET"),
        (("serve",), {"WALLET_ENVIRONMENT": "production"}, "WALLET_VAPI__SECRET"),
        (("verify", "--gates", "http://127.0.0.1:9"), {}, "does not answer"),
        (
            ("serve",),
            {
                "WALLET_POSTGRES__DSN": "postgresql://wallet:hunter2@127.0.0.1:9/x",
                "WALLET_POSTGRES__START_PATIENCE_S": "0",
            },
            "the database cannot be used",
        ),
    ],
)
async def test_complaints_are_sentences(
    tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], complaint: str
) -> None:
    """Exit code 1, no trace, no secret."""
    code, printed, complained = await wallet(*arguments, cwd=tmp_path, env=env)

    assert code == 1
    assert complained.startswith("wallet: ")
    assert complaint in complained
    assert "Traceback" not in printed + complained
    assert "hunter2" not in printed + complained


async def test_the_care_of_a_database(tmp_path: Path, empty_database: str) -> None:
    """Migrated, verified, an org created and listed: all by the command alone."""
    env = {"WALLET_POSTGRES__DSN": empty_database}
    code, printed, _ = await wallet("verify", cwd=tmp_path, env=env)
    assert code == 1
    assert "wrong" in printed
    code, _, complaint = await wallet("serve", cwd=tmp_path, env=env)
    assert code == 1
    assert "wallet migrate" in complaint
    for _ in range(2):
        code, printed, _ = await wallet("migrate", cwd=tmp_path, env=env)
        assert code == 0
        assert printed.startswith("The database is at revision ")
    code, printed, _ = await wallet("verify", cwd=tmp_path, env=env)
    assert code == 0, printed
    assert re.search(r"(\d+)/\1 passed", printed)

    create = ("org", "create", "org-1", "--name", "One", "--set", "debt_limit_pence=0")
    assert (await wallet(*create, cwd=tmp_path, env=env))[0] == 0
    assert (await wallet(*create, cwd=tmp_path, env=env))[0] == 1
    bad = ("org", "create", "org-2", "--set", "debt_limit_pence=-1")
    code, _, complaint = await wallet(*bad, cwd=tmp_path, env=env)
    assert code == 1
    assert "debt_limit_pence" in complaint
    code, printed, _ = await wallet("org", "show", "org-1", cwd=tmp_path, env=env)
    assert json.loads(printed)["name"] == "One"
    assert (await wallet("org", "show", "org-2", cwd=tmp_path, env=env))[0] == 1
    code, printed, _ = await wallet("audit", "--org", "org-1", cwd=tmp_path, env=env)
    assert code == 0
    assert (await wallet("audit", "--org", "org-2", cwd=tmp_path, env=env))[0] == 1


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (
            "UPDATE organizations SET wallet_balance_pence = wallet_balance_pence + 1",
            "balance_pence is 1001, its journal says 1000",
        ),
        ("UPDATE organizations SET held_pence = 0", "held_pence"),
        ("UPDATE organizations SET suspended = true", "suspended"),
        ("DELETE FROM credit_transactions WHERE seq = 1", "does not follow"),
        ("DELETE FROM credit_transactions WHERE seq = 2", "seq is 2, its journal says 1"),
        ("DELETE FROM credit_reservations", "the hold of call c1 differs"),
        ("UPDATE credit_reservations SET reserved_pence = 281", "holds sum to 281"),
    ],
)
async def test_the_audit_finds_drift(
    tmp_path: Path, database: str, damage: str, finding: str
) -> None:
    """Whatever is changed behind the engine's back is told, with exit code 1."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="c1")
    env = {"WALLET_POSTGRES__DSN": database}
    assert (await wallet("audit", cwd=tmp_path, env=env))[0] == 0
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(damage)
    finally:
        await connection.close()
    code, printed, _ = await wallet("audit", cwd=tmp_path, env=env)

    assert code == 1
    assert finding in printed
    assert "1 wallet has drifted" in printed


async def test_help_is_worth_reading(tmp_path: Path) -> None:
    """Every command says what it does."""
    _, printed, _ = await wallet("--help", cwd=tmp_path)
    for command in ("up", "serve", "migrate", "verify", "audit", "token", "org"):
        assert re.search(rf"\b{command}\b", printed)
        code, told, _ = await wallet(command, "--help", cwd=tmp_path)
        assert code == 0
        assert len(told) > 200
