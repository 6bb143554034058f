"""The actor: one wallet, decided in memory, its answers held until they are durable.

It has no task of its own.  Whoever posts runs the decision inline; there is no `await`
between reading the state and deciding, so the event loop serialises all decisions.

    post ─▶ (unknown key or call? probe first) ─▶ decide ─▶ speculative state ─▶ lane
                                                     └─▶ answer held ─▶ durable ─▶ released
"""

import logging
from typing import TYPE_CHECKING

from . import care
from .commands import Query, Release, Reserve
from .errors import DeadlinePassed, LedgerFault, WalletError
from .journal import Answer, Outcome, Replay, entry_answer
from .loading import wallet_of
from .mailbox import Decided, Due, Envelope, Held, Phase
from .memory import Memory
from .ports import Loaded, WalletBatch
from .reading import read
from .reasons import FLEET_STOPPED, SUSPENDED
from .rules import decide
from .wallet import Entry, Wallet, evolve

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

POISONED_DELAY_S = 1.0
"""How long to wait before the engine asks again for what the ledger refused to store."""

RELEASED_LATE = "the caller was told no before the hold was durable"


class WalletActor:
    """Owns one wallet.

    `pending` are entries not yet durable, in order; the first `in_flight` of them are with
    the ledger.  `held` are answers not yet released.  `late` are calls whose hold became
    durable for a caller who was told no, to be given back unless a repeat is told yes; `told`
    are calls that were told to end before that could be journaled, with the reason.
    """

    __slots__ = (
        "durable_seq", "held", "in_flight", "late", "mailbox", "memory", "node", "org_id",
        "pending", "phase", "probing", "told", "used_s", "wallet",
    )  # fmt: skip

    def __init__(self, org_id: str, node: "Node") -> None:
        self.org_id = org_id
        self.node = node
        self.phase = Phase.LOADING
        self.wallet: Wallet | None = None
        self.memory = Memory(node.limits.remembered_keys)
        self.mailbox: list[Envelope] = []
        self.pending: list[Entry] = []
        self.held: list[Held] = []
        self.late: dict[str, None] = {}
        self.told: dict[str, str] = {}
        self.in_flight = 0
        self.probing = 0
        self.durable_seq = 0
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

    def _state(self) -> Wallet:
        assert self.wallet is not None, "only a loaded wallet decides"
        return self.wallet

    # --- deciding ---------------------------------------------------------------------------

    def post(self, envelope: Envelope) -> None:
        """Decide `envelope` now, or as soon as what it needs is known."""
        if self.phase is not Phase.ACTIVE:
            self.mailbox.append(envelope)
        elif self.memory.knows(envelope, self._state()):
            self._decide(envelope)
        else:
            self.probing += 1
            self.node.prober.ask(self, envelope)

    def probed(self, envelope: Envelope) -> None:
        """Decide `envelope`, whose probe was answered under the epoch it was asked in.

        If the answer shows what only another owner can have written, memory is out of date.
        """
        self.probing -= 1
        if self.phase is not Phase.ACTIVE:
            self.mailbox.append(envelope)
            return
        wallet = self._state()
        if envelope.epoch_at_probe == wallet.epoch:
            if self.memory.contradicts(envelope, wallet):
                self.node.stats.fenced("probe")
                self.mailbox.append(envelope)
                self.doubt()
                return
            self._decide(envelope)
        else:
            envelope.found = None
            self.post(envelope)

    def _decide(self, envelope: Envelope) -> None:
        """Decide one ask on the speculative state; the answer waits for all it rests on."""
        wallet = self._state()
        if envelope.given_up:
            return
        if self.node.loop_time() > envelope.deadline_s:
            envelope.fail(DeadlinePassed("Nothing was decided in time."))
            return
        ask = envelope.ask
        try:
            if isinstance(ask, Query):
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
            self._give_back()

    def _release(self, held: Held) -> None:
        """Let one answer go: all it rests on is durable."""
        envelope, decided = held.envelope, held.decided
        if envelope.then is not None:
            envelope.then(decided)
        if envelope.reply is None:
            return
        ask = envelope.ask
        if envelope.reply.done():
            if isinstance(ask, Reserve) and ask.give_back and isinstance(decided, Entry):
                self.late[ask.call_id] = None
            return
        if isinstance(ask, Reserve) and isinstance(decided, Replay):
            self.late.pop(ask.call_id, None)
        answer = held.answer()
        envelope.reply.set_result(answer)
        self.node.count_answer(envelope, answer)

    def _give_back(self) -> None:
        """Release the holds of callers who were told no, unless a repeat still waits for one."""
        if not self.late:
            return
        wanted = {
            held.envelope.call_id
            for held in self.held
            if isinstance(held.decided, Replay) and not held.envelope.given_up
        }
        unwanted = [call_id for call_id in self.late if call_id not in wanted]
        self.late = {call_id: None for call_id in self.late if call_id in wanted}
        for call_id in unwanted:
            self.give_back(call_id)

    def give_back(self, call_id: str) -> None:
        """Release the hold of a caller who was told no."""
        release = Release(org_id=self.org_id, call_id=call_id, reason=RELEASED_LATE, strict=False)
        self.node.post_own(release)

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
        self._give_back()
        if self.pending and not self.in_flight:
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

    def abandon(self, error: Exception) -> None:
        """Nothing pending was written nor will be: tell callers so, and reload.

        What the engine asked of itself is decided again after that: nobody else would ask.
        """
        self._drop_pending()
        envelopes = [held.envelope for held in self.held]
        self.held = []
        for envelope in envelopes:
            envelope.fail(error)
        self.mailbox[:0] = [envelope for envelope in envelopes if envelope.reply is None]
        self.doubt()

    def poisoned(self, entry: Entry) -> None:
        """The ledger refuses this one entry: its caller hears so, the rest is decided again.

        If the engine itself asked, a call may go on that must end: it is made to end anyway.
        """
        delay_s = 0.0
        for held in self.held:
            if held.decided is entry:
                held.envelope.fail(LedgerFault("The ledger refused to store this decision."))
                delay_s = 0.0 if held.envelope.reply is not None else POISONED_DELAY_S
        self.held = [held for held in self.held if held.decided is not entry]
        if entry.type == "call_kill" and entry.hold is not None:
            care.make_end(self, entry.hold, entry.at_ms)
        self.doubt(delay_s=delay_s)

    def in_question(self, stored_seq: int) -> Entry | None:
        """Return the entry whose presence in the ledger settles what became of a lost write.

        `stored_seq` is the wallet's row now: the last in-flight entry that can be in it.
        """
        for entry in reversed(self.pending[: self.in_flight]):
            if entry.seq <= stored_seq:
                return entry
        return None

    def loaded(self, loaded: Loaded, *, committed_seq: int) -> None:
        """Start, or start again, from what is stored.

        What was in flight and turned out to be committed (up to `committed_seq`) is released
        from memory: its callers never learn.  All else is decided again, in its order.
        """
        if committed_seq:
            self.durable(sum(1 for entry in self.pending if entry.seq <= committed_seq))
        self._drop_pending()
        before = self.wallet
        self.wallet = wallet_of(
            loaded, before, defaults=self.node.defaults, node_id=self.node.node_id
        )
        if before is not None:
            for call_id in before.holds.keys() - self.wallet.holds.keys():
                self.node.timers.drop(self.org_id, call_id)
        self.durable_seq = loaded.seq
        self.memory.restart(whole=loaded.seq == 0)
        waiting = self._all_waiting()
        self.phase = Phase.ACTIVE
        for hold in loaded.holds:
            self.node.timers.arm(self.org_id, hold, self.wallet.started_ms(hold))
            if hold.killed:
                care.make_end(self, hold, self.node.clock.now_ms())
        if self.wallet.suspended or self.node.fleet_ends_calls:
            reason = SUSPENDED if self.wallet.suspended else FLEET_STOPPED
            care.end_live_calls(self, reason)
        self.told = {c: reason for c, reason in self.told.items() if c in self.wallet.holds}
        for call_id, reason in self.told.items():
            care.end(self, call_id, reason)
        for envelope in waiting:
            envelope.found = None
            self.probing += 1
            self.node.prober.ask(self, envelope)

    def fail_all(self, error: Exception) -> None:
        """Fail everyone who waits here."""
        self._drop_pending()
        for envelope in self._all_waiting():
            envelope.fail(error)

    def purge(self) -> None:
        """Forget those in the mailbox who gave up."""
        self.mailbox = [envelope for envelope in self.mailbox if not envelope.given_up]

    def _all_waiting(self) -> list[Envelope]:
        """Take everyone who waits here, in order; timers are armed anew and ask again."""
        waiting = [held.envelope for held in self.held] + self.mailbox
        self.held, self.mailbox = [], []
        return [envelope for envelope in waiting if not isinstance(envelope.ask, Due)]

    def _drop_pending(self) -> None:
        self.node.undurable -= len(self.pending)
        self.pending.clear()
        self.in_flight = 0
