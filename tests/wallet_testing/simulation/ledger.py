"""A node's way to the simulated server: the engine's `Ledger`, over connections that fail.

It does as `PostgresLedger` does: one statement at a time on each kind of connection, what got no
answer in time is abandoned with its outcome unknown, and a claim that stays blocked ends the
backends that hold locks for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from wallet_engine.errors import LedgerBusy, NotCommitted, OutcomeUnknown
from wallet_engine.ports import Claim, DueHold, Found, Probe, WalletBatch
from wallet_persistence.postgres import Contended

from .faults import Fault
from .postgres import SimPostgres, Transaction
from .weather import Fate, Weather

STATEMENT_TIMEOUT_S = 2.0
LOCK_TIMEOUT_S = 0.5
CLAIM_LOCK_TIMEOUT_S = 1.0
CLAIM_WIRES = 3

Work = Callable[[Transaction], Awaitable[Any]]


class SimLedger:
    """Implements `ports.Ledger` for the process `boot`."""

    def __init__(self, boot: str, server: SimPostgres, weather: Weather) -> None:
        self._boot = boot
        self._server = server
        self._weather = weather
        self._abandoned: list[Transaction] = []
        self._turns = {role: asyncio.Lock() for role in ("lane", "side", "probes", "sweep")}
        self._claiming = asyncio.Semaphore(CLAIM_WIRES)

    # --- the port -----------------------------------------------------------------------------

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        """See `ports.Ledger.commit`."""
        async with self._turns["lane"]:
            return await self._commit("lane", batches)

    async def commit_apart(self, batch: WalletBatch) -> bool:
        """See `ports.Ledger.commit_apart`."""
        async with self._turns["side"]:
            try:
                return bool(await self._commit("side", [batch]))
            except Contended as error:
                raise LedgerBusy(*error.args) from error

    async def _commit(self, role: str, batches: Sequence[WalletBatch]) -> frozenset[str]:
        fate = self._weather.fate_of(role, writes=True)

        async def work(transaction: Transaction) -> frozenset[str]:
            return await self._server.commit(
                transaction, batches, works_s=fate.works_s, lock_timeout_s=LOCK_TIMEOUT_S
            )

        committed: frozenset[str] = await self._run(work, fate)
        return committed

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        """See `ports.Ledger.probe`."""

        async def work(_: Transaction) -> Sequence[Found]:
            if any(probe.key in self._weather.poisoned_probes for probe in probes):
                raise NotCommitted("told to refuse one of these look-ups")
            return await self._server.truth.probe(probes)

        async with self._turns["probes"]:
            found: Sequence[Found] = await self.read("probes", work)
            return found

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        """See `ports.Ledger.activate`."""
        async with self._claiming:
            try:
                return await self._claim(org_ids, owner, seen, anew)
            except Contended as error:
                if not await self._end_blockers():
                    raise LedgerBusy(*error.args) from error
            try:
                return await self._claim(org_ids, owner, seen, anew)
            except Contended as error:
                raise LedgerBusy(*error.args) from error

    async def _claim(
        self,
        org_ids: Sequence[str],
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str],
    ) -> Mapping[str, Claim]:
        fate = self._weather.fate_of("claims", writes=True)

        async def work(transaction: Transaction) -> Mapping[str, Claim]:
            return await self._server.claim(
                transaction,
                org_ids,
                owner=owner,
                seen=seen,
                anew=anew,
                works_s=fate.works_s,
                lock_timeout_s=CLAIM_LOCK_TIMEOUT_S,
            )

        claims: Mapping[str, Claim] = await self._run(work, fate)
        return claims

    async def _end_blockers(self) -> bool:
        abandoned, self._abandoned = self._abandoned, []

        async def work(_: Transaction) -> bool:
            return self._server.end([*abandoned, *self._server.hung()])

        async with self._turns["sweep"]:
            return bool(await self.read("sweep", work))

    async def release(self, epochs: Mapping[str, int]) -> None:
        """See `ports.Ledger.release`."""
        fate = self._weather.fate_of("claims", writes=True)

        async def work(_: Transaction) -> None:
            await self._server.truth.release(epochs)

        async with self._claiming:
            await self._run(work, fate)

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        """See `ports.Ledger.due`."""

        async def work(_: Transaction) -> Sequence[DueHold]:
            return await self._server.truth.due(shards=shards, before_ms=before_ms, limit=limit)

        async with self._turns["sweep"]:
            found: Sequence[DueHold] = await self.read("sweep", work)
            return found

    async def now_ms(self) -> int:
        """See `ports.Ledger.now_ms`."""

        async def work(_: Transaction) -> int:
            return await self._server.truth.now_ms()

        async with self._turns["sweep"]:
            return int(await self.read("sweep", work))

    # --- one statement ------------------------------------------------------------------------

    async def read(self, role: str, work: Work) -> Any:  # noqa: ANN401  # whatever it reads
        """Run a statement that only reads: without an answer it may simply be asked again.

        Raises:
            LedgerBusy: no answer, or the server does not work now.
        """
        try:
            return await self._run(work, self._weather.fate_of(role, writes=False))
        except OutcomeUnknown as error:
            raise LedgerBusy(*error.args) from error

    async def _run(self, work: Work, fate: Fate) -> Any:  # noqa: ANN401  # whatever it returns
        server = self._server
        if not server.up or fate.fault is Fault.REFUSED:
            await asyncio.sleep(fate.arrives_s)
            raise LedgerBusy("the server takes no statements")
        if fate.fault is Fault.ERROR:
            await asyncio.sleep(fate.arrives_s)
            raise NotCommitted("the statement failed for a reason of its own")
        if fate.fault is Fault.LOST_REQUEST:
            await asyncio.sleep(min(fate.resets_s, STATEMENT_TIMEOUT_S))
            raise OutcomeUnknown("the request was lost")
        transaction, reply = server.begin(
            self._boot, work, arrives_in_s=fate.arrives_s, answers_in_s=fate.answers_s
        )
        transaction.hung = fate.fault is Fault.HUNG
        try:
            async with asyncio.timeout(min(fate.resets_s, STATEMENT_TIMEOUT_S)):
                return await reply
        except TimeoutError:
            transaction.disowned = True
            self._abandoned.append(transaction)
            raise OutcomeUnknown("no answer came") from None
