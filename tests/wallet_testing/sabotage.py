"""Ledgers in memory that are wrong in one point each: a comparison with Postgres must find it."""

from collections.abc import Mapping, Sequence

from wallet_engine.errors import NotCommitted
from wallet_engine.memory_ledger import MemoryLedger, Row
from wallet_engine.ports import Claim, DueHold, Found, Loaded, Probe, WalletBatch
from wallet_engine.settings import Overrides
from wallet_engine.sharding import SHARD_COUNT

# --- the fence -----------------------------------------------------------------------------


class SeqNotChecked(MemoryLedger):
    """Lets a writer write that believes in another seq."""

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and super()._matches(batch._replace(expected_seq=row.seq))


class EpochNotChecked(MemoryLedger):
    """Lets a writer write whose claim is not the last one."""

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and super()._matches(batch._replace(epoch=row.epoch))


class OwnerNotChecked(MemoryLedger):
    """Lets anybody write who knows the rest."""

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and super()._matches(batch._replace(owner=row.owner))


class BalanceNotChecked(MemoryLedger):
    """Lets a writer write that believes in another balance."""

    def _matches(self, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and super()._matches(
            batch._replace(balance_before_pence=row.balance_pence)
        )


# --- the constraints -------------------------------------------------------------------------


class _Tolerant(MemoryLedger):
    """Overlooks one complaint of `_check`, known by its words."""

    overlooks = ""

    def _check(self, batch: WalletBatch) -> None:
        try:
            super()._check(batch)
        except NotCommitted as error:
            if self.overlooks not in str(error):
                raise


class KeysNotChecked(_Tolerant):
    """Stores a key twice."""

    overlooks = "idempotency key"


class HeldNotChecked(_Tolerant):
    """Stores that less than nothing is held."""

    overlooks = "held_pence"


class TypeNotChecked(_Tolerant):
    """Stores entries of any type."""

    overlooks = "of type"


class SeqsNotUnique(_Tolerant):
    """Stores a seq twice, or one that is none."""

    overlooks = "cannot be written"


class BalanceUnbounded(MemoryLedger):
    """Stores balances of any size."""

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        valid = [batch for batch in batches if self._matches(batch)]
        for batch in valid:
            within = [entry._replace(amount_pence=0) for entry in batch.entries]
            self._check(batch._replace(entries=within))
        for batch in valid:
            self._write(batch)
        return frozenset(batch.org_id for batch in valid)


class HalfAGroupWritten(MemoryLedger):
    """Writes what comes before the batch that is refused."""

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        durable: frozenset[str] = frozenset()
        for batch in batches:
            durable |= await super().commit([batch])
        return durable


# --- what is written ---------------------------------------------------------------------------


class HoldsNotCoalesced(MemoryLedger):
    """Stores a hold as the first entry of its batch left it."""

    def _write(self, batch: WalletBatch) -> None:
        super()._write(batch)
        first = {e.hold.call_id: e.hold for e in reversed(batch.entries) if e.hold is not None}
        self.rows[batch.org_id].holds.update(first)


class HoldsReplaced(MemoryLedger):
    """Stores all of a hold again, also what was fixed when it was opened."""

    def _write(self, batch: WalletBatch) -> None:
        super()._write(batch)
        self.rows[batch.org_id].holds.update(batch.holds())


class SuspensionForgotten(MemoryLedger):
    """Never suspends a wallet."""

    def _write(self, batch: WalletBatch) -> None:
        super()._write(batch)
        self.rows[batch.org_id].suspended = False


class SettingsNotInherited(MemoryLedger):
    """Keeps a setting that shall be inherited again."""

    def _write(self, batch: WalletBatch) -> None:
        before = self.rows[batch.org_id].overrides
        super()._write(batch)
        row = self.rows[batch.org_id]
        row.overrides = {**before, **row.overrides}


class SettingsOutOfNowhere(MemoryLedger):
    """Creates a wallet with settings that no row of its journal explains."""

    def create(self, org_id: str, overrides: Overrides | None = None) -> None:
        self.rows[org_id] = Row(overrides=dict(overrides or {}))


# --- claims, releases, look-ups ----------------------------------------------------------------


class SeenIgnored(MemoryLedger):
    """Lets anybody take a wallet at any time."""

    def _claim(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        return super()._claim(org_id, row, owner, row.epoch if seen_epoch else seen_epoch)


class TenureRenewed(MemoryLedger):
    """Lets an owner that claims again begin its tenure anew."""

    def _claim(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        claim = super()._claim(org_id, row, owner, seen_epoch)
        if isinstance(claim, Loaded):
            row.owner_since_ms = self._clock.now_ms()
        return claim


class EpochKeptByItsOwner(MemoryLedger):
    """Does not begin a new epoch for who owns the wallet already."""

    def _claim(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        if row.owner == owner:
            row.epoch -= 1
        return super()._claim(org_id, row, owner, seen_epoch)


class StartsForgotten(MemoryLedger):
    """Does not tell a new owner when calls were heard to be in progress."""

    def _claim(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        row.started_ms.clear()
        return super()._claim(org_id, row, owner, seen_epoch)


class ReleasedUnderAnyEpoch(MemoryLedger):
    """Lets a wallet be given up that was claimed since."""

    async def release(self, epochs: Mapping[str, int]) -> None:
        await super().release({org_id: self.rows[org_id].epoch for org_id in epochs})


class DueInAllShards(MemoryLedger):
    """Returns what falls due in any shard."""

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        everywhere = range(SHARD_COUNT if shards else 0)
        return await super().due(shards=everywhere, before_ms=before_ms, limit=limit)


class DueIncludesTheMoment(MemoryLedger):
    """Returns also what falls due at the very moment."""

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        return await super().due(shards=shards, before_ms=before_ms + 1, limit=limit)


class TombstonesForgotten(MemoryLedger):
    """Finds no hold that has ended."""

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        return [
            found if found.hold is None or found.hold.active else found._replace(hold=None)
            for found in await super().probe(probes)
        ]


SABOTEURS: Mapping[str, type[MemoryLedger]] = {
    made.__name__: made
    for made in (
        SeqNotChecked,
        EpochNotChecked,
        OwnerNotChecked,
        BalanceNotChecked,
        KeysNotChecked,
        HeldNotChecked,
        TypeNotChecked,
        SeqsNotUnique,
        BalanceUnbounded,
        HalfAGroupWritten,
        HoldsNotCoalesced,
        HoldsReplaced,
        SuspensionForgotten,
        SettingsNotInherited,
        SettingsOutOfNowhere,
        SeenIgnored,
        TenureRenewed,
        EpochKeptByItsOwner,
        StartsForgotten,
        ReleasedUnderAnyEpoch,
        DueInAllShards,
        DueIncludesTheMoment,
        TombstonesForgotten,
    )
}
