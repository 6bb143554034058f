"""Nodes as processes: killed, started again, ended in order by the one that started them."""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from wallet_loadtests.node import NodeProcess, environment_of
from wallet_persistence.embedded import EmbeddedValkey, free_port
from wallet_testing.edge import SECRET, edge, token
from wallet_testing.members import CLUSTER_SECRET, shared
from wallet_testing.processes import until

WALLET = (sys.executable, "-m", "wallet_http")
PRINTED_MAX = 8_000
ORGS = [f"org-{number}" for number in range(12)]
"""So many that each of a few nodes holds some, whatever their names hash to."""


def together(url: str, prefix: str = "", **more: str) -> dict[str, str]:
    return {
        "WALLET_REDIS__URL": url,
        "WALLET_REDIS__PREFIX": prefix or f"test-{secrets.token_hex(4)}",
        "WALLET_CLUSTER__SECRET": CLUSTER_SECRET,
        "WALLET_CLUSTER__PORT": "0",
        **more,
    }


class Client:
    """Asks nodes on their ports, each time on a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, port: int, path: str, body: object = None, key: str = ""
    ) -> tuple[int, str]:
        """Ask as an operator; status 0: there was no answer."""
        headers = {"Authorization": f"Bearer {token()}", "Connection": "close"}
        headers |= {"Idempotency-Key": key} if key else {}
        method = "GET" if body is None else "POST"
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{port}{path}"
        try:
            async with self._session.request(method, url, data=data, headers=headers) as response:
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def credit(self, port: int, org_id: str, key: str) -> int:
        body = {"org_id": org_id, "amount_pence": 1, "type": "topup"}
        return (await self.ask(port, "/v1/credit", body, key))[0]

    async def open(self, port: int) -> None:
        for org_id in ORGS:
            status, told = await self.ask(port, "/admin/orgs", {"org_id": org_id, "name": org_id})
            assert status == 201, told

    async def nodes(self, port: int) -> dict[str, str]:
        """Return the boots of the nodes that hold shards, by name, once all shards are held."""
        status, told = await self.ask(port, "/admin/cluster")
        if status != 200 or None in json.loads(told)["holders"]:
            return {}
        return {one["id"]: one["boot"] for one in json.loads(told)["nodes"] if one["shards"]}


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session)


class Printing:
    """A `wallet` command that runs, and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""
        self._reading = asyncio.create_task(self._read())

    async def until_told(self, pattern: str, *, times: int = 1) -> list[str]:
        async def told() -> bool:
            return len(re.findall(pattern, self.printed)) >= times

        try:
            await until(told, pattern)
        except AssertionError:
            raise AssertionError(f"no {pattern!r} in:\n{self.printed}") from None
        return re.findall(pattern, self.printed)

    async def until_so(self, true: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until something is so; if it never is, show what was printed meanwhile."""
        try:
            await until(true, what)
        except AssertionError as error:
            raise AssertionError(f"{error}, in:\n{self.printed[-PRINTED_MAX:]}") from None

    async def ended(self) -> int:
        await self._reading
        return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(65_536):
            self.printed += chunk.decode()


@asynccontextmanager
async def command(
    *words: str, settings: Mapping[str, str], cwd: Path | None = None
) -> AsyncIterator[Printing]:
    process = await asyncio.create_subprocess_exec(
        *WALLET,
        *words,
        cwd=cwd,
        env=environment_of(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printing = Printing(process)
    try:
        yield printing
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await printing.ended()


async def test_a_node_that_is_killed_is_replaced(
    database: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """Its wallets answer again on the other node, and what it acknowledged is there."""
    groups = shared(valkey.url)
    killed = NodeProcess(
        dsn=database,
        jwt_secret=SECRET,
        vapi_secret="",
        log=tmp_path / "b",
        settings=together(valkey.url, groups["redis"]["prefix"], WALLET_NODE__ID="b"),
    )
    async with client() as asks, edge(database, node={"id": "a"}, **groups) as a, killed:
        port = a.program.port

        async def both() -> bool:
            return set(await asks.nodes(port)) == {"a", "b"}

        async def replaced() -> bool:
            return set(await asks.nodes(port)) == {"a"}

        await until(both, "both hold shards")
        await asks.open(port)
        assert {await asks.credit(port, org_id, "k1") for org_id in ORGS} == {201}

        killed.kill()

        statuses = await asyncio.gather(*(asks.credit(port, it, "k2") for it in ORGS))
        await until(replaced, "the other one holds all")
        assert set(statuses) <= {201, 503}
        for org_id in ORGS:
            assert await asks.credit(port, org_id, "k1") == 200
            assert await asks.credit(port, org_id, "k2") in {200, 201}
            wallet = await asks.ask(port, f"/api/billing/wallet?org_id={org_id}")
            assert json.loads(wallet[1])["balance_pence"] == 2


async def test_several_processes_behind_one_port(database: str, valkey: EmbeddedValkey) -> None:
    """A child that dies is started again; SIGTERM ends all, one after the other."""
    port = free_port()
    settings = together(
        valkey.url,
        WALLET_ENVIRONMENT="test",
        WALLET_NODE__ID="n",
        WALLET_POSTGRES__DSN=database,
        WALLET_AUTH__JWT_SECRET=SECRET,
        WALLET_HTTP__PORT=str(port),
    )
    async with (
        client() as asks,
        command("serve", "--processes", "2", settings=settings) as parent,
    ):
        await parent.until_told("All 2 nodes take requests")
        [first] = await parent.until_told(r"n-1 is started, pid (\d+)")

        before: dict[str, str] = {}

        async def both() -> bool:  # either may answer, and hear of a hand-over after the other
            before.clear()
            before.update(await asks.nodes(port))
            return set(before) == {"n-1", "n-2"}

        await parent.until_so(both, "both hold shards")
        await asks.open(port)
        assert {await asks.credit(port, org_id, "k1") for org_id in ORGS} == {201}
        assert {await asks.credit(port, org_id, "k1") for org_id in ORGS} == {200}

        os.kill(int(first), signal.SIGKILL)

        await parent.until_told("n-1 was ended by SIGKILL; it is started again in 0.5 s")
        await parent.until_told(r"n-1 is started, pid \d+", times=2)

        async def again() -> bool:
            now = await asks.nodes(port)
            return set(now) == set(before) and now["n-1"] != before["n-1"]

        await parent.until_so(again, "the first one holds shards again")
        assert {await asks.credit(port, org_id, "k2") for org_id in ORGS} == {201}

        parent.process.send_signal(signal.SIGTERM)

        assert await parent.ended() == 0
        lines = [line for line in parent.printed.splitlines() if line]
        told = [json.loads(line) for line in lines]
        assert {one["node"] for one in told if one["event"] == "The node stops"} == {"n-1", "n-2"}
        # Of the first later a line may be lost: what was killed had not written it yet.
        later = [one for one in told if one["event"] == "Credited" and one["seq"] == 2]
        assert sorted(one["org_id"] for one in later) == sorted(ORGS)
        assert (await asks.ask(port, "/health"))[0] == 0


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({}, "WALLET_REDIS__URL"),
        ({"WALLET_REDIS__URL": "redis://127.0.0.1:9"}, "WALLET_CLUSTER__SECRET"),
    ],
)
async def test_several_processes_need_leases(env: dict[str, str], complaint: str) -> None:
    """A sentence, and exit code 1."""
    settings = {"WALLET_POSTGRES__DSN": "postgresql://wallet@127.0.0.1:9/x", **env}
    async with command("serve", "--processes", "2", settings=settings) as parent:
        assert await parent.ended() == 1

    assert complaint in parent.printed
    assert "Traceback" not in parent.printed


async def test_what_cannot_start_is_not_started_again(
    empty_database: str, valkey: EmbeddedValkey
) -> None:
    """As long as no node ever worked, the fault is the operator's to mend."""
    settings = together(
        valkey.url,
        WALLET_ENVIRONMENT="test",
        WALLET_NODE__ID="n",
        WALLET_POSTGRES__DSN=empty_database,
        WALLET_AUTH__JWT_SECRET=SECRET,
        WALLET_HTTP__PORT="0",
        WALLET_LOGS__FORMAT="text",
    )
    async with command("serve", "--processes", "2", settings=settings) as parent:
        assert await parent.ended() == 1

    assert re.search(
        r"^n-[12] \| wallet: the database cannot be used", parent.printed, re.MULTILINE
    )
    assert re.search(r"^wallet: n-[12] ended with code 1 before", parent.printed, re.MULTILINE)
    assert "Traceback" not in parent.printed


async def test_a_cluster_to_try(database: str, tmp_path: Path) -> None:
    """`wallet up --nodes` shows shards that move, prints lines to try, and ends in order."""
    settings = {"WALLET_HTTP__PORT": "0", "WALLET_POSTGRES__DSN": database}
    async with (
        client() as asks,
        command("up", "--nodes", "2", settings=settings, cwd=tmp_path) as up,
    ):
        await up.until_told("Ctrl-C ends it")
        for name in ("node-1", "node-2"):
            assert (await up.until_told(rf"{name} \| .* \d+ shards are ours now"))[0]
        [port] = await up.until_told(r"Wallet engine .* on http://127\.0\.0\.1:(\d+)")
        assert re.search(
            r"nodes node-1 \(pid \d+\), node-2 \(pid \d+\), the Postgres of", up.printed
        )
        assert re.search(r"leases in its own Valkey on port \d+", up.printed)
        assert (await asks.ask(int(port), "/health/ready"))[0] == 200
        secret = (tmp_path / ".wallet" / "jwt-secret").read_text()
        assert secret not in up.printed

        up.process.send_signal(signal.SIGINT)

        assert await up.ended() == 0
        assert "Traceback" not in up.printed
        assert len(re.findall("The node stops", up.printed)) == 2
