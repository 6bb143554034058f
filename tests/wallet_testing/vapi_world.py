"""Vapi's edge over real rules and without a database: fakes, messages, and a way to post them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from wallet_engine.commands import Check, Command, Commit, Credit, CreditType, Proof, Reserve
from wallet_engine.directory import Directory
from wallet_engine.errors import UnknownOrg
from wallet_engine.journal import Answer, Outcome, Refusal, Replay, entry_answer, refusal_answer
from wallet_engine.ports import Assistant, CallFacts, Delivery, Org, PhoneNumber
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Overrides, Settings
from wallet_engine.views import check_call
from wallet_engine.wallet import Entry, Hold, Wallet, evolve, note_start
from wallet_http.options import EdgeOptions
from wallet_http.server import make_app
from wallet_http.services import Services
from wallet_http.vapi import VAPI_ROUTES

from .clock import ManualClock

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vapi"

ORG = "demo-org"
CALL = "019a5193-90ae-7fff-b06b-d09a3312294a"
ASSISTANT = "e2a7b2a2-6d8b-4d6e-8c1f-20f5b8a8d0aa"
NUMBER_ID = "0c9c3b52-4a77-4a0e-9d0a-6f9a6c3b7e21"
NUMBER = "+14155550123"

WEBHOOK = "/api/vapi/webhook"
ORG_WEBHOOK = f"/api/vapi/orgs/{ORG}/webhook"
STATUS_CHECK = "/api/vapi/webhook/status-check"

RECORDED_CALL = (
    "assistant-request",
    "status-update-in-progress",
    "conversation-update",
    "speech-update",
    "hang",
    "status-update-forwarding",
    "status-update-ended",
    "end-of-call-report",
)
"""The recorded messages of one call, in the order in which Vapi sends them."""

NOW_MS = 1_795_197_600_500
"""When the recorded call rings."""


def fixture(name: str) -> dict[str, Any]:
    """Return a recorded message, of which a test may change anything."""
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def message(kind: str, **more: object) -> dict[str, Any]:
    """Return a small message about the recorded call."""
    return {"message": {"type": kind, "call": {"id": CALL}, **more}}


class MemoryDirectory:
    """Implements what `Directory` asks of `ports.DirectoryStore`, over dictionaries.

    `trouble` is raised by every look-up while it is set; `asked` tells what was looked up.
    """

    def __init__(self) -> None:
        self.orgs: dict[str, Org] = {}
        self.assistants: dict[str, Assistant] = {}
        self.numbers: dict[str, PhoneNumber] = {}
        self.calls: dict[str, str] = {}
        self.trouble: Exception | None = None
        self.stalled: asyncio.Event | None = None
        self.asked: list[tuple[str, ...]] = []

    async def create_org(self, org: Org, overrides: Overrides, *, node: str) -> bool:
        del node
        stored = replace(org, overrides=overrides)
        return self.orgs.setdefault(org.org_id, stored) is stored

    async def rename_org(self, org_id: str, name: str) -> None:
        self.orgs[org_id] = replace(self.orgs[org_id], name=name)

    async def put_assistant(self, assistant: Assistant) -> None:
        self.assistants[assistant.assistant_id] = assistant

    async def put_number(self, number: PhoneNumber) -> None:
        self.numbers[number.phone_number_id] = number

    async def org(self, org_id: str) -> Org | None:
        await self._look("org", org_id)
        return self.orgs.get(org_id)

    async def assistant(self, assistant_id: str) -> Assistant | None:
        await self._look("assistant", assistant_id)
        return self.assistants.get(assistant_id)

    async def default_assistant(self, org_id: str) -> Assistant | None:
        await self._look("default", org_id)
        mine = [one for one in self.assistants.values() if one.org_id == org_id and one.default]
        return mine[0] if mine else None

    async def number(self, phone_number_id: str, number: str) -> PhoneNumber | None:
        await self._look("number", phone_number_id, number)
        by_number = [one for one in self.numbers.values() if one.number == number]
        return self.numbers.get(phone_number_id) or (by_number[0] if by_number else None)

    async def org_of_call(self, call_id: str) -> str | None:
        await self._look("call", call_id)
        return self.calls.get(call_id)

    async def _look(self, *what: str) -> None:
        self.asked.append(what)
        if self.stalled is not None:
            await self.stalled.wait()
        if self.trouble is not None:
            raise self.trouble


class Notes:
    """Implements `ports.Recorder` by keeping everything."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.facts: list[CallFacts] = []

    def delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def call(self, facts: CallFacts) -> None:
        self.facts.append(facts)


