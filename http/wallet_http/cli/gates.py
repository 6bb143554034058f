"""The gates of a running server, walked from outside: what must not pass, and what must.

On an organisation of its own, whose wallet is emptied again in the end.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from .local import CommandError

TIMEOUT = aiohttp.ClientTimeout(total=15)

HELD_PENCE, CHARGED_PENCE, CREDIT_PENCE = 280, 112, 1000
"""Five minutes, 90 seconds billed as two minutes, at the tariff that the org is given."""

SETTINGS: Mapping[str, object] = {
    "rate_pence_per_minute": 56,
    "first_increment_seconds": 60,
    "increment_seconds": 60,
    "hold_minutes": 5,
    "min_call_balance_pence": 79,
    "debt_limit_pence": 500,
    "prepaid_billing": True,
}
"""The org's own, so that the numbers hold whatever the server's defaults are."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing tried: what should happen, whether it did, and what did."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What the server answered."""

    status: int
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.status} {self.body}"

    def has(self, **wanted: object) -> bool:
        """Whether the body says all of this."""
        return all(self.body.get(name) == value for name, value in wanted.items())


class Walker:
    """Asks one server about one org."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: str, vapi_secret: str
    ) -> None:
        self.org_id = f"gates-{secrets.token_hex(6)}"
        self.call_id = f"call-{secrets.token_hex(6)}"
        self._session = session
        self._url = url
        self._token = token
        self._vapi_secret = vapi_secret

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = "",
        token: str | None = None,
    ) -> Heard:
        """Ask, and return what is heard, errors included."""
        headers = {"Authorization": f"Bearer {self._token if token is None else token}"}
        if token == "":
            headers = {}
        if key:
            headers["Idempotency-Key"] = key
        if path.startswith("/api/vapi") and self._vapi_secret:
            headers["X-Vapi-Secret"] = self._vapi_secret
        async with self._session.request(
            method, self._url + path, json=body, headers=headers, timeout=TIMEOUT
        ) as response:
            found = await response.json(content_type=None)
            return Heard(response.status, found if isinstance(found, dict) else {})

    async def v1(self, verb: str, key: str = "", /, **fields: object) -> Heard:
        """Ask for a verb on the own org."""
        return await self.ask("POST", f"/v1/{verb}", {"org_id": self.org_id, **fields}, key=key)

    async def wallet(self) -> Heard:
        """Look at the wallet."""
        return await self.ask("GET", f"/api/billing/wallet?org_id={self.org_id}")

    async def rings(self, call_id: str) -> Heard:
        """Say that a call rings, as Vapi would."""
        message = {"type": "assistant-request", "call": {"id": call_id}}
        return await self.ask(
            "POST", f"/api/vapi/orgs/{self.org_id}/webhook", {"message": message}, token=""
        )


async def walk_gates(url: str, token: str, *, vapi_secret: str) -> AsyncIterator[Gate]:
    """Try one gate after the other.

    Raises:
        CommandError: the server cannot be reached.
    """
    async with aiohttp.ClientSession() as session:
        walker = Walker(session, url, token, vapi_secret)
        try:
            for walk in (_doors, _without_money, _with_money, _repeats, _the_end):
                async for gate in walk(walker):
                    yield gate
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CommandError(f"{url} does not answer as an engine does: {error!r}") from error


def _gate(name: str, heard: Heard, status: int, **wanted: object) -> Gate:
    return Gate(name, heard.status == status and heard.has(**wanted), str(heard))


async def _doors(walker: Walker) -> AsyncIterator[Gate]:
    yield _gate("the server is healthy", await walker.ask("GET", "/health"), 200)
    heard = await walker.ask("GET", f"/admin/orgs/{walker.org_id}", token="")
    yield _gate("without a token nobody is let in", heard, 401)
    org = {"org_id": walker.org_id, "name": "Gates", "settings": SETTINGS}
    yield _gate("an organisation is created", await walker.ask("POST", "/admin/orgs", org), 201)
    again = await walker.ask("POST", "/admin/orgs", org)
    yield _gate("created again it is the same", again, 200, duplicate=True)
    assistant = {"org_id": walker.org_id, "default": True}
    heard = await walker.ask("PUT", f"/admin/assistants/{walker.org_id}", assistant)
    yield _gate("an assistant answers its calls", heard, 201)


