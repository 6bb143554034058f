"""Notes beside the money: webhook deliveries and what providers say of calls, in batches.

Notes wait in memory, bounded; when there are too many the oldest are lost, and counted.  While
the database is away they are kept.  After a lost answer a delivery may be logged twice.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from wallet_engine.backoff import Backoff
from wallet_engine.errors import LedgerFault, LedgerUnavailable
from wallet_engine.ports import CallFacts, Delivery

from .calls import merged, store_facts
from .postgres import Pool, borrowed

DELIVERY_COLUMNS = (
    "org_id", "call_id", "type", "status", "received_at", "http_status", "outcome", "error",
    "detail", "latency_ms",
)  # fmt: skip

CAPACITY = 20_000
"""Notes of each kind that may wait: some ten megabytes, minutes of a busy node."""

BATCH = 500
"""Notes of each kind in one write."""

GATHER_S = 0.1
"""How long notes gather, unless a batch is full before."""

STOP_S = 3.0
"""How long the last notes may take when the node stops."""

Note = TypeVar("Note", Delivery, CallFacts)

log = logging.getLogger(__name__)


class PostgresRecorder:
    """The engine's `Recorder`: `start` it, note, `stop` it."""

    def __init__(self, pool: Pool, *, capacity: int = CAPACITY) -> None:
        self._pool = pool
        self._capacity = capacity
        self._deliveries: deque[Delivery] = deque()
        self._calls: dict[tuple[str, str], CallFacts] = {}
        self._noted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._writing = asyncio.Lock()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._active = 0
        self._lost_lately = 0
        self.written = 0
        self.lost = 0

    def delivery(self, delivery: Delivery) -> None:
        """Note a webhook delivery."""
        self._deliveries.append(delivery)
        self._noted_one()

    def call(self, facts: CallFacts) -> None:
        """Note what the provider said of a call, on top of what waits to be written of it."""
        key = (facts.org_id, facts.call_id)
        before = self._calls.get(key)
        self._calls[key] = facts if before is None else merged(before, facts)
        self._noted_one()

    def counts(self) -> dict[str, int]:
        """Return how many notes wait, are being written, were written; `failed` were lost.

        Losses are told until all that waits is written again.
        """
        return {
            "waiting": self._waiting,
            "active": self._active,
            "completed": self.written,
            "failed": self._lost_lately,
        }

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="wallet-recorder")

    async def stop(self) -> None:
        """Write what waits, if that can be done soon, and end."""
        self._stopping = True
        self._noted.set()
        self._hurry.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=STOP_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            log.error("%d notes of webhooks were not written before the end", self._waiting)

    async def flush(self) -> None:
        """Write what waits now.

        Raises:
            LedgerUnavailable: it cannot be written now, and waits on.
        """
        async with self._writing:
            while self._waiting:
                await self._write_some()
            self._lost_lately = 0

    @property
    def _waiting(self) -> int:
        return len(self._deliveries) + len(self._calls)

    def _noted_one(self) -> None:
        self._bound()
        self._noted.set()
        if len(self._deliveries) >= BATCH or len(self._calls) >= BATCH:
            self._hurry.set()

    def _bound(self) -> None:
        """Lose the oldest notes of which there are too many."""
        while len(self._deliveries) > self._capacity:
            self._lose(self._deliveries.popleft(), "too many wait")
        while len(self._calls) > self._capacity:
            self._lose(self._calls.pop(next(iter(self._calls))), "too many wait")

    def _lose(self, note: Delivery | CallFacts, why: str) -> None:
        if not self._lost_lately:
            log.error("notes of webhooks are lost, first one of %s: %s", note.call_id, why)
        self.lost += 1
        self._lost_lately += 1

    async def _run(self) -> None:
        backoff = Backoff()
        while self._waiting or not self._stopping:
            await self._noted.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._hurry.wait()
            self._noted.clear()
            self._hurry.clear()
            try:
                await self.flush()
                backoff.reset()
            except LedgerUnavailable as error:
                log.warning("%d notes of webhooks wait for the database: %s", self._waiting, error)
                if self._stopping:
                    return
                self._noted.set()
                await asyncio.sleep(backoff.wait_s())
            except Exception:
                log.exception("writing notes of webhooks met a bug; it goes on")
                self._noted.set()
                await asyncio.sleep(backoff.wait_s())

    async def _write_some(self) -> None:
        count = min(len(self._deliveries), BATCH)
        deliveries = [self._deliveries.popleft() for _ in range(count)]
        await self._write(deliveries, self._store_deliveries, self._put_back_deliveries)
        calls = [self._calls.pop(key) for key in list(islice(self._calls, BATCH))]
        await self._write(calls, self._store_calls, self._put_back_calls)

    async def _write(
        self,
        notes: Sequence[Note],
        store: Callable[[Sequence[Note]], Awaitable[None]],
        put_back: Callable[[Sequence[Note]], None],
    ) -> None:
        """Write `notes` together, or else one by one without those that are refused.

        What is not written when this raises was put back.
        """
        if not notes:
            return
        self._active = len(notes)
        try:
            await store(notes)
            self.written += len(notes)
        except LedgerFault as error:
            if len(notes) == 1:
                self._lose(notes[0], str(error))
                return
            for number, note in enumerate(notes, 1):
                try:
                    await self._write([note], store, put_back)
                except BaseException:
                    put_back(notes[number:])
                    raise
        except BaseException:
            put_back(notes)
            raise
        finally:
            self._active = 0

    def _put_back_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries.extendleft(reversed(deliveries))
        self._bound()

    def _put_back_calls(self, calls: Sequence[CallFacts]) -> None:
        newer, self._calls = self._calls, {(one.org_id, one.call_id): one for one in calls}
        for facts in newer.values():
            self.call(facts)

    async def _store_calls(self, calls: Sequence[CallFacts]) -> None:
        async with borrowed(self._pool) as connection:
            await store_facts(connection, calls)

    async def _store_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        async with borrowed(self._pool) as connection:
            try:
                await connection.copy_records_to_table(
                    "webhook_delivery_log",
                    records=[_record_of(one) for one in deliveries],
                    columns=DELIVERY_COLUMNS,
                )
            except (TypeError, ValueError, OverflowError) as error:
                raise LedgerFault(f"A note cannot be written down: {error}") from error


def _record_of(delivery: Delivery) -> tuple[object, ...]:
    """Return a delivery in the order of `DELIVERY_COLUMNS`."""
    return (
        delivery.org_id,
        delivery.call_id,
        delivery.type,
        delivery.status,
        datetime.fromtimestamp(delivery.received_ms / 1000, UTC),
        delivery.http_status,
        delivery.outcome,
        delivery.error,
        json.dumps(dict(delivery.detail), default=str),
        delivery.latency_ms,
    )