class RuledCalls:
    """Implements `calls.Calls` over the real rules, one wallet an org; durable at once.

    `trouble` is raised by the next asks while it is set; `stalled` keeps them waiting.
    `elsewhere`: the wallets are in the memory of another node.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.wallets: dict[str, Wallet] = {}
        self.journal: list[Entry] = []
        self.ended_calls: list[tuple[str, str, int | None]] = []
        self.started_calls: list[tuple[str, str, int]] = []
        self.trouble: Exception | None = None
        self.stalled: asyncio.Event | None = None
        self.elsewhere = False

    def open(self, org_id: str, pence: int, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.wallets[org_id] = Wallet(org_id=org_id, settings=settings, defaults=settings)
        if pence:
            self._ask(
                Credit(org_id=org_id, client_key="first", amount_pence=pence, type=CreditType.TOPUP)
            )

    def known_settings(self, org_id: str) -> Settings | None:
        """Stand in for `node.Node`, which knows the settings of the wallets in memory."""
        return None if self.elsewhere else self.wallets[org_id].settings

    def wallet(self, org_id: str = ORG) -> Wallet:
        return self.wallets[org_id]

    async def admit(
        self, org_id: str, call_id: str, *, let_in_undecided: bool, timeout_s: float
    ) -> Answer:
        del let_in_undecided  # nothing comes late here
        await self._reached(timeout_s)
        return self._ask(Reserve(org_id=org_id, call_id=call_id, managed=True, strict=False))

    async def check(
        self, org_id: str, call_id: str, *, elapsed_ms: int | None, timeout_s: float
    ) -> Answer:
        await self._reached(timeout_s)
        query = Check(org_id=org_id, call_id=call_id, elapsed_ms=elapsed_ms)
        wallet = self._known(org_id)
        ended = self._ended(org_id, call_id)
        now_ms = self._clock.now_ms()
        body = check_call(wallet, query, ended, fleet_stopped=False, now_ms=now_ms)
        return Answer(Outcome.ANSWERED, body)

    async def started(self, org_id: str, call_id: str, *, heard_ms: int, timeout_s: float) -> None:
        await self._reached(timeout_s)
        note_start(self._known(org_id), call_id, heard_ms)
        self.started_calls.append((org_id, call_id, heard_ms))

    def ended(self, org_id: str, call_id: str, duration_ms: int | None) -> None:
        self.ended_calls.append((org_id, call_id, duration_ms))

    async def report(
        self, org_id: str, call_id: str, duration_ms: int | None, *, timeout_s: float
    ) -> Answer | None:
        await self._reached(timeout_s)
        if duration_ms is None:
            return None
        commit = Commit(
            org_id=org_id,
            call_id=call_id,
            actual_ms=duration_ms,
            proof=Proof.REPORT,
            strict=False,
        )
        return self._ask(commit)

    async def _reached(self, timeout_s: float) -> None:
        assert timeout_s > 0
        if self.stalled is not None:
            await self.stalled.wait()
        if self.trouble is not None:
            raise self.trouble

    def _known(self, org_id: str) -> Wallet:
        if org_id not in self.wallets:
            raise UnknownOrg(org_id)
        return self.wallets[org_id]

    def _ended(self, org_id: str, call_id: str) -> Hold | None:
        holds = [e.hold for e in self.journal if (e.org_id, e.call_id) == (org_id, call_id)]
        return holds[-1] if holds and holds[-1] is not None and not holds[-1].active else None

    def _ask(self, command: Command) -> Answer:
        wallet = self._known(command.org_id)
        mine = {entry.key: entry for entry in self.journal if entry.org_id == command.org_id}
        call_id = getattr(command, "call_id", "")
        facts = Facts(mine.get(command.key), self._ended(command.org_id, call_id))
        decision = decide(wallet, command, facts, self._clock.now_ms())
        match decision:
            case Refusal():
                return refusal_answer(decision)
            case Replay():
                return entry_answer(decision.entry, outcome=Outcome.REPEATED)
            case Entry():
                evolve(wallet, decision)
                self.journal.append(decision)
                return entry_answer(decision, outcome=Outcome.CREATED)


@dataclass(slots=True, kw_only=True)
class VapiWorld:
    """An edge with the demo org behind it: a wallet, its number and its assistant."""

    client: "TestClient[web.Request, web.Application]"
    calls: RuledCalls
    store: MemoryDirectory
    directory: Directory
    notes: Notes
    clock: ManualClock

    async def post(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Post `body`, bytes as they are and all else as JSON; return status and answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(path, data=BytesIO(raw), headers=headers) as response:
            return response.status, await response.json()

    @property
    def outcomes(self) -> Sequence[str]:
        """What the delivery log says became of everything so far."""
        return [delivery.outcome for delivery in self.notes.deliveries]


@asynccontextmanager
async def vapi_world(
    options: EdgeOptions | None = None, *, pence: int = 1000, settings: Settings | None = None
) -> AsyncIterator[VapiWorld]:
    """Serve Vapi's routes on this machine, with `pence` in the wallet of the demo org."""
    clock, store, notes = ManualClock(NOW_MS), MemoryDirectory(), Notes()
    calls, directory = RuledCalls(clock), Directory(store, clock)
    calls.open(ORG, pence, settings)
    store.orgs[ORG] = Org(org_id=ORG, name="Demo", created_ms=0)
    store.assistants[ASSISTANT] = Assistant(
        assistant_id=ASSISTANT, org_id=ORG, default=True, config_json=None
    )
    store.numbers[NUMBER_ID] = PhoneNumber(
        phone_number_id=NUMBER_ID, org_id=ORG, number=NUMBER, assistant_id=ASSISTANT
    )
    services = Services(
        node=cast("Any", calls),
        calls=cast("Any", calls),
        directory=directory,
        store=store,
        history=cast("Any", None),
        fleet=cast("Any", None),
        recorder=notes,
        clock=clock,
        options=options or EdgeOptions(environment="test"),
    )
    async with TestClient(TestServer(make_app(services, VAPI_ROUTES))) as client:
        yield VapiWorld(
            client=client,
            calls=calls,
            store=store,
            directory=directory,
            notes=notes,
            clock=clock,
        )
