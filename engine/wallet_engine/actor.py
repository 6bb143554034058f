"""The actor: one wallet, decided in memory, its answers held until they are durable.

It has no task of its own.  Whoever posts runs the decision inline; there is no `await`
between reading the state and deciding, so the event loop serialises all decisions.

    post ─▶ (unknown key or call? probe first) ─▶ decide ─▶ speculative state ─▶ lane
                                                     └─▶ answer held ─▶ durable ─▶ released
"""

import logging
from typing import TYPE_CHECKING

from . import care, farewell, unwanted
from .commands import Query, Reserve
from .errors import DeadlinePassed, LedgerFault, NotMine, WalletError
from .journal import Answer, Outcome, Replay, entry_answer
from .mailbox import Decided, Envelope, Held, Phase
from .memory import Memory
from .ports import WalletBatch
from .reading import read
from .rules import decide
from .sharding import shard_of
from .wallet import Entry, Wallet, evolve

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)


class WalletActor:
    """Owns one wallet.

    `pending` are entries not yet durable, in order; the first `in_flight` of them are with
    the ledger.  `held` are answers not yet released.  `late` are calls whose hold became
    durable for a caller who was told no, to be given back unless a repeat is told yes, and
    whether that is asked for already; `takers` are the attempts that were told yes, by call.
    `told` are calls that were told to end before that could be journaled, with the reason.
    `fenced`: another owner wrote, so what is known of calls is out of date; `heir` is who owns
    the wallet once this actor is leaving; `term`: the term of its lease in which the wallet
    was claimed.
    """

    __slots__ = (
        "durable_seq", "fenced", "heir", "held", "in_flight", "late", "mailbox", "memory",
        "node", "org_id", "pending", "phase", "probing", "shard", "takers", "term", "told",
        "used_s", "wallet",
    )  # fmt: skip

    def __init__(self, org_id: str, node: "Node") -> None:
        self.org_id = org_id
        self.shard = shard_of(org_id)
        self.node = node
        self.phase = Phase.LOADING
        self.wallet: Wallet | None = None
        self.memory = Memory(node.limits.remembered_keys)
        self.mailbox: list[Envelope] = []
        self.pending: list[Entry] = []
        self.held: list[Held] = []
        self.late: dict[str, bool] = {}
        self.takers: dict[str, set[int]] = {}
        self.told: dict[str, str] = {}
        self.in_flight = 0
        self.probing = 0
        self.durable_seq = 0
        self.fenced = False
        self.heir = ""
        self.term = -1
        self.used_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, so that the wallet may leave memory."""
        return not (self.pending or self.held or self.mailbox or self.probing)

    @property
    def holds_anything(self) -> bool:
        """Whether a live call needs this wallet in memory."""
        return self.wallet is not None and bool(self.wallet.holds)

    @property
    def waiting(self) -> int:
        """How many asks wait here, before or after their decision."""
        return len(self.mailbox) + len(self.held) + self.probing

    @property
    def sure(self) -> bool:
        """Whether nobody else can own this wallet, so that memory alone may answer."""
        ownership = self.node.ownership
        return ownership.fresh(self.shard) and ownership.term(self.shard) == self.term

    @property
    def begins_a_term(self) -> bool:
        """Whether somebody else may have had this wallet before our present lease of it.

        Then it is claimed anew: a claim of somebody else, made before, comes too late after it.
        """
        ownership = self.node.ownership
        return ownership.fresh(self.shard) and ownership.term(self.shard) != self.term

    def is_writing(self, call_id: str) -> bool:
        """Whether the lane waits for an answer that may change what is durable of a call."""
        return any(entry.call_id == call_id for entry in self.pending[: self.in_flight])

    def _state(self) -> Wallet:
        assert self.wallet is not None, "only a loaded wallet decides"
        return self.wallet

    # --- deciding ---------------------------------------------------------------------------

    def post(self, envelope: Envelope) -> None:
        """Decide `envelope` now, or as soon as what it needs is known."""
        if self.phase is not Phase.ACTIVE:
            self._wait(envelope)
        elif self.memory.knows(envelope, self._state()) and self.sure:
            self.decide(envelope)
        elif self.begins_a_term:
            self.mailbox.append(envelope)
            self.doubt()
        else:
            self.probing += 1
            self.node.prober.ask(self, envelope)

    def falls_due(self, call_id: str) -> None:
        """A hold falls due soon, by the ledger: if it is unknown here, another owner opened it."""
        if self.phase is Phase.ACTIVE and not self.memory.has_heard_of(call_id, self._state()):
            self.node.stats.fenced("sweep")
            self.doubt_fenced()

    def _wait(self, envelope: Envelope) -> None:
        """Keep `envelope` until the wallet is loaded; if it is leaving, its heir is to be asked."""
        if self.phase >= Phase.LEAVING:
            farewell.send_away(self, envelope, NotMine(self.heir))
        else:
            self.mailbox.append(envelope)

    def probed(self, envelope: Envelope) -> None:
        """Decide `envelope`, whose probe was answered under the epoch it was asked in.

        The probe also says whether the wallet is still ours: only then was memory up to date.
        """
        self.probing -= 1
        if self.phase is not Phase.ACTIVE:
            self._wait(envelope)
            return
        if envelope.epoch_at_probe == self._state().epoch:
            if envelope.found is not None and not envelope.found.owned:
                self.node.stats.fenced("probe")
                self.mailbox.append(envelope)
                self.doubt_fenced()
                return
            self.decide(envelope)
        else:
            envelope.found = None
            self.post(envelope)

    def decide(self, envelope: Envelope) -> None:
        """Decide one ask on the speculative state; the answer waits for all it rests on."""
        wallet = self._state()
        if envelope.given_up:
            unwanted.go_on(self)
            return
        if self.node.loop_time() > envelope.deadline_s:
            envelope.fail(DeadlinePassed("Nothing was decided in time."))
            return
        ask = envelope.ask
        try:
            if isinstance(ask, Query) or unwanted.keeps(self, envelope):
                self._hold_back(envelope, read(self, ask, envelope))
                return
            facts = self.memory.facts(envelope, wallet, fleet_stopped=self.node.fleet_stopped)
            decision = decide(wallet, ask, facts, self.node.clock.now_ms())
            if isinstance(decision, Entry) and not ask.dry_run:
                evolve(wallet, decision)
        except WalletError as error:
            envelope.fail(error)
            return
        except Exception:
            log.exception("deciding %s of %s met a bug", ask.verb, self.org_id)
            envelope.fail(LedgerFault("This cannot be decided; nothing was written."))
            unwanted.refused(self, envelope)
            self.doubt()
            return
        if not isinstance(decision, Entry):
            self._hold_back(envelope, decision)
        elif ask.dry_run:
            answer = entry_answer(decision, outcome=Outcome.ANSWERED)
            self._hold_back(envelope, Answer(answer.outcome, {**answer.body, "dry_run": True}))
        else:
            self.memory.remember(decision)
            self.node.remembers(self)
            self.pending.append(decision)
            self.held.append(Held(envelope, decision, decision.seq))
            self.node.undurable += 1
            if not self.in_flight:
                self.node.lane.ready(self)

    # --- releasing --------------------------------------------------------------------------

    def _hold_back(self, envelope: Envelope, decided: Decided) -> None:
        seq = self._state().seq
        held = Held(envelope, decided, seq)
        if self.held or seq > self.durable_seq:
            self.held.append(held)
        else:
            self._release(held)
            unwanted.go_on(self)

    def _release(self, held: Held) -> None:
        """Let one answer go: all it rests on is durable."""
        envelope, decided = held.envelope, held.decided
        if envelope.then is not None:
            envelope.then(decided)
        if envelope.reply is None:
            return
        ask = envelope.ask
        if isinstance(ask, Reserve) and isinstance(decided, (Entry, Replay)) and not ask.dry_run:
            heard = unwanted.told_no if envelope.reply.done() else unwanted.told_yes
            heard(self, ask, decided)
        if envelope.reply.done():
            return
        answer = held.answer()
        envelope.reply.set_result(answer)
        self.node.count_answer(envelope, answer)

    def durable(self, count: int) -> None:
        """The first `count` pending entries are durable: release what waited for them."""
        entries = self.pending[:count]
        del self.pending[:count]
        self.in_flight -= count
        self.node.undurable -= count
        self.durable_seq = entries[-1].seq
        self.memory.settle(self.durable_seq)
        for entry in entries:
            try:
                care.follow(self, entry)
            except Exception:
                log.exception("what follows %s seq %d met a bug", self.org_id, entry.seq)
        ready = 0
        for held in self.held:
            if held.seq > self.durable_seq:
                break
            ready += 1
        released = self.held[:ready]
        del self.held[:ready]
        for held in released:
            self._release(held)
        unwanted.go_on(self)
        if self.phase is Phase.LEAVING:
            farewell.gone_if_settled(self)
        elif self.pending and not self.in_flight:
            self.node.lane.ready(self)

    # --- writing and doubting -----------------------------------------------------------------

    def waits_for(self, entry: Entry) -> bool:
        """Whether `entry` is the next one to become durable: else a reload settled it."""
        return self.in_flight > 0 and bool(self.pending) and self.pending[0] is entry

    def take(self, limit: int) -> WalletBatch:
        """Hand the next pending entries, at most `limit`, to the lane."""
        entries = self.pending[:limit]
        self.in_flight = len(entries)
        first = entries[0]
        return WalletBatch(
            org_id=self.org_id,
            epoch=first.epoch,
            owner=self.node.boot_id,
            expected_seq=first.seq - 1,
            balance_before_pence=first.balance_before_pence,
            entries=entries,
        )

    def doubt(self, *, delay_s: float = 0.0) -> None:
        """Memory and ledger may differ: decide nothing more until the wallet is reloaded."""
        if self.phase is Phase.ACTIVE:
            self.phase = Phase.SUSPECT
            self.node.activator.request_after(self, delay_s)
        elif self.phase is Phase.LEAVING:
            farewell.in_doubt(self)

    def doubt_fenced(self) -> None:
        """Another owner wrote: what was not, is not, and what is known of calls is out of date."""
        self.fenced = True
        if self.phase is Phase.LEAVING:
            farewell.turn_away(self, NotMine(self.heir))
        else:
            self.doubt()

    def fail_all(self, error: Exception) -> None:
        """Fail everyone who waits here."""
        self.drop_pending()
        for envelope in self.all_waiting():
            envelope.fail(error)

    def purge(self) -> None:
        """Forget those in the mailbox who gave up."""
        self.mailbox = [envelope for envelope in self.mailbox if not envelope.given_up]

    def all_waiting(self) -> list[Envelope]:
        """Take everyone who waits here, in order, but for what the engine itself asks again."""
        waiting = [held.envelope for held in self.held] + self.mailbox
        self.held, self.mailbox = [], []
        return [it for it in waiting if it.reply is not None or not care.is_asked_again(it.ask)]

    def drop_pending(self) -> None:
        """Forget what was decided and is not durable."""
        self.node.undurable -= len(self.pending)
        self.pending.clear()
        self.in_flight = 0
