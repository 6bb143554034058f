"""Mechanisms of the engine, each taken out: the oracle must notice, or it proves nothing.

They are taken out here, by a patched method or a faulty adapter; the product has no such flag.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from wallet_engine import actor as actor_module
from wallet_engine import care, unwanted
from wallet_engine.activator import Activator
from wallet_engine.actor import WalletActor
from wallet_engine.commands import Command
from wallet_engine.errors import LedgerBusy
from wallet_engine.journal import Answer, Refusal
from wallet_engine.lane import CommitLane, Sent
from wallet_engine.mailbox import Decided, Envelope, Held, Phase
from wallet_engine.memory import Memory
from wallet_engine.memory_ledger import MemoryLedger, Row
from wallet_engine.node import Node
from wallet_engine.ports import Claim, WalletBatch
from wallet_engine.rules import Decision, Facts, decide
from wallet_engine.shards import Shards
from wallet_engine.wallet import Hold, Wallet

Patches = list[tuple[object, str, Any]]


class Ablation(NamedTuple):
    """A mechanism, and how it is taken out."""

    mechanism: str
    patches: Callable[[], Patches]

    @contextmanager
    def without(self) -> Iterator[None]:
        """Have the engine do without the mechanism for as long as the block runs."""
        with ExitStack() as stack:
            for owner, name, instead in self.patches():
                stack.enter_context(mock.patch.object(owner, name, instead))
            yield


def _no_bump_no_seq() -> Patches:
    bump = MemoryLedger._claim

    def claim(self: MemoryLedger, org_id: str, row: Row, owner: str, seen_epoch: int) -> Claim:
        again = row.owner == owner
        claimed = bump(self, org_id, row, owner, seen_epoch)
        if again:
            row.epoch -= 1
            claimed = bump(self, org_id, row, owner, seen_epoch)
            row.epoch -= 1
            object.__setattr__(claimed, "epoch", row.epoch)
        return claimed

    def matches(self: MemoryLedger, batch: WalletBatch) -> bool:
        row = self.rows.get(batch.org_id)
        return row is not None and (row.epoch, row.owner) == (batch.epoch, batch.owner)

    return [(MemoryLedger, "_claim", claim), (MemoryLedger, "_matches", matches)]


def _reply_before_durable() -> Patches:
    hold = WalletActor.decide

    def decided(self: WalletActor, envelope: Envelope) -> None:
        hold(self, envelope)
        for held in self.held:
            reply = held.envelope.reply
            if held.envelope is envelope and reply is not None and not reply.done():
                reply.set_result(held.answer())

    return [(WalletActor, "decide", decided)]


def _refusal_released_early() -> Patches:
    def hold_back(self: WalletActor, envelope: Envelope, decided: Decided) -> None:
        self._release(Held(envelope, decided, self._state().seq))

    return [(WalletActor, "_hold_back", hold_back)]


def _effect_before_durable() -> Patches:
    hold = WalletActor.decide

    def decided(self: WalletActor, envelope: Envelope) -> None:
        before = len(self.pending)
        hold(self, envelope)
        for entry in self.pending[before:]:
            care.follow(self, entry)

    return [(WalletActor, "decide", decided)]


def _write_cancelled_with_its_caller() -> Patches:
    """The statement is cancelled, and taken for not executed."""
    write, statements = CommitLane._write, dict[Node, "asyncio.Task[None]"]()

    async def written(self: CommitLane, sent: Sequence[Sent]) -> None:
        statement = statements[self._node] = asyncio.create_task(write(self, sent))
        await asyncio.wait((statement,))
        if statement.cancelled():
            self._give_up(sent, LedgerBusy("the statement was cancelled"))

    def told_nothing(
        self: Node, actor: WalletActor, _: Command, reply: "asyncio.Future[Answer]"
    ) -> None:
        sent_seq = actor.pending[actor.in_flight - 1].seq if actor.in_flight else 0
        waits = [held for held in actor.held if held.seq <= sent_seq]
        if self in statements and any(held.envelope.reply is reply for held in waits):
            statements[self].cancel()

    return [(CommitLane, "_write", written), (Node, "_told_nothing", told_nothing)]


def _no_sweep() -> Patches:
    async def sweep(_: Shards) -> None:
        """Look for nothing."""

    return [(Shards, "_sweep", sweep)]


def _holds_not_coalesced() -> Patches:
    def holds(self: WalletBatch) -> dict[str, Hold]:
        found: dict[str, Hold] = {}
        for entry in self.entries:
            if entry.hold is not None:
                found.setdefault(entry.hold.call_id, entry.hold)
        return found

    return [(WalletBatch, "holds", holds)]


def _lost_write_not_looked_for() -> Patches:
    async def committed(*_: object) -> int:
        return 0

    return [(Activator, "_committed", committed)]


def _stale_probe_believed() -> Patches:
    def probed(self: WalletActor, envelope: Envelope) -> None:
        self.probing -= 1
        if self.phase is Phase.ACTIVE:
            self.decide(envelope)
        else:
            self.mailbox.append(envelope)

    return [(WalletActor, "probed", probed)]


def _nothing_given_back() -> Patches:
    return [(unwanted, "go_on", lambda *_: None)]


def _refusals_not_decided_again() -> Patches:
    take = WalletActor.all_waiting

    def all_waiting(self: WalletActor) -> list[Envelope]:
        for held in self.held:
            reply = held.envelope.reply
            if isinstance(held.decided, Refusal) and reply is not None and not reply.done():
                reply.set_result(held.answer())
        return take(self)

    return [(WalletActor, "all_waiting", all_waiting)]


def _time_goes_back() -> Patches:
    def decided(wallet: Wallet, command: Command, facts: Facts, now_ms: int) -> Decision:
        last_ms, wallet.last_ms = wallet.last_ms, 0
        try:
            return decide(wallet, command, facts, now_ms)
        finally:
            wallet.last_ms = last_ms

    return [(actor_module, "decide", decided)]


def _undurable_keys_forgotten() -> Patches:
    def trim(self: Memory, capacity: int) -> None:
        while len(self.entries) > min(capacity, 1):
            del self.entries[next(iter(self.entries))]
            self.whole = False

    return [(Memory, "_trim", trim), (Memory, "pin", lambda *_: None)]


ABLATIONS = (
    Ablation("a doubted wallet's epoch is bumped, and its seq compared", _no_bump_no_seq),
    Ablation("no success leaves before it is durable", _reply_before_durable),
    Ablation(
        "an unknown key or call is probed before it is decided",
        lambda: [(Memory, "knows", lambda *_: True)],
    ),
    Ablation("no refusal or read leaves before what it saw is durable", _refusal_released_early),
    Ablation("no effect comes before its entry is durable", _effect_before_durable),
    Ablation("a caller never cancels a write", _write_cancelled_with_its_caller),
    Ablation("deadlines are swept from the ledger", _no_sweep),
    Ablation("holds are coalesced per statement", _holds_not_coalesced),
    Ablation("a lost write is looked for before it is decided again", _lost_write_not_looked_for),
    Ablation("a probe counts only under the epoch it was asked in", _stale_probe_believed),
    Ablation("a hold is given back if its caller was told no", _nothing_given_back),
    Ablation("refusals are decided again with what they saw", _refusals_not_decided_again),
    Ablation("time never goes back for a wallet", _time_goes_back),
    Ablation("what is not durable is never forgotten", _undurable_keys_forgotten),
    Ablation(
        "an owner who may have been replaced confirms its epoch",
        lambda: [(WalletActor, "sure", True)],
    ),
    Ablation(
        "a wallet stays with its owner for a second at least",
        lambda: [(Activator, "_tenure_ms", lambda *_: 0.0)],
    ),
)
