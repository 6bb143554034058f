"""The activator: claims wallets and loads them, in bounded batches.

A claim bumps the wallet's epoch, which waits out or disowns every statement under an older
one.  So it also settles writes whose outcome was lost: after it, what is there is all there
will ever be.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

from . import recovery, unwanted
from .actor import WalletActor
from .backoff import Backoff
from .errors import LedgerBusy, LedgerError, LedgerFault, NotCommitted, OutcomeUnknown, UnknownOrg
from .farewell import leave_to
from .mailbox import Phase
from .ports import Claim, Loaded, Probe, Taken

if TYPE_CHECKING:
    from .node import Node

TAKEN_PAUSE_S = 0.05
"""How soon to ask again for a wallet whose owner's tenure is over: it did something just now."""

RIVAL_S = 30.0
"""How long a wallet is left to a node that feels as sure of it as we do."""

log = logging.getLogger(__name__)


class Activator:
    """Loads wallets: those somebody waits for first, then those with due holds."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._urgent: dict[WalletActor, None] = {}
        self._background: dict[WalletActor, None] = {}
        self._later: dict[WalletActor, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff()

    def request(self, actor: WalletActor, *, urgent: bool) -> None:
        """Ask that `actor` be loaded, or loaded again."""
        if urgent:
            self._background.pop(actor, None)
            self._urgent[actor] = None
        elif actor not in self._urgent:
            self._background[actor] = None
        self._wake.set()

    def request_after(self, actor: WalletActor, delay_s: float) -> None:
        """Ask the same in `delay_s`, unless that is to be asked before long anyway."""
        if not delay_s:
            self.request(actor, urgent=True)
        elif actor not in self._later:
            loop = asyncio.get_running_loop()
            self._later[actor] = loop.call_later(delay_s, self._request_now, actor)

    def _request_now(self, actor: WalletActor) -> None:
        del self._later[actor]
        self.request(actor, urgent=True)

    async def run(self) -> None:
        """Load for ever."""
        while True:
            await self._wake.wait()
            batch = self._gather()
            if not (self._urgent or self._background):
                self._wake.clear()
            try:
                await self._activate(batch)
                self._backoff.reset()
            except (LedgerBusy, OutcomeUnknown) as error:
                log.warning("cannot load %d wallets yet: %s", len(batch), error)
                await asyncio.sleep(self._backoff.wait_s())
                for actor in batch:
                    self.request(actor, urgent=True)
            except Exception:
                log.exception("loading met a bug; those who waited are failed")
                for actor in batch:
                    self._drop(actor)

    def _gather(self) -> list[WalletActor]:
        batch: list[WalletActor] = []
        for queue in (self._urgent, self._background):
            while queue and len(batch) < self._node.limits.activation_batch:
                actor = next(iter(queue))
                del queue[actor]
                if self._waits(actor):
                    batch.append(actor)
        return batch

    async def _activate(self, batch: Sequence[WalletActor]) -> None:
        """Claim `batch` together; if that cannot be done, one by one."""
        if not batch:
            return
        ownership = self._node.ownership
        terms = [ownership.term(actor.shard) for actor in batch]
        try:
            claims = await self._claim(batch)
        except (LedgerBusy, NotCommitted):
            if len(batch) == 1:
                raise
            for actor in batch:
                await self._activate_alone(actor)
            return
        for actor, term in zip(batch, terms, strict=True):
            actor.term = term
            await self._guarded(actor, self._start(actor, claims.get(actor.org_id)))

    async def _activate_alone(self, actor: WalletActor) -> None:
        await self._guarded(actor, self._activate([actor]))

    async def _guarded(self, actor: WalletActor, loading: Coroutine[None, None, None]) -> None:
        """Load one wallet; whatever is wrong with it harms no other."""
        try:
            await loading
        except LedgerError as error:
            log.warning("cannot load %s yet: %s", actor.org_id, error)
            self.request_after(actor, self._backoff.wait_s())
        except Exception:
            log.exception("%s cannot be loaded", actor.org_id)
            self._drop(actor)

    async def _claim(self, batch: Sequence[WalletActor]) -> dict[str, Claim]:
        """Claim wallets; from another owner, if its time is over, under the epoch it has them."""
        ledger, owner = self._node.ledger, self._node.boot_id
        org_ids = sorted(actor.org_id for actor in batch)
        anew = [actor.org_id for actor in batch if actor.begins_a_term]
        claims = dict(await ledger.activate(org_ids, owner=owner, seen={}, anew=anew))
        over = {
            actor.org_id: claim.epoch
            for actor in batch
            if isinstance(claim := claims.get(actor.org_id), Taken)
            and claim.held_ms >= self._tenure_ms(actor)
        }
        if over:
            claims |= await ledger.activate(sorted(over), owner=owner, seen=over)
        return claims

    def _tenure_ms(self, actor: WalletActor) -> float:
        """How long another owner keeps a wallet: a second at least.

        If our lease has run out, whoever came since then keeps it: that one has the lease.  It
        began its term with a claim, so the ledger knows since when.
        """
        lapsed_ms = self._node.ownership.lapsed_s(actor.shard) * 1000
        return max(self._node.limits.tenure_ms, lapsed_ms)

    async def _start(self, actor: WalletActor, claim: Claim | None) -> None:
        match claim:
            case Loaded():
                committed_seq = await self._committed(actor, claim)
                if self._waits(actor):
                    recovery.loaded(actor, claim, committed_seq=committed_seq)
                else:  # its shard was lost meanwhile
                    self._node.shards.give_up(actor.org_id, claim.epoch)
            case Taken():
                actor.fenced = True
                self._node.stats.fenced("taken")
                self._taken(actor, claim)
            case None:
                self._node.residents.unknown(actor.org_id, self._node.loop_time())
                self._leave(actor, UnknownOrg(actor.org_id))

    @staticmethod
    def _waits(actor: WalletActor) -> bool:
        return actor.phase in (Phase.LOADING, Phase.SUSPECT)

    def _taken(self, actor: WalletActor, taken: Taken) -> None:
        """Another node has the wallet.  If that may well be right, it is asked; else we wait.

        One whose leases we do not see is asked as well, for a while or until it cannot: with two
        Redis, each of which some of the nodes see, every asker would wait for a tenure otherwise.
        """
        ownership = self._node.ownership
        heir, fresh = ownership.live_owner(taken.owner), ownership.fresh(actor.shard)
        if heir and not fresh:
            leave_to(actor, heir)
            return
        tenure_ms = self._node.limits.tenure_ms
        left_s = (tenure_ms - taken.held_ms) / 1000
        if not heir and (left_s > 0 or not fresh) and (rival := ownership.rival(taken.owner)):
            until_s = self._node.loop_time() + RIVAL_S
            self._node.residents.elsewhere(actor.org_id, taken.owner, until_s)
            leave_to(actor, rival)
            return
        soon_s = tenure_ms / 1000 / 4  # it may be given up before its time
        self.request_after(actor, max(min(left_s, soon_s) if fresh else soon_s, TAKEN_PAUSE_S))

    async def _committed(self, actor: WalletActor, loaded: Loaded) -> int:
        """Return up to which row the writes whose answer was lost did happen, or 0."""
        entry = recovery.in_question(actor, loaded.seq)
        if entry is None:
            return 0
        [found] = await self._node.ledger.probe([Probe(entry.org_id, entry.key, "")])
        stored = found.entry
        ours = stored is not None and (stored.seq, stored.epoch) == (entry.seq, entry.epoch)
        self._node.stats.fenced("lost_answer_committed" if ours else "lost_answer_not_committed")
        return entry.seq if ours else 0

    def _drop(self, actor: WalletActor) -> None:
        """Give up on a wallet that cannot be loaded; its next ask tries again."""
        error = LedgerFault("This wallet cannot be loaded; nothing was written.")
        if actor.in_flight:
            error = LedgerFault("This wallet cannot be loaded; what was asked may be written.")
        self._leave(actor, error)

    def _leave(self, actor: WalletActor, error: Exception) -> None:
        self._node.residents.leave(actor)
        unwanted.in_doubt(actor)
        actor.fail_all(error)
        unwanted.go_on_anew(actor)
