"""The simulated server: the durable truth, locks on its rows, statements under way.

What a statement does is `MemoryLedger`'s doing, which is held to real Postgres by the
differential test.  Around it stands what a server adds: rows stay locked while a statement
works, whoever wants them waits for a while, and a statement goes on although its client is
gone.  It runs as a process of its own, which may be stopped, or crash.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from wallet_engine.errors import LedgerError, NotCommitted, OutcomeUnknown
from wallet_engine.memory_ledger import NEVER_SEEN, MemoryLedger, Row
from wallet_engine.ports import (
    CallFacts,
    Claim,
    Clock,
    FleetSwitch,
    Loaded,
    Taken,
    WalletBatch,
)
from wallet_persistence.calls import merged
from wallet_persistence.postgres import Contended

from .processes import SimLoop, SimProcess
from .tally import Tally

T = TypeVar("T")

HUNG_S = 1.0
"""A backend that holds locks and waits for the rest of a message this long may be ended."""

TENURE_MS = 1000
"""How long an owner keeps a wallet at least.  Source: DESIGN §3, Activation."""

STRANGER = "stranger"
"""Whoever locks rows without being a node."""


class Transaction:
    """One statement under way: whose it is, what it locks, and whom it will tell."""

    def __init__(self, boot: str, began_s: float) -> None:
        self.boot = boot
        self.began_s = began_s
        self.locks: list[str] = []
        self.hung = False
        self.disowned = False
        self.task: asyncio.Task[None] | None = None


class SimPostgres:
    """The server.  `tick` counts what happens to the truth.

    Its constraints are a backstop: whatever meets one is put down in `wrong`.
    """

    def __init__(self, loop: SimLoop, clock: Clock, tally: Tally, wrong: list[str]) -> None:
        self._loop = loop
        self._clock = clock
        self._wrong = wrong
        self._tally = tally
        self.process = SimProcess("postgres", loop)
        self.truth = MemoryLedger(clock)
        self.up = True
        self.tick = 0
        self.durable: defaultdict[str, list[int]] = defaultdict(list)
        self.calls: dict[tuple[str, str], CallFacts] = {}
        self.poison: set[str] = set()
        self.switches: list[FleetSwitch] = []
        self._locks: dict[str, Transaction] = {}
        self._waiting: defaultdict[str, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._live: dict[Transaction, asyncio.Future[object]] = {}

    # --- statements ---------------------------------------------------------------------------

    def begin(
        self,
        boot: str,
        work: Callable[[Transaction], Awaitable[object]],
        *,
        arrives_in_s: float,
        answers_in_s: float,
    ) -> tuple[Transaction, "asyncio.Future[object]"]:
        """Take a statement; the future is how its client hears of it."""
        transaction = Transaction(boot, self._loop.time())
        reply: asyncio.Future[object] = self._loop.create_future()
        self._live[transaction] = reply
        serving = self._serve(transaction, work, arrives_in_s, answers_in_s)
        transaction.task = self.process.spawn(serving)
        return transaction, reply

    async def _serve(
        self,
        transaction: Transaction,
        work: Callable[[Transaction], Awaitable[object]],
        arrives_in_s: float,
        answers_in_s: float,
    ) -> None:
        outcome: object
        try:
            await asyncio.sleep(arrives_in_s)
            outcome = await work(transaction)
        except LedgerError as error:
            outcome = error
        except asyncio.CancelledError:
            outcome = OutcomeUnknown("the backend was ended")
        finally:
            self._unlock(transaction)
            reply = self._live.pop(transaction)
        self._loop.call_later(answers_in_s, _answer, reply, outcome)

    def end(self, transactions: Sequence[Transaction]) -> bool:
        """End backends: what they did not commit is undone.  Say if there were any."""
        ended = [one for one in transactions if one in self._live and one.task is not None]
        for one in ended:
            assert one.task is not None
            one.task.cancel()
        return bool(ended)

    def hung(self) -> list[Transaction]:
        """Return the backends that hold locks for nobody, long enough to be sure."""
        now_s = self._loop.time()
        return [one for one in self._live if one.hung and now_s - one.began_s > HUNG_S]

    def crash(self) -> None:
        """Go down: what is not committed is undone, and every client loses its connection."""
        self.up = False
        for reply in self._live.values():
            _answer(reply, OutcomeUnknown("the server crashed"))
        self.end(list(self._live))

    # --- what statements do -------------------------------------------------------------------

    async def commit(
        self,
        transaction: Transaction,
        batches: Sequence[WalletBatch],
        *,
        works_s: float,
        lock_timeout_s: float,
    ) -> frozenset[str]:
        """Lock, compare, write: as the one statement of the commit lane."""
        for batch in sorted(batches, key=lambda batch: batch.org_id):
            await self._lock(transaction, batch.org_id, lock_timeout_s)
        truth = self.truth
        valid = [batch for batch in batches if truth._matches(batch)]
        for batch in valid:
            self._check(batch)
            if any(entry.key in self.poison for entry in batch.entries):
                raise NotCommitted(f"{batch.org_id}: told to refuse one of these")
        await asyncio.sleep(works_s)
        if transaction.hung:
            await self._loop.create_future()
        for batch in valid:
            self._write(batch)
        if transaction.disowned:
            verdict = "late commit" if valid else "late statement turned away"
            self._tally.sometimes[verdict] += 1
        return frozenset(batch.org_id for batch in valid)

    def _check(self, batch: WalletBatch) -> None:
        try:
            self.truth._check(batch)
        except NotCommitted as error:
            self._wrong.append(f"a constraint had to step in: {error}")
            raise

    def _write(self, batch: WalletBatch) -> None:
        self.truth._write(batch)
        self.tick += 1
        self.durable[batch.org_id] += [self.tick] * len(batch.entries)

    async def claim(
        self,
        transaction: Transaction,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str],
        works_s: float,
        lock_timeout_s: float,
    ) -> dict[str, Claim]:
        """Bump epochs under the rows' locks; then read, which may show somebody else's bump."""
        found = [org_id for org_id in org_ids if org_id in self.truth.rows]
        for org_id in found:
            await self._lock(transaction, org_id, lock_timeout_s)
        await asyncio.sleep(works_s)
        rows = self.truth.rows
        for org_id in seen:
            self._respected(org_id, rows[org_id], owner, seen[org_id])
        claims = {
            org_id: self.truth._claim(org_id, rows[org_id], owner, seen.get(org_id, NEVER_SEEN))
            for org_id in found
        }
        for org_id in anew:
            if isinstance(claims.get(org_id), Loaded):
                rows[org_id].owner_since_ms = self._clock.now_ms()
        self._unlock(transaction)
        await asyncio.sleep(works_s)
        for org_id, claim in claims.items():
            row = rows[org_id]
            if isinstance(claim, Loaded) and row.epoch != claim.epoch:
                held_ms = self._clock.now_ms() - row.owner_since_ms
                claims[org_id] = Taken(org_id, row.owner, row.epoch, held_ms)
            elif isinstance(claim, Loaded):
                started = {
                    hold.call_id: facts.heard_started_ms
                    for hold in claim.holds
                    if (facts := self.calls.get((org_id, hold.call_id))) is not None
                    and facts.heard_started_ms is not None
                }
                claims[org_id] = replace(claim, started_ms=started)
        return claims

    def _respected(self, org_id: str, row: Row, owner: str, seen_epoch: int) -> None:
        """Nobody takes a wallet from an owner who has just begun."""
        since_ms = self._clock.now_ms() - row.owner_since_ms
        if row.owner not in ("", owner) and row.epoch == seen_epoch and since_ms < TENURE_MS:
            self._wrong.append(f"{org_id}: {owner} wants it {since_ms} ms after {row.owner} began")

    def note(self, facts: CallFacts) -> None:
        """Store what the provider said of a call, on top of what it said before."""
        key = (facts.org_id, facts.call_id)
        before = self.calls.get(key)
        self.calls[key] = facts if before is None else merged(before, facts)

    # --- locks --------------------------------------------------------------------------------

    async def _lock(self, transaction: Transaction, org_id: str, timeout_s: float) -> None:
        deadline_s = self._loop.time() + timeout_s
        while self._locks.get(org_id, transaction) is not transaction:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting[org_id].append(turn)
            try:
                async with asyncio.timeout_at(deadline_s):
                    await turn
            except TimeoutError:
                raise Contended(f"{org_id} is locked by somebody else") from None
        self._locks[org_id] = transaction
        transaction.locks.append(org_id)

    def _unlock(self, transaction: Transaction) -> None:
        for org_id in transaction.locks:
            del self._locks[org_id]
            waiting = self._waiting.pop(org_id, ())
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)
        transaction.locks.clear()

    async def lock_for(self, org_id: str, seconds: float) -> None:
        """Have a stranger lock a row for a while, once it is free."""
        stranger = Transaction(STRANGER, self._loop.time())
        await self._lock(stranger, org_id, float("inf"))
        await asyncio.sleep(seconds)
        self._unlock(stranger)


def _answer(reply: "asyncio.Future[object]", outcome: object) -> None:
    if reply.done():
        return
    if isinstance(outcome, Exception):
        reply.set_exception(outcome)
        reply.exception()  # nobody may be listening any more
    else:
        reply.set_result(outcome)
