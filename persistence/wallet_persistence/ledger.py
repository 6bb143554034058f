"""The ledger in Postgres: where decisions become durable, and owners are told apart.

Five kinds of connections, so that nothing waits for what it has nothing to do with: the lane
for commits; one for commits apart; a few for claims, of which each may wait a second for a
locked row; one for probes, which decisions wait for; one for the clock and the sweep.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from wallet_engine.errors import LedgerBusy
from wallet_engine.ports import Claim, DueHold, Found, Probe, WalletBatch

from .batches import commit_of
from .claim import CLAIM_STATEMENTS, RELEASE, claim
from .commit import COMMIT, COMMIT_WITH_HOLDS
from .postgres import Access, Contended
from .rows import ENTRY_COLUMNS, ENTRY_WIDTH, HOLD_COLUMNS, entry_of, hold_of
from .wire import Abandoned, Statement, Wire

PROBE = Statement(
    f"""
-- $1 orgs, $2 keys (NULL asks nothing), $3 calls (NULL asks nothing), $4 the epochs under which
-- the asker owns the wallets (0 asks nothing).  Only what was found, or is not owned any more.
-- The ORDER BYs, and BETWEEN for =, leave one index each that serves: a plan made while the
-- tables are empty, where any index looks as good, must also serve when they are full.
SELECT p.ordinal, p.epoch = 0 OR coalesce(o.epoch = p.epoch, false), {ENTRY_COLUMNS}, {HOLD_COLUMNS}
FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[]) WITH ORDINALITY
    AS p (org_id, key, call_id, epoch, ordinal)
LEFT JOIN organizations o ON o.id BETWEEN p.org_id AND p.org_id
LEFT JOIN LATERAL (
    SELECT * FROM credit_transactions
    WHERE org_id = p.org_id AND idempotency_key BETWEEN p.key AND p.key
    ORDER BY idempotency_key LIMIT 1
) j ON true
LEFT JOIN LATERAL (
    SELECT * FROM credit_reservations
    WHERE org_id = p.org_id AND call_id BETWEEN p.call_id AND p.call_id
    ORDER BY call_id LIMIT 1
) r ON true
WHERE j.org_id IS NOT NULL OR r.org_id IS NOT NULL
   OR NOT (p.epoch = 0 OR coalesce(o.epoch = p.epoch, false))
""",  # noqa: S608  # two lists of columns
    writes=False,
)

DUE = Statement(
    """
-- $1 shards, $2 milliseconds since 1970, $3 how many.  The earliest of each shard, of which the
-- earliest: however many are overdue, no more are read.
SELECT d.org_id, d.call_id, (extract(epoch FROM d.due_at) * 1000)::int8
FROM unnest($1::int2[]) AS s (shard)
CROSS JOIN LATERAL (
    SELECT r.org_id, r.call_id, r.due_at FROM credit_reservations r
    WHERE r.status = 'active' AND r.shard = s.shard
      AND r.due_at < timestamptz 'epoch' + $2::int8 * interval '1 millisecond'
    ORDER BY r.due_at LIMIT $3
) d
ORDER BY d.due_at, d.org_id, d.call_id LIMIT $3
""",
    writes=False,
)

NOW = Statement("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8", writes=False)

END_BACKENDS = Statement("""
-- $1 the backends that this process left in the middle of a statement, $2 what its connections
-- are called: a number alone may name another's by now.  $3 milliseconds after which a backend
-- is ended that holds locks and waits for the rest of a message: half of a statement came,
-- from a process that was stopped, or over a path that is broken.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = ANY ($1::int4[]) AND application_name = ANY ($2::text[])
   OR application_name ~ '^wallet-(lane|side|claims):'
      AND state = 'active' AND wait_event = 'ClientRead'
      AND xact_start < clock_timestamp() - $3::int8 * interval '1 millisecond'
