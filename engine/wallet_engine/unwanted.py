"""Holds of callers who were told no: given back, unless a repeat is told yes.

Whether a repeat wants it is asked in the order in which everything is decided: a repeat that
came before, wherever it waits, is decided before.
"""

from typing import TYPE_CHECKING

from .commands import Release
from .journal import Replay
from .mailbox import Envelope, GiveBack, Phase

if TYPE_CHECKING:
    from .actor import WalletActor

RELEASED_LATE = "the caller was told no before the hold was durable"


def note(actor: "WalletActor", call_id: str) -> None:
    """The hold of this call is durable, and its caller was told no."""
    actor.late[call_id] = False


def wanted(actor: "WalletActor", call_id: str) -> None:
    """A repeat was told yes."""
    actor.late.pop(call_id, None)


def not_heard(actor: "WalletActor", call_id: str) -> None:
    """A repeat stopped waiting as well."""
    if call_id in actor.late:
        actor.late[call_id] = False


def ask(actor: "WalletActor") -> None:
    """Ask about those that nobody has asked about yet.  A wallet that left: its heir is asked."""
    for call_id in [call_id for call_id, asked in actor.late.items() if not asked]:
        if actor.phase >= Phase.LEAVING:
            del actor.late[call_id]
            actor.node.shards.errand(release_of(actor, call_id))
        else:
            actor.late[call_id] = True
            actor.node.post_own(GiveBack(org_id=actor.org_id, call_id=call_id))


def ask_anew(actor: "WalletActor") -> None:
    """Ask about all of them: whoever wanted one may have been told no by now."""
    actor.late = dict.fromkeys(actor.late, False)
    ask(actor)


def decide(actor: "WalletActor", call_id: str, asked: Envelope | None) -> None:
    """Give a hold back, unless a repeat was told yes or is about to be."""
    repeats = (held for held in actor.held if isinstance(held.decided, Replay))
    if call_id not in actor.late or any(
        held.envelope.call_id == call_id and not held.envelope.given_up for held in repeats
    ):
        return
    del actor.late[call_id]
    now_s = actor.node.loop_time()
    envelope = Envelope(
        release_of(actor, call_id), posted_s=now_s, deadline_s=float("inf"), reply=None
    )
    envelope.found = None if asked is None else asked.found
    actor.decide(envelope)


def release_of(actor: "WalletActor", call_id: str) -> Release:
    """Return the command that gives a hold back."""
    return Release(org_id=actor.org_id, call_id=call_id, reason=RELEASED_LATE, strict=False)
