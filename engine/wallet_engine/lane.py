"""The commit lane: group commit by natural batching.

While one statement is under way, decisions gather; when the lane is free it sends all that
waits, up to its caps, without a timer.  It runs in a task of its own, so no caller's
cancellation ever reaches a write.  Wallets take turns, so a hot one starves nobody.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import recovery
from .actor import WalletActor
from .backoff import Backoff
from .errors import LedgerBusy, LedgerUnavailable, NotCommitted, OutcomeUnknown
from .mailbox import Phase
from .ports import WalletBatch

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

BUSY_PATIENCE_S = 1.0
"""How long a lane retries a busy ledger before it tells callers that nothing was written."""

Sent = tuple[WalletActor, WalletBatch]


class CommitLane:
    """Writes what actors have decided.  At most one statement is under way."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._ready: dict[WalletActor, None] = {}
        self._wake = asyncio.Event()
        self.apart: dict[asyncio.Task[None], None] = {}
        self.busy_since_s = 0.0

    def ready(self, actor: WalletActor) -> None:
        """Say that `actor` has entries to write."""
        self._ready[actor] = None
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is under way."""
        return not (self._ready or self.busy_since_s or self.apart)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            sent = self._gather()
            if not self._ready:
                self._wake.clear()
            if not sent:
                continue
            self.busy_since_s = self._node.loop_time()
            try:
                await self._write(sent)
            except Exception:
                log.exception("the commit lane met a bug; its wallets are reloaded")
                for actor, _ in sent:
                    actor.doubt()
            finally:
                self.busy_since_s = 0.0

    def _gather(self) -> list[Sent]:
        """Take what waits, wallet by wallet, within the caps of one statement."""
        limits = self._node.limits
        sent: list[Sent] = []
        room = limits.batch_entries
        while self._ready and room > 0 and len(sent) < limits.batch_wallets:
            actor = next(iter(self._ready))
            del self._ready[actor]
            if actor.phase is not Phase.ACTIVE or not actor.pending or actor.in_flight:
                continue
            batch = actor.take(min(room, limits.batch_entries_per_wallet))
            room -= len(batch.entries)
            sent.append((actor, batch))
        return sent

    async def _write(self, sent: Sequence[Sent]) -> None:
        """Write one group, and tell each actor what became of its part."""
        node = self._node
        batches = [batch for _, batch in sent]
        began_s = node.loop_time()
        backoff = Backoff()
        while True:
            try:
                durable = await node.ledger.commit(batches)
                break
            except LedgerBusy as error:
                if node.loop_time() - began_s > BUSY_PATIENCE_S:
                    self._give_up(sent, error)
                    return
                await asyncio.sleep(backoff.wait_s())
            except NotCommitted as error:
                log.warning("a group was refused, writing it wallet by wallet: %s", error)
                node.stats.fenced("poison")
                self._write_apart(sent)
                return
            except OutcomeUnknown as error:
                log.warning("the outcome of a group is unknown, reloading its wallets: %s", error)
                node.stats.fenced("unknown")
                for actor, _ in sent:
                    actor.doubt()
                return
        seconds = node.loop_time() - began_s
        node.stats.committed(len(sent), sum(len(batch.entries) for batch in batches), seconds)
        for actor, batch in sent:
            self._settle(actor, batch, durable=batch.org_id in durable)

    def _settle(self, actor: WalletActor, batch: WalletBatch, *, durable: bool) -> None:
        if not actor.waits_for(batch.entries[0]):
            return  # a reload settled it meanwhile
        if durable:
            actor.durable(len(batch.entries))
        else:
            self._node.stats.fenced("fence")
            actor.in_flight = 0  # it is known that none of it was written
            actor.doubt_fenced()

    def _give_up(self, sent: Sequence[Sent], error: LedgerBusy) -> None:
        log.warning("the ledger is busy for too long, nothing was written: %s", error)
        self._node.stats.fenced("busy")
        unwritten = LedgerUnavailable("The ledger cannot be reached; nothing was written.")
        for actor, batch in sent:
            if any(actor.waits_for(entry) for entry in batch.entries):  # else a reload settled it
                recovery.abandon(actor, unwritten)

    def _write_apart(self, sent: Sequence[Sent]) -> None:
        """Isolate whoever spoils the group, beside the lane, which goes on with others."""
        task = asyncio.create_task(self._isolate(sent), name="wallet-isolate")
        self.apart[task] = None
        task.add_done_callback(self.apart.pop)

    async def _isolate(self, sent: Sequence[Sent]) -> None:
        for actor, batch in sent:
            try:
                await self._write_one(actor, batch)
            except LedgerBusy as error:
                self._give_up([(actor, batch)], error)
            except OutcomeUnknown:
                self._node.stats.fenced("unknown")
                actor.doubt()
            except Exception:
                log.exception("isolating %s met a bug; it is reloaded", actor.org_id)
                actor.doubt()

    async def _write_one(self, actor: WalletActor, batch: WalletBatch) -> None:
        """Write one wallet's entries, and if they are refused, entry by entry."""
        ledger = self._node.ledger
        try:
            durable = await ledger.commit_apart(batch)
        except NotCommitted:
            pass
        else:
            self._settle(actor, batch, durable=durable)
            return
        for entry in batch.entries:
            one = batch._replace(
                expected_seq=entry.seq - 1,
                balance_before_pence=entry.balance_before_pence,
                entries=(entry,),
            )
            try:
                if not await ledger.commit_apart(one):
                    self._settle(actor, one, durable=False)
                    return
            except NotCommitted as error:
                log.error(  # noqa: TRY400  # the ledger's words are enough
                    "poison isolated: %s seq %d %s: %s", entry.org_id, entry.seq, entry.type, error
                )
                if actor.waits_for(entry):
                    recovery.poisoned(actor, entry)
                return
            if not actor.waits_for(entry):
                return  # a reload settled it meanwhile
            actor.durable(1)
