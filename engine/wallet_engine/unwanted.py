"""Holds of callers who were told no: given back, unless a repeat is told yes.

Whether a repeat wants it is asked in the order in which everything is decided: a repeat that
came before, wherever it waits, is decided before.
"""

from functools import partial
from typing import TYPE_CHECKING

from .commands import Ask, Release
from .journal import Answer, Replay
from .mailbox import Decided, Phase

if TYPE_CHECKING:
    from .actor import WalletActor

RELEASED_LATE = "the caller was told no before the hold was durable"


def note(actor: "WalletActor", call_id: str) -> None:
    """The hold of this call is durable, and its caller was told no."""
    if call_id not in actor.kept:
        actor.late[call_id] = False


def wanted(actor: "WalletActor", call_id: str) -> None:
    """A repeat was told yes."""
    actor.late.pop(call_id, None)
    if actor.wallet is not None and call_id in actor.wallet.holds:
        actor.kept.add(call_id)


def over(actor: "WalletActor", call_id: str) -> None:
    """The hold of this call is no more."""
    actor.late.pop(call_id, None)
    actor.kept.discard(call_id)


def not_heard(actor: "WalletActor", call_id: str) -> None:
    """A repeat stopped waiting as well."""
    if call_id in actor.late:
        actor.late[call_id] = False


def ask(actor: "WalletActor") -> None:
    """Ask about those that nobody has asked about yet.  A wallet that left: its heir is asked."""
    for call_id in [call_id for call_id, asked in actor.late.items() if not asked]:
        release = release_of(actor.org_id, call_id)
        if actor.phase >= Phase.LEAVING:
            del actor.late[call_id]
            actor.node.shards.errand(release)
        else:
            actor.late[call_id] = True
            actor.node.post_own(release, then=partial(_given_back, actor, call_id))


def ask_anew(actor: "WalletActor") -> None:
    """Ask about all of them: whoever wanted one may have been told no by now."""
    actor.late = dict.fromkeys(actor.late, False)
    ask(actor)


def _given_back(actor: "WalletActor", call_id: str, decided: Decided) -> None:
    """It is durable that the hold is no more; or a repeat wants it, which is an answer only."""
    if not isinstance(decided, Answer):
        over(actor, call_id)


def keeps(actor: "WalletActor", ask: Ask) -> bool:
    """Whether `ask` would give back what a repeat was told yes about, or is about to be.

    If that one hears of no yes after all, the hold is given back then.
    """
    if not (isinstance(ask, Release) and ask.if_unwanted):
        return False
    call_id = ask.call_id
    if call_id in actor.kept:
        return True
    repeats = (held.envelope for held in actor.held if isinstance(held.decided, Replay))
    if any(repeat.call_id == call_id and not repeat.given_up for repeat in repeats):
        actor.late[call_id] = True
        return True
    return False


def release_of(org_id: str, call_id: str) -> Release:
    """Return the command that gives a hold back."""
    return Release(
        org_id=org_id, call_id=call_id, reason=RELEASED_LATE, strict=False, if_unwanted=True
    )
