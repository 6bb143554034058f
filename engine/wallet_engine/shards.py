"""A node's care for its shards: live calls are found before they fall due, what left is given up.

The ledger is the truth for deadlines, so no hold is orphaned when a wallet changes its node.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from .backoff import Backoff
from .commands import Ask
from .errors import LedgerError, UnknownOrg, WalletError
from .farewell import leave_to
from .sharding import SHARD_COUNT, shard_of

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

SWEEP_AHEAD_MS = 5_000
"""Wallets are loaded this long before their holds fall due."""

SWEEP_LIMIT = 10_000
"""Holds looked at in one sweep; the next one goes on with those that are left."""

ERRAND_S = 600.0
"""How long an errand may take: nobody waits for it, and it outlives most outages."""

ERRAND_ASK_S = 5.0
"""How long an errand waits for one answer."""

ERRANDS_AT_ONCE = 100
"""So many errands are asked at a time; the others wait for their turn."""

LAST_ERRANDS_S = 2.0
"""How long a node that ends waits for its errands, if another one can take them."""


class Shards:
    """Sweeps the shards that are ours, and says what becomes of those that are not any more."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._leaving: dict[str, int] = {}
        self._now = asyncio.Event()
        self._turns = asyncio.Semaphore(ERRANDS_AT_ONCE)
        self.errands: dict[asyncio.Task[None], None] = {}

    def gained(self, shards: Collection[int]) -> None:
        """These shards are ours from now on: look after their live calls at once."""
        assert shards
        self._now.set()

    def lost(self, shards: Mapping[int, str]) -> None:
        """These shards are others' from now on, by token."""
        for actor in self._node.residents:
            if actor.shard in shards:
                leave_to(actor, shards[actor.shard])

    def give_up(self, org_id: str, epoch: int) -> None:
        """Say in the ledger, soon, that this wallet is free, if it is still as we claimed it."""
        self._leaving[org_id] = epoch
        self._now.set()

    def errand(self, ask: Ask) -> None:
        """Have `ask` decided by whoever owns its wallet; nobody waits for the answer.

        It is asked until it is answered, so asking twice must do no harm.
        """
        if len(self.errands) >= self._node.limits.waiting_per_node:
            log.warning("%s of %s is not asked for: too much is", ask.verb, ask.org_id)
            return
        task = asyncio.create_task(self._run_errand(ask), name="wallet-errand")
        self.errands[task] = None
        task.add_done_callback(self.errands.pop)

    async def run(self) -> None:
        """Look after the shards, for ever."""
        while True:
            self._now.clear()
            try:
                await self._release()
                await self._sweep()
            except Exception:
                log.exception("looking after the shards met a bug; it goes on")
            try:
                async with asyncio.timeout(self._node.limits.sweep_s):
                    await self._now.wait()
            except TimeoutError:
                pass

    async def _run_errand(self, ask: Ask) -> None:
        node, backoff = self._node, Backoff()
        until_s = node.loop_time() + ERRAND_S
        problem: WalletError | None = None
        while node.loop_time() < until_s:
            try:
                async with self._turns:
                    await node.ask(ask, timeout_s=ERRAND_ASK_S)
            except UnknownOrg as error:
                problem = error
                break
            except WalletError as error:
                problem = error
                await asyncio.sleep(backoff.wait_s())
            else:
                return
        log.warning("%s of %s did not reach its wallet: %s", ask.verb, ask.org_id, problem)

    async def finish_errands(self) -> None:
        """Wait for the errands that another node may take over, for a moment."""
        ownership = self._node.ownership
        if self.errands and any(ownership.holder(shard) for shard in range(SHARD_COUNT)):
            await asyncio.wait(self.errands, timeout=LAST_ERRANDS_S)

    async def _release(self) -> None:
        node = self._node
        left, self._leaving = self._leaving, {}
        if not left:
            return
        try:
            await node.ledger.release(left)
        except LedgerError as error:
            log.warning("%d wallets could not be given up, their tenure ends: %s", len(left), error)

    async def _sweep(self) -> None:
        """Load the wallets whose holds fall due soon."""
        node = self._node
        shards = tuple(node.ownership.shards)
        if not shards:
            return
        try:
            due = await node.ledger.due(
                shards=shards, before_ms=node.clock.now_ms() + SWEEP_AHEAD_MS, limit=SWEEP_LIMIT
            )
            node.ledger_ok = True
        except LedgerError as error:
            node.ledger_ok = False
            log.warning("the ledger cannot be asked for due holds: %s", error)
            return
        for hold in due:
            if not node.ownership.owns(shard_of(hold.org_id)):
                continue
            actor = node.residents.awake(hold.org_id, urgent=False)
            if actor is not None:
                actor.falls_due(hold.call_id)
