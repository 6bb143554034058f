"""What surrounds the wallets, over the simulated server: directory, history, notes, the switch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from wallet_engine.errors import LedgerBusy, LedgerUnavailable
from wallet_engine.ports import (
    Assistant,
    CallFacts,
    Delivery,
    FleetSwitch,
    Org,
    PhoneNumber,
    UnsettledCall,
)
from wallet_engine.settings import Overrides

from .ledger import SimLedger
from .postgres import SimPostgres
from .processes import SimProcess

T = TypeVar("T")

NOTED_AFTER_S = 0.2
"""How long what is noted of a call waits to be written; it is lost with its process."""

ASSISTANT = "assistant"


class SimStores:
    """Implements `DirectoryStore`, `FleetStore`, `Recorder`, and what `Calls` asks of `History`.

    Every org has the same assistant; its number is its name.
    """

    def __init__(self, ledger: SimLedger, server: SimPostgres, process: SimProcess) -> None:
        self._ledger = ledger
        self._server = server
        self._process = process

    async def _asked(self, look: Callable[[], T]) -> T:
        async def work(_: object) -> T:
            return look()

        try:
            found: T = await self._ledger.read("pool", work)
        except LedgerBusy as error:
            raise LedgerUnavailable(*error.args) from error
        return found

    # --- directory ----------------------------------------------------------------------------

    async def create_org(self, org: Org, overrides: Overrides, *, node: str) -> bool:
        raise NotImplementedError

    async def rename_org(self, org_id: str, name: str) -> None:
        raise NotImplementedError

    async def put_assistant(self, assistant: Assistant) -> None:
        raise NotImplementedError

    async def put_number(self, number: PhoneNumber) -> None:
        raise NotImplementedError

    async def org(self, org_id: str) -> Org | None:
        return await self._asked(lambda: self._org(org_id))

    def _org(self, org_id: str) -> Org | None:
        row = self._server.truth.rows.get(org_id)
        if row is None:
            return None
        return Org(org_id=org_id, name=org_id, created_ms=0, overrides=row.overrides)

    async def assistant(self, assistant_id: str) -> Assistant | None:  # noqa: ARG002  # see above
        return await self._asked(lambda: None)

    async def default_assistant(self, org_id: str) -> Assistant | None:
        return await self._asked(lambda: _assistant_of(org_id))

    async def number(self, phone_number_id: str, number: str) -> PhoneNumber | None:  # noqa: ARG002  # see above
        return await self._asked(lambda: _number_of(phone_number_id))

    async def org_of_call(self, call_id: str) -> str | None:
        return await self._asked(lambda: self._org_of_call(call_id))

    def _org_of_call(self, call_id: str) -> str | None:
        rows = self._server.truth.rows
        return next((org_id for org_id, row in rows.items() if call_id in row.holds), None)

    # --- history and notes --------------------------------------------------------------------

    async def unsettled(self, *, ended_before_ms: int, limit: int) -> Sequence[UnsettledCall]:
        found = await self._asked(lambda: self._unsettled(ended_before_ms))
        return found[:limit]

    def _unsettled(self, ended_before_ms: int) -> list[UnsettledCall]:
        found = []
        for (org_id, call_id), facts in self._server.calls.items():
            hold = self._server.truth.rows[org_id].holds.get(call_id)
            if hold is None or not hold.active or facts.ended_ms is None:
                continue
            started_ms = facts.started_ms or facts.heard_started_ms
            took_ms = facts.duration_ms
            if took_ms is None and started_ms is not None:
                took_ms = facts.ended_ms - started_ms
            if took_ms is not None and facts.ended_ms < ended_before_ms:
                found.append(UnsettledCall(org_id, call_id, max(0, took_ms)))
        return found

    def delivery(self, delivery: Delivery) -> None:
        """Forget it: deliveries decide nothing."""

    def call(self, facts: CallFacts) -> None:
        self._process.call_later(NOTED_AFTER_S, self._note, facts)

    def _note(self, facts: CallFacts) -> None:
        if self._server.up:
            self._server.note(facts)
        else:
            self._process.call_later(NOTED_AFTER_S, self._note, facts)

    # --- the fleet's switch -------------------------------------------------------------------

    async def newest(self) -> FleetSwitch | None:
        switches = self._server.switches
        return await self._asked(lambda: switches[-1] if switches else None)

    async def throw(
        self, *, key: str, engaged: bool, end_live_calls: bool, reason: str, actor: str
    ) -> tuple[FleetSwitch, bool]:
        raise NotImplementedError


def _assistant_of(org_id: str) -> Assistant:
    return Assistant(assistant_id=ASSISTANT, org_id=org_id, default=True, config_json=None)


def _number_of(org_id: str) -> PhoneNumber | None:
    return PhoneNumber(phone_number_id=org_id, org_id=org_id, number=org_id, assistant_id=None)