""")

LANE, SIDE, CLAIMS, PROBES, SWEEP = ROLES = ("lane", "side", "claims", "probes", "sweep")

CLAIM_WIRES = 3
"""How many claims may wait for locked rows before others wait for them."""

CLAIM_LOCK_TIMEOUT_S = 1.0
"""How long a claim waits for a row before it looks for a backend of ours that holds it."""

SIDE_LOCK_TIMEOUT_S = 0.2
"""How long a commit apart waits for its row.  The group before it did wait: what is locked still
is locked for long, and others stand behind it in the row."""

RELEASE_BATCH = 500
"""How many wallets one statement gives up, so that it ends long before its time-out."""


class PostgresLedger:
    """The engine's `Ledger`, on connections of its own."""

    def __init__(self, access: Access) -> None:
        self._names = [access.application_name(role) for role in ROLES]
        self._abandoned = Abandoned()

        def wire(role: str, *statements: Statement, lock_timeout_s: float) -> Wire:
            return Wire(
                access,
                role,
                statements,
                abandoned=self._abandoned,
                lock_timeout_s=lock_timeout_s,
            )

        lock_timeout_s = access.lock_timeout_s
        # It must come before the time-out of the whole statement, which would prove nothing.
        self._claim_lock_timeout_s = min(CLAIM_LOCK_TIMEOUT_S, access.statement_timeout_s / 2)
        self._lane = wire(LANE, COMMIT, COMMIT_WITH_HOLDS, lock_timeout_s=lock_timeout_s)
        side_lock_timeout_s = min(SIDE_LOCK_TIMEOUT_S, lock_timeout_s)
        self._side = wire(SIDE, COMMIT, COMMIT_WITH_HOLDS, lock_timeout_s=side_lock_timeout_s)
        self._probes = wire(PROBES, PROBE, lock_timeout_s=lock_timeout_s)
        self._sweep = wire(SWEEP, DUE, NOW, END_BACKENDS, lock_timeout_s=lock_timeout_s)
        self._claims = [
            wire(CLAIMS, *CLAIM_STATEMENTS, lock_timeout_s=self._claim_lock_timeout_s)
            for _ in range(CLAIM_WIRES)
        ]
        self._idle_claims: asyncio.LifoQueue[Wire] = asyncio.LifoQueue()
        for one in self._claims:
            self._idle_claims.put_nowait(one)

    async def open(self) -> None:
        """Connect what decisions wait for, so that the first of them do not wait for that.

        Raises:
            LedgerBusy: no connection.
        """
        for one in (self._lane, self._probes, self._claims[-1], self._sweep):
            await one.open()

    async def close(self) -> None:
        """End all connections; what is under way is waited for."""
        for one in (self._lane, self._side, self._probes, self._sweep, *self._claims):
            await one.close()

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        """Write `batches` in one statement on the lane; see the port."""
        return await self._commit(self._lane, batches)

    async def commit_apart(self, batch: WalletBatch) -> bool:
        """Write one wallet's batch on the side connection; see the port.

        Raises:
            LedgerBusy: also when the wallet is locked by somebody else, which is not the fault
                of these entries.
        """
        try:
            return bool(await self._commit(self._side, [batch]))
        except Contended as error:
            raise LedgerBusy(*error.args) from error

    async def _commit(self, wire: Wire, batches: Sequence[WalletBatch]) -> frozenset[str]:
        if not batches:
            return frozenset()
        in_order = sorted(batches, key=_org_id)
        statement, args = commit_of(in_order)
        [row] = await wire.fetch(statement, *args)
        return frozenset(in_order[ordinal - 1].org_id for ordinal in row[0] or ())

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        """Look up keys and calls, all in one query; see the port.

        Raises:
            NotCommitted: one of these cannot be looked up, such as a text that is not one.
        """
        found = [NOTHING] * len(probes)
        rows = await self._probes.fetch(
            PROBE,
            [probe.org_id for probe in probes],
            [probe.key or None for probe in probes],
            [probe.call_id or None for probe in probes],
            [probe.epoch for probe in probes],
        )
        for row in rows:
            entry, hold = row[2 : 2 + ENTRY_WIDTH], row[2 + ENTRY_WIDTH :]
            found[row[0] - 1] = Found(
                entry=None if entry[0] is None else entry_of(entry),
                hold=None if hold[0] is None else hold_of(hold),
                owned=row[1],
            )
        return found

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        """Claim wallets, all or none; see the port.

        A row that stays locked for a second may be held by a statement of ours that was given
        up: its backend is ended, and the claim made again.

        Raises:
            LedgerBusy: also when one of the rows stays locked by somebody else.  None of the
                wallets is claimed then; asked for one by one, the others are.
        """
        wanted = sorted(set(org_ids))
        async with self._claiming() as wire:
            try:
                return await claim(wire, wanted, owner=owner, seen=seen, anew=anew)
            except Contended as error:
                if not await self._end_blockers():
                    raise LedgerBusy(*error.args) from error
            try:
                return await claim(wire, wanted, owner=owner, seen=seen, anew=anew)
            except Contended as error:
                raise LedgerBusy(*error.args) from error

    async def release(self, epochs: Mapping[str, int]) -> None:
        """Give up wallets, some hundreds at a time; see the port.

        Raises:
            LedgerBusy: also when one of the rows is locked; those before it were given up.
        """
        ours = sorted(epochs)
        async with self._claiming() as wire:
            try:
                for first in range(0, len(ours), RELEASE_BATCH):
                    some = ours[first : first + RELEASE_BATCH]
                    await wire.fetch(RELEASE, some, [epochs[org_id] for org_id in some])
            except Contended as error:
                raise LedgerBusy(*error.args) from error

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        """Return what falls due in `shards`; see the port."""
        rows = await self._sweep.fetch(DUE, shards, before_ms, limit)
        return [DueHold(*row) for row in rows]

    async def now_ms(self) -> int:
        """Return the server's own clock."""
        [row] = await self._sweep.fetch(NOW)
        now_ms: int = row[0]
        return now_ms

    @asynccontextmanager
    async def _claiming(self) -> AsyncIterator[Wire]:
        wire = await self._idle_claims.get()
        try:
            yield wire
        finally:
            self._idle_claims.put_nowait(wire)

    async def _end_blockers(self) -> bool:
        """End the backends that hold locks for nobody; say if there were any."""
        pids = self._abandoned.pids
        ended = await self._sweep.fetch(
            END_BACKENDS, pids, self._names, round(self._claim_lock_timeout_s * 1000)
        )
        for pid in pids:
            self._abandoned.discard(pid)
        return bool(ended)


NOTHING = Found(entry=None, hold=None)


def _org_id(batch: WalletBatch) -> str:
    """Sort as Postgres does: ids are ASCII, and its columns compare bytes."""
    return batch.org_id
