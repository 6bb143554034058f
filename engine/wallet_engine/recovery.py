"""What an actor does when a write went wrong, and when it is loaded after that, or at first."""

from typing import TYPE_CHECKING

from . import care, farewell, unwanted
from .commands import Release
from .errors import LedgerFault, NotMine
from .journal import Replay
from .loading import wallet_of
from .mailbox import Held, Phase
from .ports import Loaded
from .reasons import FLEET_STOPPED, SUSPENDED
from .wallet import Entry, Wallet

if TYPE_CHECKING:
    from .actor import WalletActor

POISONED_DELAY_S = 1.0
"""How long to wait before the engine asks again for what the ledger refused to store."""


def abandon(actor: "WalletActor", error: Exception) -> None:
    """Nothing pending was written nor will be: tell callers so, and reload.

    What the engine asked of itself is decided again after that: nobody else would ask.
    """
    if actor.phase is Phase.LEAVING:
        farewell.turn_away(actor, NotMine(actor.heir))
        return
    actor.drop_pending()
    envelopes = [held.envelope for held in actor.held]
    actor.held = []
    for envelope in envelopes:
        envelope.fail(error)
    actor.mailbox[:0] = [envelope for envelope in envelopes if envelope.reply is None]
    actor.doubt()


def poisoned(actor: "WalletActor", entry: Entry) -> None:
    """The ledger refuses this one entry: its caller hears so, the rest is decided again.

    If the engine itself asked, a call may go on that must end: it is made to end anyway.
    """
    delay_s = 0.0
    for held in actor.held:
        if held.decided is entry:
            held.envelope.fail(LedgerFault("The ledger refused to store this decision."))
            unwanted.refused(actor, held.envelope)
            if held.envelope.reply is None and not isinstance(held.envelope.ask, Release):
                delay_s = POISONED_DELAY_S
    actor.held = [held for held in actor.held if held.decided is not entry]
    if entry.type == "call_kill" and entry.hold is not None:
        care.make_end(actor, entry.hold, entry.at_ms)
    if actor.phase is Phase.LEAVING:
        farewell.turn_away(actor, NotMine(actor.heir))
    else:
        actor.doubt(delay_s=delay_s)


def in_question(actor: "WalletActor", stored_seq: int) -> Entry | None:
    """Return the entry whose presence in the ledger settles what became of a lost write.

    `stored_seq` is the wallet's row now: the last in-flight entry that can be in it.
    """
    for entry in reversed(actor.pending[: actor.in_flight]):
        if entry.seq <= stored_seq:
            return entry
    return None


def loaded(actor: "WalletActor", loaded: Loaded, *, committed_seq: int) -> None:
    """Start, or start again, from what is stored.

    What was in flight and turned out to be committed (up to `committed_seq`) is released
    from memory: its callers never learn.  All else is decided again, in its order; also what
    was refused or read on a state after which somebody else wrote.
    """
    outdated: list[Held] = []
    if committed_seq < loaded.seq and actor.phase is not Phase.LEAVING:
        outdated = [one for one in actor.held if _only_saw(one, committed_seq)]
        actor.held = [one for one in actor.held if not _only_saw(one, committed_seq)]
    if count := sum(1 for entry in actor.pending if entry.seq <= committed_seq):
        actor.durable(count)
    actor.held[:0] = outdated
    actor.drop_pending()
    before = actor.wallet
    actor.wallet = wallet_of(
        loaded, before, defaults=actor.node.defaults, node_id=actor.node.node_id
    )
    if before is not None:
        known = before.holds.keys() | actor.memory.ended.keys()  # ended, perhaps not durably
        for call_id in known - actor.wallet.holds.keys():
            actor.node.timers.drop(actor.org_id, call_id)
            actor.node.effects.call_left(actor.org_id, call_id)
        actor.takers = {c: them for c, them in actor.takers.items() if c in actor.wallet.holds}
        if actor.fenced:
            unwanted.replaced(actor)
    actor.durable_seq = loaded.seq
    actor.fenced = False
    actor.node.residents.not_elsewhere(actor.org_id)
    actor.memory.restart(whole=loaded.seq == 0)
    waiting = actor.all_waiting()
    actor.phase = Phase.ACTIVE
    _look_after_calls(actor, actor.wallet)
    if before is None:
        care.try_late_calls(actor)
    for envelope in waiting:
        envelope.found = None
        actor.probing += 1
        actor.node.prober.ask(actor, envelope)
    unwanted.go_on_anew(actor)


def _look_after_calls(actor: "WalletActor", wallet: Wallet) -> None:
    """Set the timers of the live calls that were loaded, and end those that must end."""
    for hold in list(wallet.holds.values()):
        actor.node.timers.arm(actor.org_id, hold, wallet.started_ms(hold))
        if hold.killed:
            care.make_end(actor, hold, actor.node.clock.now_ms())
    if wallet.suspended or actor.node.fleet_ends_calls:
        reason = SUSPENDED if wallet.suspended else FLEET_STOPPED
        care.end_live_calls(actor, reason)
    actor.told = {c: reason for c, reason in actor.told.items() if c in wallet.holds}
    for call_id, reason in actor.told.items():
        care.end(actor, call_id, reason)


def _only_saw(held: Held, seq: int) -> bool:
    """Whether something was refused or read on a state up to `seq`, and nothing was written."""
    return held.seq <= seq and not isinstance(held.decided, (Entry, Replay))
