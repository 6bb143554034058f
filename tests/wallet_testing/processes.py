"""Real processes for tests: a database of its own, a node to kill, and the `wallet` command."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import jwt

from wallet_loadtests.node import NodeProcess, run_command
from wallet_persistence.embedded import EmbeddedPostgres

from .recorder import Recorder, Request, assistant_of, recording_session
from .witness import Finding, findings

POLL_S = 0.01
UNTIL_S_MAX = 60.0
"""How long a test waits for what must happen: far longer than it takes on a busy machine."""

TOKEN_S = 3600

HELD = """
-- What one org holds, and for which calls.  $1 org.
SELECT call_id, reserved_pence FROM credit_reservations WHERE org_id = $1 AND status = 'active'
"""

JOURNALED = """
-- Whether a decision is durable.  $1 org, $2 key.
SELECT EXISTS (SELECT FROM credit_transactions WHERE org_id = $1 AND idempotency_key = $2)
"""

HELD_SUM = """
-- What one wallet says it holds.  $1 org.
SELECT held_pence FROM organizations WHERE id = $1
"""


def environment_seconds(name: str, default: float) -> float:
    """Return how long something shall take: a test is short, unless the environment says more."""
    return float(os.environ.get(name, default))


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something is so, by looking again and again."""
    try:
        async with asyncio.timeout(UNTIL_S_MAX):
            while not await true():  # noqa: ASYNC110  # another process: nothing tells
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


@dataclass(slots=True, kw_only=True)
class Stage:
    """A database, a node on it, and a client who remembers all answers.

    `node` is the one that clients talk to; `another_node` makes more of its kind.
    """

    dsn: str
    node: NodeProcess
    recorder: Recorder
    connection: asyncpg.Connection
    token: str
    another_node: Callable[[], NodeProcess]

    async def org(self, org_id: str, pence: int = 0) -> str:
        """Create an org with so much money and an assistant, and return its id."""
        await self.operator("POST", "/admin/orgs", {"org_id": org_id, "name": org_id})
        assistant = f"/admin/assistants/{assistant_of(org_id)}"
        await self.operator("PUT", assistant, {"org_id": org_id, "default": True})
        if pence:
            fields = {"amount_pence": pence, "type": "topup"}
            credit = Request(verb="credit", org_id=org_id, fields=fields, key="opening")
            assert (await self.recorder.ask(credit)).status == 201
        return org_id

    def raw(self, request: Request) -> bytes:
        """Return a request as bytes, for those who send them one by one."""
        body = request.body().encode()
        lines = [
            f"POST /v1/{request.verb} HTTP/1.1",
            f"Host: 127.0.0.1:{self.node.port}",
            f"Authorization: Bearer {self.token}",
            f"Content-Length: {len(body)}",
            *([f"Idempotency-Key: {request.key}"] if request.key else []),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def until_journaled(self, request: Request) -> None:
        """Wait until what `request` asked for is durable."""

        async def there() -> bool:
            key = request.stored_key
            return bool(await self.connection.fetchval(JOURNALED, request.org_id, key))

        await until(there, f"{request} in the journal")

    async def held(self, org_id: str) -> dict[str, int]:
        """Return what is held for which call."""
        return {it["call_id"]: it["reserved_pence"] for it in await self._rows(HELD, org_id)}

    async def held_pence(self, org_id: str) -> int:
        """Return what the wallet's own row says it holds."""
        return int(await self.connection.fetchval(HELD_SUM, org_id))

    async def metric(self, name: str) -> float:
        """Return what the node counted since it started; `name` with its labels."""
        return (await self.metrics(name)).get(name, 0.0)

    async def metrics(self, family: str) -> dict[str, float]:
        """Return all that the node counted under names that begin so."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.node.url}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        counted = (line.rpartition(" ") for line in lines if line.startswith(family))
        return {name: float(value) for name, _, value in counted}

    async def drift(self) -> str:
        """Run `wallet audit`, and return what it said if it was not content."""
        code, output = await run_command("audit", settings={"WALLET_POSTGRES__DSN": self.dsn})
        return "" if code == 0 else f"audit ended with {code}:\n{output}"

    async def findings(self) -> list[Finding]:
        """Hold all answers until now against the journals."""
        return await findings(self.recorder.answers, self.dsn)

    async def faults(self) -> list[str]:
        """Return whatever is wrong by now: answers against journals, and the audit."""
        drift = await self.drift()
        told = [f"{it.wrong}: {it.text}" for it in await self.findings()]
        return [*told, *([drift] if drift else [])]

    async def operator(self, method: str, path: str, body: Mapping[str, object]) -> None:
        """Ask for something as an operator, who is not refused."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.node.url + path, json=body) as response,
        ):
            assert response.status in {200, 201}, await response.text()

    async def _rows(self, query: str, org_id: str) -> list[asyncpg.Record]:
        return await self.connection.fetch(query, org_id)


@asynccontextmanager
async def staged(
    dsn: str, folder: Path, *, node_dsn: str = "", settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """Set a stage on a migrated database.

    Args:
        dsn: of the database, for the test itself.
        folder: where the node's log is written.
        node_dsn: how the node reaches the database, if not by `dsn`.
        settings: `WALLET_…` variables of the node.
    """
    secret, vapi_secret = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    claims = {"scope": "operator", "exp": int(time.time()) + TOKEN_S}
    token = jwt.encode(claims, secret, algorithm="HS256")
    nodes: list[NodeProcess] = []

    def another_node() -> NodeProcess:
        made = NodeProcess(
            dsn=node_dsn or dsn,
            jwt_secret=secret,
            vapi_secret=vapi_secret,
            log=folder / f"node-{len(nodes)}.log",
            settings=settings,
        )
        nodes.append(made)
        return made

    connection = await asyncpg.connect(dsn)
    try:
        node = another_node()
        await node.start()
        async with recording_session() as session:
            recorder = Recorder(session, lambda: stage.node.url, token, vapi_secret=vapi_secret)
            stage = Stage(
                dsn=dsn,
                node=node,
                recorder=recorder,
                connection=connection,
                token=token,
                another_node=another_node,
            )
            yield stage
    finally:
        for one in nodes:
            if one.is_running:
                await one.stop()
        await connection.close(timeout=POLL_S * 100)


async def shut_down(postgres: EmbeddedPostgres) -> None:
    """Stop a Postgres as its init system does, to be started again: what it holds stays."""
    os.kill(postgres.process.pid, signal.SIGINT)  # a fast shutdown; SIGTERM waits for clients
    await postgres.wait()
