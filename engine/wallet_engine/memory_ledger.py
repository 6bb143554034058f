"""The ledger in memory: the same contract as Postgres, for tests and simulations.

It survives actors and nodes that share it, not the process.  What it refuses is what the
constraints of the schema refuse; a value that no database could be sent at all (a NUL, half a
penny) it does not look for, since no command can hold one.  Both ledgers are driven side by
side in `tests/contract/test_ledger_differential.py`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .commands import CALL_DEDUCTION, AssetType, ChangeSettings, CreditType
from .errors import NotCommitted
from .ports import Claim, Clock, DueHold, Found, Loaded, Probe, Taken, WalletBatch
from .rules import Facts, decide
from .settings import Overrides, Settings, merged
from .sharding import shard_of
from .wallet import Entry, Hold, Wallet

NEVER_SEEN = -1
"""The epoch of no wallet."""

TYPES = frozenset(
    {
        *map(str, CreditType),
        *map(str, AssetType),
        CALL_DEDUCTION,
        "reservation",
        "reservation_extension",
        "reservation_release",
        "reservation_expiry",
        "call_kill",
        "suspend",
        "resume",
        "settings_change",
    }
)
"""What a row of the journal can be."""

BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1
"""What a column of money holds."""


@dataclass(slots=True)
class Row:
    """One wallet as stored.

    `started_ms`: when its calls were heard to be in progress.  The recorder writes that, not
    the ledger; a claim reads it.
    """

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
    started_ms: dict[str, int] = field(default_factory=dict)


class MemoryLedger:
    """Implements `ports.Ledger` over dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: dict[str, Row] = {}

    def create(self, org_id: str, overrides: Overrides | None = None) -> None:
        """Store a new wallet, unless it is there.  `overrides` are its first journal row."""
        if org_id in self.rows:
            return
        self.rows[org_id] = Row()
        if overrides:
            defaults = Settings()
            wallet = Wallet(org_id=org_id, settings=defaults, defaults=defaults)
            change = ChangeSettings(org_id=org_id, client_key="created", changes=overrides)
            entry = decide(wallet, change, Facts(), self._clock.now_ms())
            assert isinstance(entry, Entry), "a change of settings is never refused"
            # In no caller's space: no caller asked for it.
            first = entry._replace(key="settings:created")
            self._write(WalletBatch(org_id, 0, "", 0, 0, [first]))

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        """See `ports.Ledger.commit`."""
        assert len({batch.org_id for batch in batches}) == len(batches), "one batch per wallet"
        for batch in batches:
            _check_numbers(batch)
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
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        """See `ports.Ledger.activate`."""
        claims: dict[str, Claim] = {}
        for org_id in dict.fromkeys(org_ids):
            row = self.rows.get(org_id)
            if row is not None:
                claim = self._claim(org_id, row, owner, seen.get(org_id, NEVER_SEEN))
                if isinstance(claim, Loaded) and org_id in anew:
                    row.owner_since_ms = self._clock.now_ms()
                claims[org_id] = claim
        return claims

    async def release(self, epochs: Mapping[str, int]) -> None:
        """See `ports.Ledger.release`."""
        for org_id, epoch in epochs.items():
            row = self.rows.get(org_id)
            if row is not None and row.epoch == epoch:
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
        return sorted(found, key=lambda hold: (hold.due_ms, *hold))[:limit]

    async def now_ms(self) -> int:
        """See `ports.Ledger.now_ms`."""
        return self._clock.now_ms()

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        # Nobody owns a wallet that was released, whatever the writer calls itself.
        return row is not None and row.owner != "" and (
            row.epoch, row.owner, row.seq, row.balance_pence
        ) == (
            batch.epoch, batch.owner, batch.expected_seq, batch.balance_before_pence
        )  # fmt: skip

    def _check(self, batch: WalletBatch) -> None:
        """Raise what the constraints of a database would: nothing is written then."""
        row = self.rows[batch.org_id]
        entries = batch.entries
        keys = [entry.key for entry in entries]
        if len(set(keys)) < len(keys) or any(key in row.keys for key in keys):
            raise NotCommitted(f"{batch.org_id}: an idempotency key is there already")
        if [entry.seq for entry in entries] != [*range(row.seq + 1, row.seq + 1 + len(entries))]:
            _check_seqs(row, entries)
        for entry in entries:
            if entry.held_after_pence < 0:
                raise NotCommitted(f"{batch.org_id}: held_pence is below zero")
            if not _fits(entry.balance_after_pence):
                raise NotCommitted(f"{batch.org_id}: a balance is out of range")
            if entry.type not in TYPES:
                raise NotCommitted(f"{batch.org_id}: there is no entry of type {entry.type}")

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
        for call_id, hold in batch.holds().items():
            before = row.holds.get(call_id)
            row.holds[call_id] = hold if before is None else _kept(before, hold)
        row.seq = batch.last.seq
        row.balance_pence = batch.last.balance_after_pence
        row.held_pence = batch.last.held_after_pence

    def _find(self, probe: Probe) -> Found:
        row = self.rows.get(probe.org_id)
        if row is None:
            return Found(None, None, owned=probe.epoch == 0)
        key, call_id = probe.key, probe.call_id
        return Found(
            row.keys.get(key) if key else None,
            row.holds.get(call_id) if call_id else None,
            owned=probe.epoch in (0, row.epoch),
        )

    def _claim(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        """Bump the epoch of a wallet that is free, its own, or still as it was seen."""
        now_ms = self._clock.now_ms()
        if row.owner not in ("", owner) and row.epoch != seen_epoch:
            return Taken(org_id, row.owner, row.epoch, now_ms - row.owner_since_ms)
        if row.owner != owner:
            row.owner_since_ms = now_ms
        row.owner = owner
        row.epoch += 1
        live = [hold for hold in row.holds.values() if hold.active]
        return Loaded(
            org_id=org_id,
            epoch=row.epoch,
            seq=row.seq,
            balance_pence=row.balance_pence,
            held_pence=row.held_pence,
            suspended=row.suspended,
            overrides=row.overrides,
            last_ms=row.journal[-1].at_ms if row.journal else 0,
            holds=live,
            started_ms={
                hold.call_id: row.started_ms[hold.call_id]
                for hold in live
                if hold.call_id in row.started_ms
            },
        )


def _fits(pence: int) -> bool:
    return BIGINT_MIN <= pence <= BIGINT_MAX


def _check_numbers(batch: WalletBatch) -> None:
    """Refuse what no column holds: also when it is fenced, since it cannot even be sent."""
    for entry in batch.entries:
        if (
            entry.held_after_pence > BIGINT_MAX
            or not _fits(entry.amount_pence)
            or not _fits(entry.balance_before_pence)
        ):
            raise NotCommitted(f"{batch.org_id}: an amount is out of range")
    if not (_fits(batch.balance_before_pence) and _fits(batch.last.balance_after_pence)):
        raise NotCommitted(f"{batch.org_id}: a balance is out of range")


def _check_seqs(row: Row, entries: Iterable[Entry]) -> None:
    """Refuse a row that is there already.  Slow, and only for a writer that cannot count."""
    taken = {entry.seq for entry in row.journal}
    for entry in entries:
        if entry.seq <= 0 or entry.seq in taken:
            raise NotCommitted(f"{entry.org_id}: seq {entry.seq} cannot be written")
        taken.add(entry.seq)


def _kept(before: Hold, after: Hold) -> Hold:
    """Return a stored hold after an update: what was fixed when it was opened stays."""
    if (
        before.opened_ms == after.opened_ms
        and before.tariff == after.tariff
        and before.estimated_minutes == after.estimated_minutes
    ):
        return after
    return after._replace(
        opened_ms=before.opened_ms,
        tariff=before.tariff,
        estimated_minutes=before.estimated_minutes,
    )
