"""The rules without actors: one wallet, its journal, and what may be looked up there.

A command is decided and applied at once, so a test of the rules reads as a story.
"""

from collections.abc import Mapping
from typing import NamedTuple

from wallet_engine.audit import Auditor, StoredWallet
from wallet_engine.commands import CallCommand, Command
from wallet_engine.journal import Answer, Outcome, Refusal, Replay, entry_answer, refusal_answer
from wallet_engine.rules import Decision, Facts, decide
from wallet_engine.settings import Settings
from wallet_engine.wallet import Entry, Hold, Wallet, evolve, note_start

from .builders import CALL, ORG, T0_MS, credit

OPENING = "opening"
"""The key of the credit that a book begins with."""


class Book:
    """Decides, writes, remembers: what the actor and the ledger do, in their simplest form."""

    def __init__(self, balance_pence: int = 0, *, settings: Settings | None = None) -> None:
        known = settings or Settings()
        self.wallet = Wallet(org_id=ORG, settings=known, defaults=known)
        self.journal: list[Entry] = []
        self.keys: dict[str, Entry] = {}
        self.ended: dict[str, Hold] = {}
        self.now_ms = T0_MS
        self.fleet_stopped = False
        if balance_pence:
            self.do(credit(balance_pence, key=OPENING))

    def pass_time(self, *, seconds: int) -> None:
        self.now_ms += seconds * 1000

    def facts(self, command: Command) -> Facts:
        """Return what a probe would find."""
        hold = None
        if isinstance(command, CallCommand) and command.call_id not in self.wallet.holds:
            hold = self.ended.get(command.call_id)
        return Facts(self.keys.get(command.key), hold, self.fleet_stopped)

    def decide(self, command: Command) -> Decision:
        """Decide, and change nothing."""
        return decide(self.wallet, command, self.facts(command), self.now_ms)

    def do(self, command: Command) -> Decision:
        """Decide, and apply what was decided."""
        decision = self.decide(command)
        if isinstance(decision, Entry):
            evolve(self.wallet, decision)
            self.journal.append(decision)
            assert decision.key not in self.keys
            self.keys[decision.key] = decision
            if decision.hold is not None and not decision.hold.active:
                self.ended[decision.hold.call_id] = decision.hold
        return decision

    def ask(self, command: Command) -> Answer:
        """Decide, apply, and return what the asker hears."""
        decision = self.do(command)
        match decision:
            case Entry():
                return entry_answer(decision, outcome=Outcome.CREATED)
            case Replay():
                return entry_answer(decision.entry, outcome=Outcome.REPEATED)
            case Refusal():
                return refusal_answer(decision)

    def start(self, call_id: str = CALL, *, after_seconds: int = 0) -> None:
        """Hear that a call is in progress."""
        note_start(self.wallet, call_id, self.now_ms + after_seconds * 1000)

    def hold_of(self, call_id: str = CALL) -> Hold:
        """Return a call's hold, live or ended."""
        return self.wallet.holds.get(call_id) or self.ended[call_id]

    def audit(self) -> list[str]:
        """Replay the journal, compare with the wallet, and return what does not fit."""
        wallet = self.wallet
        auditor = Auditor(ORG, wallet.defaults, decides=True)
        for entry in self.journal:
            auditor.row(entry)
        stored = StoredWallet(
            org_id=ORG,
            seq=wallet.seq,
            epoch=wallet.epoch,
            balance_pence=wallet.balance_pence,
            held_pence=wallet.held_pence,
            suspended=wallet.suspended,
            overrides=wallet.overrides,
        )
        return auditor.finish(stored, [*wallet.holds.values(), *self.ended.values()])


def entered(decision: Decision) -> Entry:
    """Return the entry, which must have been made."""
    assert isinstance(decision, Entry), decision
    return decision


def refused(decision: Decision) -> Refusal:
    """Return the refusal, which must have been given."""
    assert isinstance(decision, Refusal), decision
    return decision


def replayed(decision: Decision) -> Entry:
    """Return the first decision, which must have been found."""
    assert isinstance(decision, Replay), decision
    return decision.entry


class Seen(NamedTuple):
    """All of a wallet that a decision may change."""

    seq: int
    balance_pence: int
    held_pence: int
    suspended: bool
    last_ms: int
    overrides: Mapping[str, object]
    settings: Settings
    holds: Mapping[str, Hold]


def seen(wallet: Wallet) -> Seen:
    """Return a copy of what a wallet is now."""
    return Seen(
        wallet.seq,
        wallet.balance_pence,
        wallet.held_pence,
        wallet.suspended,
        wallet.last_ms,
        dict(wallet.overrides),
        wallet.settings,
        dict(wallet.holds),
    )
