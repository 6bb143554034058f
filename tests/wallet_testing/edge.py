"""A whole node on a real database, asked over HTTP by whoever a test wants to be."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp
import jwt

from wallet_config import Settings
from wallet_http.compose import Program
from wallet_http.logs import SILENT, DecisionLog

SECRET = "a secret of thirty-two bytes, at least"
ORG = "org-1"


def token(scope: str = "operator", org_id: str = "", **claims: object) -> str:
    """Return a token that the node believes."""
    found = {"scope": scope, "exp": int(time.time()) + 3600, **claims}
    return jwt.encode({**found, "org_id": org_id} if org_id else found, SECRET, "HS256")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the node answered."""

    status: int
    body: Any
    headers: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # JSON
        return self.body[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A running node, and a session to it."""

    program: Program
    session: aiohttp.ClientSession

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = "",
        token: str | None = token(),  # lives as long as the tests
        **headers: str,
    ) -> Heard:
        """Ask as somebody; a body of bytes is sent as it is."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if key:
            sent["Idempotency-Key"] = key
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = None if body is None else BytesIO(raw)
        url = f"http://127.0.0.1:{self.program.port}{path}"
        async with self.session.request(method, url, data=data, headers=sent) as response:
            text = await response.read()
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            found = json.loads(text) if is_json and text else text.decode()
            return Heard(response.status, found, response.headers)

    async def v1(self, verb: str, *, key: str = "", **fields: object) -> Heard:
        """Ask for a verb on the org of the tests."""
        return await self.ask("POST", f"/v1/{verb}", {"org_id": ORG, **fields}, key=key)

    async def wallet(self) -> Heard:
        """Look at the wallet of the tests."""
        return await self.ask("GET", f"/api/billing/wallet?org_id={ORG}")

    async def open(self, pence: int = 0, **settings: object) -> None:
        """Create the org of the tests, with so much money."""
        org = {"org_id": ORG, "name": "Org", "settings": settings}
        assert (await self.ask("POST", "/admin/orgs", org)).status == 201
        if pence:
            credit = await self.v1("credit", key="opening", amount_pence=pence, type="topup")
            assert credit.status == 201


@asynccontextmanager
async def edge(
    dsn: str,
    *,
    decisions: DecisionLog = SILENT,
    **groups: Any,  # noqa: ANN401  # as read
) -> AsyncIterator[Edge]:
    """Run a node on a migrated database, with these groups of settings."""
    http = {"port": 0, "shutdown_grace_s": 1.0, **groups.pop("http", {})}
    auth = groups.pop("auth", {"jwt_secret": SECRET})
    groups |= {"http": http, "auth": auth}
    settings = Settings(environment="test", **groups)
    program = Program(settings, dsn=dsn, providers="simulated", decisions=decisions)
    await program.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Edge(program=program, session=session)
    finally:
        await program.stop()
