"""A whole node on a real database, with the demo org that the recorded messages name."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp
import asyncpg
import jwt

from wallet_config import Settings
from wallet_http.compose import Program
from wallet_http.logs import SILENT

from .processes import until
from .vapi_world import ASSISTANT, NUMBER, NUMBER_ID, ORG

JWT_SECRET = "a secret of thirty-two bytes, at least"
VAPI_SECRET = "vapi-secret"

WALLET = """
-- What one wallet has.  $1 org.
SELECT wallet_balance_pence, held_pence, seq FROM organizations WHERE id = $1
"""

TYPES = """
-- The kinds of decisions about one wallet, in order, without the opening credit.  $1 org.
SELECT transaction_type FROM credit_transactions WHERE org_id = $1 AND seq > 1 ORDER BY seq
"""

DELIVERIES = """
-- What became of Vapi's messages, in the order of their arrival.
SELECT org_id, call_id, type, status, http_status, outcome, detail
FROM webhook_delivery_log ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VapiPlatform:
    """A running node, whoever posts to it, and a look at its database."""

    program: Program
    connection: asyncpg.Connection
    session: aiohttp.ClientSession

    async def vapi(self, path: str, body: object) -> tuple[int, Any]:
        """Post as Vapi does; return status and answer."""
        return await self._sent("POST", path, body, {"X-Vapi-Secret": VAPI_SECRET})

    async def operator(
        self, method: str, path: str, body: object, *, key: str = ""
    ) -> tuple[int, Any]:
        """Ask as an operator does; return status and answer."""
        claims = {"scope": "operator", "exp": int(time.time()) + 3600}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, 'HS256')}"}
        if key:
            headers["Idempotency-Key"] = key
        return await self._sent(method, path, body, headers)

    async def open(self, org_id: str, pence: int) -> None:
        """Create an org with so much money."""
        created, _ = await self.operator("POST", "/admin/orgs", {"org_id": org_id, "name": org_id})
        assert created == 201
        if pence:
            credit = {"org_id": org_id, "amount_pence": pence, "type": "topup", "description": ""}
            assert (await self.operator("POST", "/v1/credit", credit, key="opening"))[0] == 201

    async def map_demo(self) -> None:
        """Map the recorded number and assistant to the demo org."""
        assistant = {"org_id": ORG, "default": True}
        number = {"org_id": ORG, "number": NUMBER, "assistant_id": ASSISTANT}
        for path, body in (
            (f"/admin/assistants/{ASSISTANT}", assistant),
            (f"/admin/phone-numbers/{NUMBER_ID}", number),
        ):
            assert (await self.operator("PUT", path, body))[0] == 201

    async def wallet(self, org_id: str = ORG) -> tuple[int, int, int]:
        """Return balance, held and seq as stored."""
        row = await self.connection.fetchrow(WALLET, org_id)
        assert row is not None
        return row["wallet_balance_pence"], row["held_pence"], row["seq"]

    async def types(self, org_id: str = ORG) -> list[str]:
        """Return what the journal holds after the opening credit."""
        return [row["transaction_type"] for row in await self.connection.fetch(TYPES, org_id)]

    async def until_wallet(self, what: Callable[[int, int], bool], org_id: str = ORG) -> None:
        """Wait until balance and held of a wallet are as `what` wants."""

        async def so() -> bool:
            balance, held, _ = await self.wallet(org_id)
            return what(balance, held)

        await until(so, "the wallet")

    async def deliveries(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many deliveries are logged, and return them all."""

        async def there() -> bool:
            return len(await self.connection.fetch(DELIVERIES)) >= count

        await until(there, f"{count} deliveries in the log")
        return [dict(row) for row in await self.connection.fetch(DELIVERIES)]

    async def _sent(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.program.port}{path}"
        raw = BytesIO(json.dumps(body).encode())
        async with self.session.request(method, url, data=raw, headers=headers) as response:
            return response.status, json.loads(await response.read())


@asynccontextmanager
async def vapi_platform(
    dsn: str,
    *,
    pence: int = 0,
    fresh: bool = True,
    **settings: Any,  # noqa: ANN401  # as read
) -> AsyncIterator[VapiPlatform]:
    """Run a node on a migrated database; `fresh` makes the demo org, with so much money."""
    groups: dict[str, Any] = {"http": {}, "vapi": {}, **settings}
    groups["http"] = {"port": 0, **groups["http"]}
    groups["vapi"] = {"secret": VAPI_SECRET, **groups["vapi"]}
    groups["auth"] = {"jwt_secret": JWT_SECRET}
    made = Settings(environment="test", **groups)
    program = Program(made, dsn=dsn, providers="simulated", decisions=SILENT)
    await program.start()
    connection = await asyncpg.connect(dsn)
    try:
        async with aiohttp.ClientSession() as session:
            platform = VapiPlatform(program=program, connection=connection, session=session)
            if fresh:
                await platform.open(ORG, pence)
                await platform.map_demo()
            yield platform
    finally:
        await connection.close(timeout=1.0)
        await program.stop()
