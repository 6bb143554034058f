"""The ledger in memory: the same contract as Postgres, for tests and simulations.

It survives actors and nodes that share it, not the process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .errors import NotCommitted
from .ports import Claim, Clock, DueHold, Found, Loaded, Probe, Taken, WalletBatch
from .settings import Overrides, merged
from .sharding import shard_of
from .wallet import Entry, Hold


@dataclass(slots=True)
class Row:
    """One wallet as stored."""

    owner: str = ""
    owner_since_ms: int = 0
    epoch: int = 0
    seq: int = 0
    balance_pence: int = 0
    held_pence: int = 0
    suspended: bool = False
    overrides: Overrides = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)
    keys: dict[str, Entry] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)


class MemoryLedger:
    """Implements `ports.Ledger` over dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: dict[str, Row] = {}

    def create(self, org_id: str, overrides: Overrides | None = None) -> None:
        """Store a new wallet."""
        self.rows[org_id] = Row(overrides=dict(overrides or {}))

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        """See `ports.Ledger.commit`."""
        valid = [batch for batch in batches if self._matches(batch)]
        for batch in valid:
            self._check(batch)
        for batch in valid:
            self._write(batch)
        return frozenset(batch.org_id for batch in valid)

    async def commit_apart(self, batch: WalletBatch) -> bool:
        """See `ports.Ledger.commit_apart`."""
        return bool(await self.commit([batch]))

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        """See `ports.Ledger.probe`."""
        return [self._find(probe) for probe in probes]

    async def activate(
        self, org_ids: Sequence[str], *, owner: str, tenure_ms: int
    ) -> Mapping[str, Claim]:
        """See `ports.Ledger.activate`."""
        claims: dict[str, Claim] = {}
        for org_id in org_ids:
            row = self.rows.get(org_id)
            if row is not None:
                claims[org_id] = self._claim(org_id, row, owner, tenure_ms)
        return claims

    async def release(self, org_ids: Sequence[str], *, owner: str) -> None:
        """See `ports.Ledger.release`."""
        for org_id in org_ids:
            row = self.rows.get(org_id)
            if row is not None and row.owner == owner:
                row.owner = ""

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        """See `ports.Ledger.due`."""
        wanted = set(shards)
        found = [
            DueHold(org_id, hold.call_id, hold.due_ms)
            for org_id, row in self.rows.items()
            if shard_of(org_id) in wanted
            for hold in row.holds.values()
            if hold.active and hold.due_ms < before_ms
        ]
        return sorted(found, key=lambda hold: hold.due_ms)[:limit]

    async def now_ms(self) -> int:
        """See `ports.Ledger.now_ms`."""
        return self._clock.now_ms()

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and (
            row.epoch, row.owner, row.seq, row.balance_pence
        ) == (
            batch.epoch, batch.owner, batch.expected_seq, batch.balance_before_pence
        )  # fmt: skip

    def _check(self, batch: WalletBatch) -> None:
        """Raise what the constraints of a database would: nothing is written then."""
        row = self.rows[batch.org_id]
        keys = [entry.key for entry in batch.entries]
        if len(set(keys)) < len(keys) or any(key in row.keys for key in keys):
            raise NotCommitted(f"{batch.org_id}: an idempotency key is there already")
        if any(entry.held_after_pence < 0 for entry in batch.entries):
            raise NotCommitted(f"{batch.org_id}: held_pence below zero")

    def _write(self, batch: WalletBatch) -> None:
        row = self.rows[batch.org_id]
        for entry in batch.entries:
            row.journal.append(entry)
            row.keys[entry.key] = entry
            match entry.type:
                case "suspend":
                    row.suspended = True
                case "resume":
                    row.suspended = False
                case "settings_change":
                    changes = entry.detail["changes"]
                    assert isinstance(changes, Mapping)
                    row.overrides = merged(row.overrides, changes)
                case _:
                    pass
        row.holds.update(batch.holds())
        row.seq = batch.last.seq
        row.balance_pence = batch.last.balance_after_pence
        row.held_pence = batch.last.held_after_pence

    def _find(self, probe: Probe) -> Found:
        row = self.rows.get(probe.org_id)
        if row is None:
            return Found(None, None)
        return Found(row.keys.get(probe.key), row.holds.get(probe.call_id))

    def _claim(self, org_id: str, row: Row, owner: str, tenure_ms: int) -> Claim:
        now_ms = self._clock.now_ms()
        if row.owner not in ("", owner) and now_ms - row.owner_since_ms < tenure_ms:
            return Taken(org_id, row.owner)
        if row.owner != owner:
            row.owner_since_ms = now_ms
        row.owner = owner
        row.epoch += 1
        return Loaded(
            org_id=org_id,
            epoch=row.epoch,
            seq=row.seq,
            balance_pence=row.balance_pence,
            held_pence=row.held_pence,
            suspended=row.suspended,
            overrides=row.overrides,
            last_ms=row.journal[-1].at_ms if row.journal else 0,
            holds=[hold for hold in row.holds.values() if hold.active],
        )