async def _without_money(walker: Walker) -> AsyncIterator[Gate]:
    heard = await walker.v1("reserve", call_id=f"{walker.call_id}-poor")
    yield _gate(
        "no money: a call is blocked",
        heard,
        402,
        code="insufficient_credits",
        required_pence=79,
        deficit_pence=79,
    )
    heard = await walker.rings(f"{walker.call_id}-poor")
    spoken = (
        heard.status == HTTPStatus.OK and bool(heard.body.get("error")) and len(heard.body) == 1
    )
    yield Gate("no money: a caller at Vapi hears a sentence, and no assistant", spoken, str(heard))
    asset = {"amount_pence": 1, "class": "asset", "type": "phone_number"}
    heard = await walker.v1("deduct", "asset", **asset)
    yield _gate("no money: nothing is bought, on no debt either", heard, 402)
    charge = {"amount_pence": 501, "class": "call", "type": "call_deduction"}
    heard = await walker.v1("deduct", "debt", **charge)
    yield _gate(
        "one penny over the debt limit is refused whole",
        heard,
        402,
        code="debt_limit_exceeded",
        amount_over_limit_pence=1,
    )
    yield _gate("nothing was charged", await walker.wallet(), 200, balance_pence=0, held_pence=0)


async def _with_money(walker: Walker) -> AsyncIterator[Gate]:
    money = {"amount_pence": CREDIT_PENCE, "type": "bonus"}
    heard = await walker.v1("credit", **money)
    yield _gate("a credit needs a key", heard, 400, code="idempotency_key_required")
    heard = await walker.v1("credit", "money", **money)
    yield _gate("money comes in", heard, 201, balance_after_pence=CREDIT_PENCE)
    heard = await walker.v1("reserve", call_id=walker.call_id)
    yield _gate(
        "money: a call passes, and its hold is set aside", heard, 201, held_pence=HELD_PENCE
    )
    heard = await walker.v1("check", call_id=walker.call_id)
    yield _gate("the call may go on", heard, 200, end_call=False)
    heard = await walker.v1("commit", call_id=walker.call_id, actual_seconds=90)
    yield _gate(
        "after 90 s it is charged, and the rest is free again",
        heard,
        201,
        charged_pence=CHARGED_PENCE,
        released_pence=HELD_PENCE - CHARGED_PENCE,
    )
    ringing = f"{walker.call_id}-vapi"
    heard = await walker.rings(ringing)
    yield Gate(
        "money: a call at Vapi is given its assistant",
        heard.status == HTTPStatus.OK and heard.has(assistantId=walker.org_id),
        str(heard),
    )
    heard = await walker.v1("release", call_id=ringing, reason="gates")
    yield _gate("a call that never connected is released", heard, 201, released_pence=HELD_PENCE)


async def _repeats(walker: Walker) -> AsyncIterator[Gate]:
    left = CREDIT_PENCE - CHARGED_PENCE
    money = {"amount_pence": CREDIT_PENCE, "type": "bonus"}
    heard = await walker.v1("credit", "money", **money)
    yield _gate("the same credit again changes nothing", heard, 200, duplicate=True)
    heard = await walker.v1("commit", call_id=walker.call_id, actual_seconds=90)
    yield _gate("the same settlement again changes nothing", heard, 200, duplicate=True)
    heard = await walker.v1("reserve", call_id=walker.call_id)
    yield _gate("the same admission again changes nothing", heard, 200, duplicate=True)
    heard = await walker.v1("credit", "money", amount_pence=1, type="bonus")
    yield _gate("another request under that key is refused", heard, 422)
    yield _gate("the balance is as it was", await walker.wallet(), 200, balance_pence=left)
    heard = await walker.ask(
        "GET", f"/api/billing/wallet/explain?org_id={walker.org_id}&call_id={walker.call_id}"
    )
    told = [one.get("type") for one in heard.body.get("decisions", [])]
    yield Gate("the call is explained", told == ["reservation", "call_deduction"], str(heard))


async def _the_end(walker: Walker) -> AsyncIterator[Gate]:
    wallet = await walker.wallet()
    left = int(wallet.body.get("balance_pence", 0))
    heard = await walker.v1("suspend", "suspend", reason="gates")
    yield _gate("a wallet is suspended", heard, 201)
    heard = await walker.v1("reserve", call_id=f"{walker.call_id}-late")
    yield _gate("then no call passes", heard, 403, code="wallet_suspended")
    heard = await walker.v1("credit", "empty", amount_pence=-left, type="adjustment")
    yield _gate("the test money is taken back", heard, 201, balance_after_pence=0)
