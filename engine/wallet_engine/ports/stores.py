"""What surrounds the wallets: orgs, numbers, call facts, history, the fleet's switch.

Every store may raise `LedgerUnavailable` (cannot be reached) or `LedgerFault` (refuses).
Times are integer milliseconds since 1970 UTC, money integer pence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from wallet_engine.settings import Overrides
from wallet_engine.wallet import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Org:
    """An organisation as operators see it, without its money; `overrides` as last stored."""

    org_id: str
    name: str
    created_ms: int
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """Who answers calls: known by id, or with a whole configuration in JSON."""

    assistant_id: str
    org_id: str
    default: bool
    config_json: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneNumber:
    """A number that rings for an org, and who answers it (None: the org's default)."""

    phone_number_id: str
    org_id: str
    number: str
    assistant_id: str | None


class DirectoryStore(Protocol):
    """Orgs, assistants and numbers, stored."""

    async def create_org(self, org: Org, overrides: Overrides, *, node: str) -> bool:
        """Store a new org, with its first `settings_change` if any; False: it exists.

        What it overrides is `overrides` alone, which its wallet changes from then on.
        """

    async def org(self, org_id: str) -> Org | None:
        """Return an org, or None."""

    async def rename_org(self, org_id: str, name: str) -> None:
        """Change an org's name."""

    async def put_assistant(self, assistant: Assistant) -> None:
        """Store an assistant; as a default it replaces the org's default before it."""

    async def put_number(self, number: PhoneNumber) -> None:
        """Store a number."""

    async def assistant(self, assistant_id: str) -> Assistant | None:
        """Return an assistant, or None."""

    async def default_assistant(self, org_id: str) -> Assistant | None:
        """Return who answers an org's calls by default, or None."""

    async def number(self, phone_number_id: str, number: str) -> PhoneNumber | None:
        """Return a number by its id, else by the number itself; empty texts match nothing."""

    async def org_of_call(self, call_id: str) -> str | None:
        """Return the org of a Vapi call that was ever admitted, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook delivery, as logged: what came, what became of it."""

    org_id: str | None
    call_id: str | None
    type: str
    status: str | None
    received_ms: int
    http_status: int
    outcome: str
    error: str | None
    detail: Mapping[str, object]
    latency_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What the provider said of a call; None leaves what is stored."""

    org_id: str
    call_id: str
    type: str | None = None
    status: str | None = None
    assistant_id: str | None = None
    phone_number_id: str | None = None
    customer_number: str | None = None
    control_url: str | None = None
    heard_started_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    ended_reason: str | None = None
    duration_ms: int | None = None
    cost_pence: int | None = None
    provider_cost_usd: str | None = None


class Recorder(Protocol):
    """Takes notes off the money path: bounded, batched, never in anybody's way."""

    def delivery(self, delivery: Delivery) -> None:
        """Note a webhook delivery."""

    def call(self, facts: CallFacts) -> None:
        """Note what the provider said of a call."""


class UnsettledCall(NamedTuple):
    """A call that its provider said has ended, but whose hold is still live."""

    org_id: str
    call_id: str
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Which rows of a wallet's journal, newest first; `before_seq` 0 starts at the newest."""

    org_id: str
    limit: int
    before_seq: int = 0
    type: str | None = None
    call_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class History(Protocol):
    """The journal, read.  Only durable rows are seen."""

    async def page(self, query: HistoryQuery) -> Sequence[Entry]:
        """Return one page of rows, newest first."""

    async def at(self, org_id: str, at_ms: int) -> Entry | None:
        """Return the last row at or before `at_ms`, found by binary search over seq."""

    async def by_key(self, org_id: str, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the rows under these keys."""

    async def by_seq(self, org_id: str, seq: int) -> Entry | None:
        """Return one row."""

    async def deliveries(self, org_id: str, call_id: str) -> Sequence[Delivery]:
        """Return what webhooks said of a call, oldest first."""

    async def control_url(self, org_id: str, call_id: str) -> str | None:
        """Return where a live call can be spoken to, if its provider has told."""

    async def unsettled(self, *, ended_before_ms: int, limit: int) -> Sequence[UnsettledCall]:
        """Return calls whose provider said they ended, but whose hold is still live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSwitch:
    """The kill switch of the whole fleet: its newest state and why."""

    switch_id: int
    engaged: bool
    end_live_calls: bool
    reason: str
    actor: str
    at_ms: int


class FleetStore(Protocol):
    """The fleet's kill switch, stored: append-only, the newest row counts."""

    async def newest(self) -> FleetSwitch | None:
        """Return the switch as it stands, or None if it was never touched."""

    async def throw(
        self, *, key: str, engaged: bool, end_live_calls: bool, reason: str, actor: str
    ) -> tuple[FleetSwitch, bool]:
        """Store a new state under `key`; return it and whether it is a repeat."""
