"""The ledger in memory and the one in Postgres, driven side by side.

Whatever one of them says or stores, the other must say and store.  What goes wrong on the way to
Postgres goes really wrong: rows are locked, backends ended, answers lost.  In memory there is no
way, so there the same statement lands or does not land.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from wallet_engine.errors import LedgerBusy, LedgerError, NotCommitted, OutcomeUnknown
from wallet_engine.memory_ledger import MemoryLedger
from wallet_engine.ports import Claim, Found, Ledger, Org, Probe, WalletBatch
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.postgres import Pool

from .bench import Bench
from .builders import T0_MS
from .cable import Cable, cable_to
from .clock import ManualClock
from .ledger_rows import (
    CLEAR,
    differences,
    spelled,
    stored_in_memory,
    stored_in_postgres,
)
from .owners import claimed
from .pools import pool_to
from .suspects import Suspects

T = TypeVar("T")

Asked = Callable[[Ledger], Coroutine[Any, Any, T]]

BOOTS = ("boot-1", "boot-2", "boot-3")
LOSSY = BOOTS[-1]
"""The process whose answers can get lost."""

OLDER = "UPDATE organizations SET owner_since = owner_since - $1::int8 * interval '1 millisecond'"

HEARD = """
INSERT INTO calls (org_id, call_id, heard_started_at)
VALUES ($1, $2, timestamptz 'epoch' + $3::int8 * interval '1 millisecond')
ON CONFLICT (org_id, call_id) DO UPDATE SET heard_started_at = excluded.heard_started_at
"""

END = "SELECT pg_terminate_backend($1)"

END_ALL_OF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ $1"

Verdict = frozenset[str] | type[LedgerError]
"""Whose batches are durable, or why that cannot be said."""

EVERYTHING = 10_000


class Twins:
    """One database and one dictionary, which have been told the same; and suspects, if any."""

    def __init__(self, bench: Bench, pool: Pool, cable: Cable, lossy_dsn: str) -> None:
        self._bench = bench
        self._directory = PostgresDirectory(pool)
        self._cable = cable
        self._postgres = {
            boot: bench.ledger(boot, dsn=lossy_dsn if boot == LOSSY else "") for boot in BOOTS
        }
        self._clock = ManualClock()
        self.memory = MemoryLedger(self._clock)
        self.suspects = Suspects({})

    async def clear(self, suspects: Suspects) -> None:
        """Begin anew, with nothing stored."""
        await self._bench.admin.execute(CLEAR)
        self.memory = MemoryLedger(self._clock)
        self.suspects = suspects
        self.suspects.begin(self._clock)

    async def same_rows(self) -> None:
        """Assert that both have the same stored."""
        memory = stored_in_memory(self.memory)
        found = differences(memory, await stored_in_postgres(self._bench.admin))
        assert not found, "\n".join(found)
        self.suspects.compare(memory)

    # --- what the ledgers are asked -----------------------------------------------------------

    async def create(self, org_id: str, overrides: Mapping[str, object]) -> None:
        """Store a new wallet."""
        org = Org(org_id=org_id, name=org_id, created_ms=T0_MS)
        await self._directory.create_org(org, overrides, node="")
        for ledger in self._memories:
            ledger.create(org_id, overrides)

    async def commit(self, boot: str, batches: Sequence[WalletBatch]) -> Verdict:
        """Write a group."""
        return await self._ask(boot, lambda ledger: _verdict(ledger.commit(batches)))

    async def commit_apart(self, boot: str, batch: WalletBatch) -> Verdict:
        """Write one wallet on the side connection."""

        async def apart(ledger: Ledger) -> frozenset[str]:
            return frozenset({batch.org_id} if await ledger.commit_apart(batch) else ())

        return await self._ask(boot, lambda ledger: _verdict(apart(ledger)))

    async def claim(
        self, boot: str, org_ids: Sequence[str], *, tenure_ms: int
    ) -> Mapping[str, Claim]:
        """Claim wallets."""
        return await self._ask(
            boot, lambda ledger: claimed(ledger, org_ids, owner=boot, tenure_ms=tenure_ms)
        )

    async def claim_late(self, boot: str, org_id: str) -> Mapping[str, Claim]:
        """Claim a wallet as it was seen before its last claim, by whomever that was."""
        seen = {org_id: self.memory.rows[org_id].epoch - 1}
        return await self._ask(
            boot, lambda ledger: ledger.activate([org_id], owner=boot, seen=seen)
        )

    async def release(self, boot: str, org_ids: Sequence[str], *, late: bool) -> None:
        """Give wallets up, as they are claimed now or, `late`, as they were before."""
        epochs = {org_id: self.memory.rows[org_id].epoch - late for org_id in org_ids}
        await self._ask(boot, lambda ledger: ledger.release(epochs))

    async def probe(self, boot: str, probes: Sequence[Probe]) -> Sequence[Found]:
        """Look up keys and calls."""
        return await self._ask(boot, lambda ledger: ledger.probe(probes))

    async def due(self, boot: str, shards: Sequence[int], *, before_ms: int, limit: int) -> None:
        """Look for holds that fall due: all, and of them the first few.

        Which of several that fall due in the same millisecond is the last within the limit, no
        ledger promises.
        """

        async def look(ledger: Ledger) -> object:
            everything = await ledger.due(shards=shards, before_ms=before_ms, limit=EVERYTHING)
            found = await ledger.due(shards=shards, before_ms=before_ms, limit=limit)
            return everything, [one.due_ms for one in found], set(found) <= set(everything)

        await self._ask(boot, look)

    @property
    def _memories(self) -> Iterable[MemoryLedger]:
        return self.memory, *self.suspects.ledgers

    async def _ask(self, boot: str, asked: Asked[T]) -> T:
        """Ask both the same, and return what both say."""
        answer = await self._ask_memory(asked)
        _compare(answer, await asked(self._postgres[boot]))
        return answer

    async def _ask_memory(self, asked: Asked[T]) -> T:
        answer = await asked(self.memory)
        await self.suspects.ask(asked, spelled(answer))
        return answer

    # --- what happens beside them ----------------------------------------------------------------

    async def pass_time(self, *, ms: int) -> None:
        """Let all owners have owned for longer."""
        await self._bench.admin.execute(OLDER, ms)
        for ledger in self._memories:
            for row in ledger.rows.values():
                row.owner_since_ms -= ms

    async def hear_start(self, org_id: str, call_id: str, heard_ms: int) -> None:
        """Record, as the recorder would, that a call was heard to be in progress."""
        await self._bench.admin.execute(HEARD, org_id, call_id, heard_ms)
        for ledger in self._memories:
            ledger.rows[org_id].started_ms[call_id] = heard_ms

    # --- what goes wrong -------------------------------------------------------------------------

    async def claim_waits_for_commit(
        self, boot: str, batch: WalletBatch, rival: str
    ) -> tuple[Verdict, Mapping[str, Claim]]:
        """A claim finds a statement under way: it lands first, and is loaded."""
        verdict = await self._ask_memory(_writing(batch))
        claims = await self._ask_memory(_claiming(batch.org_id, rival))
        async with self._bench.locked(batch.org_id) as door:
            writing = asyncio.create_task(_writing(batch)(self._postgres[boot]))
            await self._bench.waiting("lane")
            claiming = asyncio.create_task(_claiming(batch.org_id, rival)(self._postgres[rival]))
            await self._bench.waiting("claims")
            await door.execute("ROLLBACK")
            _compare(claims, await claiming)
            _compare(verdict, await writing)
        return verdict, claims

    async def commit_waits_for_claim(
        self, boot: str, batch: WalletBatch, rival: str
    ) -> tuple[Verdict, Mapping[str, Claim]]:
        """A statement that was right when it was sent finds a claim before it: it is fenced."""
        claims = await self._ask_memory(_claiming(batch.org_id, rival))
        verdict = await self._ask_memory(_writing(batch))
        async with self._bench.locked(batch.org_id) as door:
            claiming = asyncio.create_task(_claiming(batch.org_id, rival)(self._postgres[rival]))
            await self._bench.waiting("claims")
            writing = asyncio.create_task(_writing(batch)(self._postgres[boot]))
            await self._bench.waiting("lane")
            await door.execute("ROLLBACK")
            _compare(claims, await claiming)
            _compare(verdict, await writing)
        return verdict, claims

    async def lose_statement(self, boot: str, batch: WalletBatch) -> Verdict:
        """The server's process dies while a statement waits: it is unknown, and not written."""
        async with self._bench.locked(batch.org_id):
            writing = asyncio.create_task(_writing(batch)(self._postgres[boot]))
            pid = await self._bench.waiting("lane")
            await self._bench.admin.execute(END, pid)
            _compare(OutcomeUnknown, await writing)
            await self._bench.gone(pid)
        return OutcomeUnknown

    async def lose_answer(self, batches: Sequence[WalletBatch]) -> Verdict:
        """A statement arrives and its answer does not: it is unknown, whatever became of it."""
        await self._ask_memory(lambda ledger: _verdict(ledger.commit(batches)))
        ledger, cable = self._postgres[LOSSY], self._cable
        await ledger.open()  # what is said while connecting shall not get lost
        cable.lost.clear()
        cable.lose_answers = True
        writing = asyncio.create_task(_verdict(ledger.commit(batches)))
        await cable.lost.wait()
        cable.cut()
        cable.lose_answers = False
        _compare(OutcomeUnknown, await writing)
        await self._bench.admin.execute(END_ALL_OF, f"^wallet-.*:{LOSSY}$")
        return OutcomeUnknown


