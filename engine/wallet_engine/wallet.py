"""What a wallet is: its money, its holds, and how an entry of the journal changes it.

Times are integer milliseconds since 1970 UTC, money integer pence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .settings import Overrides, Settings, merged, settings_of
from .tariff import Tariff


class HoldStatus(StrEnum):
    """Where a hold is in its life."""

    ACTIVE = "active"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Hold(NamedTuple):
    """Money set aside for one call, and, once the call ended, what became of it.

    `reserved_pence` stays what it was when the hold ended.  `settled_cost_pence` is the full
    cost at settlement (collected or not); `proof` the rank of the evidence it rests on.
    `due_ms` is when somebody must look at this hold again.
    """

    call_id: str
    tariff: Tariff
    opened_ms: int
    expires_ms: int
    max_duration_seconds: int
    status: HoldStatus = HoldStatus.ACTIVE
    due_ms: int = 0
    reserved_pence: int = 0
    estimated_minutes: int = 0
    managed: bool = False
    extensions: int = 0
    killed: bool = False
    kill_reason: str = ""
    committed_pence: int = 0
    released_pence: int = 0
    uncollected_pence: int = 0
    settled_cost_pence: int = 0
    settled_ms: int = 0
    proof: int = 0
    adjusted: bool = False
    ended_ms: int = 0

    @property
    def active(self) -> bool:
        """Whether the call is still live as far as anybody has proved."""
        return self.status is HoldStatus.ACTIVE

    @property
    def paid_seconds(self) -> int:
        """How much talk this hold pays for."""
        return self.tariff.lasting_seconds(self.reserved_pence)

    def to_json(self) -> dict[str, object]:
        """Return this hold as stored in a journal row: what differs from the defaults."""
        found: dict[str, object] = {
            name: value
            for name, value, default in zip(self._fields, self, _HOLD_DEFAULTS, strict=True)
            if value != default
        }
        found["tariff"] = list(self.tariff)
        return found


def hold_of_json(stored: Mapping[str, object]) -> Hold:
    """Return the hold that `Hold.to_json` stored."""
    values = dict(stored)
    values["tariff"] = Tariff(*values["tariff"])  # type: ignore[misc]  # a list of three ints
    values["status"] = HoldStatus(str(values.get("status", HoldStatus.ACTIVE)))
    return Hold(**values)  # type: ignore[arg-type]  # our own row, checked by the audit


_HOLD_DEFAULTS = tuple(Hold._field_defaults.get(name) for name in Hold._fields)


@dataclass(slots=True, kw_only=True)
class Wallet:
    """One org's money and live holds, as of journal row `seq`.

    Changed by `evolve` and `note_start` only.  `epoch` and `node` say under which ownership
    new rows are written.  `started` is when each live call was heard to be in progress, kept
    until its end is durable.
    """

    org_id: str
    settings: Settings
    defaults: Settings
    overrides: Overrides = field(default_factory=dict)
    seq: int = 0
    balance_pence: int = 0
    held_pence: int = 0
    suspended: bool = False
    last_ms: int = 0
    epoch: int = 0
    node: str = ""
    holds: dict[str, Hold] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)

    @property
    def effective_pence(self) -> int:
        """What is there to spend: the balance less all that is set aside."""
        return self.balance_pence - self.held_pence

    def started_ms(self, hold: Hold) -> int:
        """When the clock of this call started: in progress, or at admission until then."""
        return self.started.get(hold.call_id, hold.opened_ms)


class Entry(NamedTuple):
    """One decision: one row of the journal.  Never changes once made.

    A named tuple, like `Hold`, because a frozen dataclass takes twice as long to make.
    `hold` is the call's hold after this entry; `detail` what replay, explanation and the
    first answer need beyond the columns.
    """

    org_id: str
    seq: int
    key: str
    type: str
    balance_before_pence: int
    held_after_pence: int
    fingerprint: str
    detail: Mapping[str, object]
    epoch: int
    node: str
    at_ms: int
    amount_pence: int = 0
    held_delta_pence: int = 0
    uncollected_pence: int = 0
    call_id: str | None = None
    description: str = ""
    hold: Hold | None = None

    @property
    def balance_after_pence(self) -> int:
        """The balance once this entry has happened."""
        return self.balance_before_pence + self.amount_pence


def evolve(wallet: Wallet, entry: Entry) -> Wallet:
    """Bring `wallet` to the state after `entry`, in place, and return it.

    In place, because a copy of all holds per decision would make a busy wallet quadratic;
    speculation that fails is reloaded from the ledger, so the state before is never needed.
    """
    assert entry.seq == wallet.seq + 1, "journal rows come without gaps"
    assert entry.balance_before_pence == wallet.balance_pence, "a row continues the one before"
    assert entry.held_after_pence == wallet.held_pence + entry.held_delta_pence
    assert entry.held_after_pence >= 0, "no more can be freed than was set aside"
    wallet.seq = entry.seq
    wallet.balance_pence = entry.balance_after_pence
    wallet.held_pence = entry.held_after_pence
    wallet.last_ms = max(wallet.last_ms, entry.at_ms)
    hold = entry.hold
    if hold is not None:
        if hold.active:
            wallet.holds[hold.call_id] = hold
        else:
            wallet.holds.pop(hold.call_id, None)
    match entry.type:
        case "suspend":
            wallet.suspended = True
        case "resume":
            wallet.suspended = False
        case "settings_change":
            changes = entry.detail["changes"]
            assert isinstance(changes, Mapping)
            wallet.overrides = merged(wallet.overrides, changes)
            wallet.settings = settings_of(wallet.defaults, wallet.overrides)
        case _:
            pass
    return wallet


def note_start(wallet: Wallet, call_id: str, heard_ms: int) -> None:
    """Start the clock of a live call, once: the first word counts."""
    if call_id in wallet.holds:
        wallet.started.setdefault(call_id, heard_ms)
