"""The prober: looks up in the journal what actors do not know, in batches, before they decide.

Since activation bumped the epoch, only this owner can write to a wallet, so what a probe did
not find cannot appear behind the actor's back.
"""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from . import farewell, unwanted
from .actor import WalletActor
from .backoff import Backoff
from .errors import LedgerBusy, LedgerFault, OutcomeUnknown
from .mailbox import Envelope, Phase

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

Waiting = tuple[WalletActor, Envelope]


class Prober:
    """Answers probes, all that wait in one query, one query at a time."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()

    def ask(self, actor: WalletActor, envelope: Envelope) -> None:
        """Queue the look-up for `envelope`; `actor.probed` hears of it."""
        self._queue.append((actor, envelope))
        self._wake.set()

    def fail_all(self, error: Exception) -> None:
        """Fail everyone whose look-up has not begun."""
        while self._queue:
            actor, envelope = self._queue.popleft()
            actor.probing -= 1
            envelope.fail(error)

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            await self._wake.wait()
            batch = self._gather()
            if not self._queue:
                self._wake.clear()
            try:
                await self._probe(batch)
            except Exception:
                log.exception("the prober met a bug; those who waited will be told in time")

    def _gather(self) -> list[Waiting]:
        """Take what waits; whoever gave up meanwhile, or must be loaded first, goes no further."""
        batch: list[Waiting] = []
        while self._queue and len(batch) < self._node.limits.probe_batch:
            actor, envelope = self._queue.popleft()
            if envelope.given_up:
                actor.probing -= 1
                continue
            if actor.phase is not Phase.ACTIVE:
                actor.probed(envelope)
                continue
            batch.append((actor, envelope))
        return batch

    async def _probe(self, batch: list[Waiting]) -> None:
        if not batch:
            return
        for actor, envelope in batch:
            assert actor.wallet is not None
            envelope.epoch_at_probe = actor.wallet.epoch
            actor.memory.pin(actor.durable_seq)
        backoff = Backoff()
        while True:
            try:
                found = await self._node.ledger.probe([envelope.probe() for _, envelope in batch])
                break
            except (LedgerBusy, OutcomeUnknown):
                await asyncio.sleep(backoff.wait_s())
                if all(envelope.given_up for _, envelope in batch):
                    found = None
                    break
            except Exception as error:  # noqa: BLE001  # whatever it is, one by one tells whose
                log.warning("look-ups are refused, asking one by one: %s", error)
                await self._probe_apart(batch)
                return
        try:
            for position, (actor, envelope) in enumerate(batch):
                if found is None:
                    actor.probing -= 1
                else:
                    envelope.found = found[position]
                    self._hand_over(actor, envelope)
        finally:
            for actor in dict.fromkeys(actor for actor, _ in batch):
                actor.memory.unpin(actor.durable_seq)

    def _hand_over(self, actor: WalletActor, envelope: Envelope) -> None:
        """Let an actor decide; whatever goes wrong there harms nobody else."""
        try:
            actor.probed(envelope)
        except Exception:
            log.exception("%s met a bug with what was looked up for it", actor.org_id)
            envelope.fail(LedgerFault("This cannot be decided; nothing was written."))
            actor.doubt()

    async def _probe_apart(self, batch: list[Waiting]) -> None:
        """One of these look-ups is refused: find out which, and fail only that one."""
        if len(batch) > 1:
            for one in batch:
                await self._probe([one])
            return
        [(actor, envelope)] = batch
        self._fail(actor, envelope)
        actor.memory.unpin(actor.durable_seq)

    def _fail(self, actor: WalletActor, envelope: Envelope) -> None:
        actor.probing -= 1
        refused = LedgerFault("The ledger refused to look this up.")
        farewell.send_away(actor, envelope, refused)
        unwanted.refused(actor, envelope)