def _writing(batch: WalletBatch) -> Asked[Verdict]:
    return lambda ledger: _verdict(ledger.commit([batch]))


def _claiming(org_id: str, owner: str) -> Asked[Mapping[str, Claim]]:
    async def claim(ledger: Ledger) -> Mapping[str, Claim]:
        while True:
            try:
                return await claimed(ledger, [org_id], owner=owner)
            except LedgerBusy:  # the row stayed locked for too long: on a slow machine it may
                continue

    return claim


async def _verdict(writing: Coroutine[Any, Any, frozenset[str]]) -> Verdict:
    try:
        return await writing
    except NotCommitted:
        return NotCommitted  # of whatever kind
    except LedgerError as error:
        return type(error)


def _compare(memory: object, postgres: object) -> None:
    told = spelled(memory), spelled(postgres)
    assert told[0] == told[1], "\n  memory   {}\n  postgres {}".format(*told)


@asynccontextmanager
async def twins_on(dsn: str) -> AsyncIterator[Twins]:
    """Give twins on a migrated database that nobody else uses."""
    async with AsyncExitStack() as opened:
        admin = await asyncpg.connect(dsn)
        opened.push_async_callback(admin.close)
        pool = await opened.enter_async_context(pool_to(dsn))
        cable, lossy_dsn = await opened.enter_async_context(cable_to(dsn))
        yield Twins(Bench(dsn, admin, opened), pool, cable, lossy_dsn)
