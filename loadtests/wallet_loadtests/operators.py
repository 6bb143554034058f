"""An operator who prepares what load needs: orgs, money, assistants, numbers."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from .system import System

CONNECTIONS_MAX = 32
ANSWER_S_MAX = 30.0


class PreparationFailed(Exception):
    """The engine did not take what was to be prepared."""


class Operator:
    """Asks the engine for things and takes no refusal; orgs are named after one run."""

    def __init__(self, system: System, session: aiohttp.ClientSession) -> None:
        self._system = system
        self._session = session
        self._headers = system.bearer()
        self._run = secrets.token_hex(4)

    def org_id(self, name: str) -> str:
        """Return the id of this run's org of that name."""
        return f"load-{self._run}-{name}"

    async def org(
        self, name: str, *, pence: int = 0, settings: Mapping[str, object] | None = None
    ) -> str:
        """Create an org with so much money, and return its id."""
        org_id = self.org_id(name)
        body = {"org_id": org_id, "name": f"Load test {name}", "settings": settings or {}}
        await self.ask("POST", "/admin/orgs", body)
        if pence:
            await self.credit(org_id, pence)
        return org_id

    async def orgs(
        self, names: Sequence[str], *, pence: int, settings: Mapping[str, object] | None = None
    ) -> list[str]:
        """Create many orgs, some at a time."""
        gate = asyncio.Semaphore(CONNECTIONS_MAX)

        async def make(name: str) -> str:
            async with gate:
                return await self.org(name, pence=pence, settings=settings)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(make(name)) for name in names]
        return [task.result() for task in tasks]

    async def credit(self, org_id: str, pence: int) -> None:
        """Pay money in."""
        body = {"org_id": org_id, "amount_pence": pence, "type": "topup"}
        await self.ask("POST", "/v1/credit", body, key=f"topup-{secrets.token_hex(8)}")

    async def number(self, org_id: str) -> str:
        """Give an org a number that an assistant answers; return the number's id."""
        number_id, assistant_id = f"number-{org_id}", f"assistant-{org_id}"
        await self.ask(
            "PUT", f"/admin/assistants/{assistant_id}", {"org_id": org_id, "default": True}
        )
        digits = f"{secrets.randbelow(10**10):010d}"
        body = {"org_id": org_id, "number": f"+1{digits}", "assistant_id": assistant_id}
        await self.ask("PUT", f"/admin/phone-numbers/{number_id}", body)
        return number_id

    async def ask(
        self, method: str, path: str, body: Mapping[str, object], *, key: str | None = None
    ) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            PreparationFailed: the answer is not a yes.
        """
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        url = f"{self._system.url}{path}"
        async with self._session.request(
            method, url, data=json.dumps(body), headers=headers
        ) as response:
            text = await response.text()
            if not response.ok:
                raise PreparationFailed(f"{method} {path}: {response.status} {text}")
            answer: dict[str, Any] = json.loads(text)
            return answer

    async def send(self, path: str, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Send a body as it is, and return its answer.

        Raises:
            PreparationFailed: the answer is not a yes.
        """
        url = f"{self._system.url}{path}"
        async with self._session.post(url, data=body, headers=headers) as response:
            text = await response.text()
            if not response.ok:
                raise PreparationFailed(f"{path}: {response.status} {text}")
            answer: dict[str, Any] = json.loads(text)
            return answer

    async def metrics(self) -> str:
        """Return what the engine counts, as Prometheus reads it."""
        async with self._session.get(f"{self._system.url}/metrics") as response:
            response.raise_for_status()
            return await response.text()


@asynccontextmanager
async def operating(system: System) -> AsyncIterator[Operator]:
    """Give an operator of `system`."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Operator(system, session)
