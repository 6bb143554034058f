"""How a wallet leaves this node.

Nothing more is decided, what is under way settles, and the rest is told to ask the heir, who
also looks after the live calls from then on.
"""

from typing import TYPE_CHECKING

from . import care, unwanted
from .commands import Kill
from .errors import DeadlinePassed, NotMine
from .mailbox import Envelope, Phase

if TYPE_CHECKING:
    from .actor import WalletActor


def leave_to(actor: "WalletActor", heir: str) -> None:
    """The wallet is another node's, `heir` by its token: go."""
    if actor.phase >= Phase.LEAVING:
        return
    was = actor.phase
    actor.heir = heir
    actor.phase = Phase.LEAVING
    _let_go_of_calls(actor)
    actor.node.undurable -= len(actor.pending) - actor.in_flight
    del actor.pending[actor.in_flight :]
    last_seq = actor.pending[-1].seq if actor.pending else actor.durable_seq
    unsettled = [held.envelope for held in actor.held if held.seq > last_seq]
    actor.held = [held for held in actor.held if held.seq <= last_seq]
    waiting, actor.mailbox = actor.mailbox, []
    for envelope in (*unsettled, *waiting):
        send_away(actor, envelope, NotMine(heir))
    unwanted.go_on_anew(actor)
    if was is Phase.SUSPECT:
        in_doubt(actor)
    else:
        gone_if_settled(actor)


def in_doubt(actor: "WalletActor") -> None:
    """The answer to the last write was lost: whoever waits for it learns more by a retry.

    Who opens a hold only for a caller who waits is told no: what may be held is given back.
    """
    unwanted.in_doubt(actor)
    turn_away(actor, DeadlinePassed("No answer in time; a retry with the same key tells more."))


def turn_away(actor: "WalletActor", error: Exception) -> None:
    """Nothing more will come of what was under way: tell those who wait for it, and go."""
    actor.drop_pending()
    held, actor.held = actor.held, []
    for one in held:
        send_away(actor, one.envelope, error)
    unwanted.go_on(actor)
    gone_if_settled(actor)


def send_away(actor: "WalletActor", envelope: Envelope, error: Exception) -> None:
    """Tell who waits; what the engine itself wants ended, nobody else would ask for again."""
    envelope.fail(error)
    ask = envelope.ask
    if envelope.reply is None and isinstance(ask, Kill) and not care.is_asked_again(ask):
        actor.node.shards.errand(ask)


def gone_if_settled(actor: "WalletActor") -> None:
    """Go, once nothing is under way any more."""
    if not actor.pending:
        actor.node.residents.leave(actor)
        if actor.wallet is not None:
            actor.node.shards.give_up(actor.org_id, actor.wallet.epoch)


def _let_go_of_calls(actor: "WalletActor") -> None:
    node = actor.node
    if actor.wallet is None:
        return
    for call_id in (*actor.wallet.holds, *actor.memory.ended):  # ended, perhaps not durably
        node.timers.drop(actor.org_id, call_id)
        node.effects.call_left(actor.org_id, call_id)
