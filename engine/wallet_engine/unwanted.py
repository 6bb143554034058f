"""Holds of callers who were told no: given back, unless another attempt was told yes.

An attempt is one asking for a hold; a repeat is another one.  Which of them were told yes is
noted for each live hold, so one that did not hear it is taken from them, and with the last one
the hold goes.  All that is decided in the order of the wallet: a repeat that came before,
wherever it waits, is decided before.

Whom an earlier owner told yes is not known.  A hold of that time goes when the attempt that
opened it did not hear, which its row names, and none of ours did.
"""

from functools import partial
from typing import TYPE_CHECKING

from .commands import Release, Reserve, gives_back
from .journal import Answer, Replay
from .mailbox import Decided, Envelope, Held, Phase
from .wallet import Entry

if TYPE_CHECKING:
    from .actor import WalletActor

RELEASED_LATE = "the caller was told no before the hold was durable"

STEADY = -1
"""Attempts that nobody will call unheard."""

FORMER = -2
"""Those that an earlier owner told yes."""

TAKERS_MAX = 100
"""So many attempts at one hold are told apart; beyond that, it stays."""


def told_yes(actor: "WalletActor", ask: Reserve, decided: Decided) -> None:
    """An attempt hears that there is a hold.  If it is ending, that may yet come to nothing."""
    call_id = ask.call_id
    was_late = actor.late.pop(call_id, None) is not None
    ending = any(entry.call_id == call_id for entry in actor.pending)
    if ending or (actor.wallet is not None and call_id in actor.wallet.holds):
        before = set() if was_late or isinstance(decided, Entry) else {FORMER}
        takers = actor.takers.setdefault(call_id, before)
        takers.add(ask.attempt if ask.attempt and len(takers) < TAKERS_MAX else STEADY)


def told_no(actor: "WalletActor", ask: Reserve, decided: Decided) -> None:
    """An attempt stopped waiting before it could hear of what is durable now."""
    if not ask.give_back:
        told_yes(actor, ask, decided)  # it goes on all the same
    elif isinstance(decided, Entry) or ask.call_id in actor.late:
        note(actor, ask.call_id)


def not_heard(actor: "WalletActor", ask: Reserve) -> None:
    """An attempt was told yes, and did not hear it."""
    actor.takers.get(ask.call_id, set()).discard(ask.attempt)
    note(actor, ask.call_id)
    go_on(actor)


def note(actor: "WalletActor", call_id: str) -> None:
    """The hold of this call may be wanted by nobody."""
    if not actor.takers.get(call_id):
        actor.late[call_id] = False


def over(actor: "WalletActor", call_id: str) -> None:
    """The hold of this call is no more."""
    actor.late.pop(call_id, None)
    actor.takers.pop(call_id, None)


def go_on(actor: "WalletActor") -> None:
    """Ask about those that nobody has asked about yet.  A wallet that left: its heir is asked."""
    for call_id in [call_id for call_id, asked in actor.late.items() if not asked]:
        if any(_wants(held, call_id) for held in actor.held):
            continue  # it is told yes, or stops waiting, before anybody could do otherwise
        release = release_of(actor.org_id, call_id)
        if actor.phase >= Phase.LEAVING:
            del actor.late[call_id]
            actor.node.shards.errand(release)
        else:
            actor.late[call_id] = True
            actor.node.post_own(release, then=partial(_given_back, actor, call_id))


def go_on_anew(actor: "WalletActor") -> None:
    """Ask about all of them: whoever wanted one may have been told no by now.

    An heir does not know of which the last attempt was taken away just now.
    """
    actor.late = dict.fromkeys(actor.late, False)
    if actor.phase >= Phase.LEAVING:
        actor.late |= {call_id: False for call_id, takers in actor.takers.items() if not takers}
    go_on(actor)


def replaced(actor: "WalletActor") -> None:
    """Another owner had the wallet meanwhile: whom it told yes is not known."""
    for takers in filter(None, actor.takers.values()):
        takers.add(FORMER)


def refused(actor: "WalletActor", envelope: Envelope) -> None:
    """What we ask of ourselves cannot be decided, stored or looked up: try again, with pauses."""
    ask = envelope.ask
    ours = envelope.reply is None and isinstance(ask, Release)
    if ours and actor.late.pop(envelope.call_id, None) is not None:
        actor.node.shards.errand(ask)


def in_doubt(actor: "WalletActor") -> None:
    """The holds that may be durable, and of which nobody will hear now."""
    for held in actor.held:
        ask = held.envelope.ask
        if isinstance(ask, Reserve) and ask.give_back and isinstance(held.decided, Entry):
            note(actor, ask.call_id)


def keeps(actor: "WalletActor", envelope: Envelope) -> bool:
    """Whether this would give back what another attempt was told yes about, or is about to be.

    If that one does not hear it after all, the hold is given back then.
    """
    ask = envelope.ask
    if not gives_back(ask):
        return False
    for held in actor.held:
        _hang_up(held, ask)
    takers = actor.takers.get(ask.call_id, set())
    if ask.unheard in takers:
        takers.discard(ask.unheard)
    elif ask.unheard in (0, _opener(actor, envelope)):
        takers.discard(FORMER)
    elif takers or ask.call_id not in actor.takers:
        return True  # it opened nothing, and was told yes by nobody here
    if takers:
        return True
    if any(_wants(held, ask.call_id) for held in actor.held):
        actor.late[ask.call_id] = False
        return True
    return False


def release_of(org_id: str, call_id: str, *, unheard: int = 0) -> Release:
    """Return the command that gives a hold back."""
    return Release(
        org_id=org_id, call_id=call_id, reason=RELEASED_LATE, strict=False, unheard=unheard
    )


def _opener(actor: "WalletActor", envelope: Envelope) -> int:
    """Return the attempt that opened the hold.  There is none: whoever asks for it closes it."""
    row = actor.memory.stored(envelope)
    ask = envelope.ask
    assert isinstance(ask, Release)
    assert ask.unheard is not None
    return ask.unheard if row is None else int(str(row.detail.get("attempt", 0)))


def _given_back(actor: "WalletActor", call_id: str, decided: Decided) -> None:
    """It is durable that the hold is no more; or somebody wants it, which is an answer only."""
    if not isinstance(decided, Answer):
        over(actor, call_id)


def _wants(held: Held, call_id: str) -> bool:
    """Whether somebody waits to be told that there is a hold."""
    ask = held.envelope.ask
    if not isinstance(ask, Reserve) or ask.call_id != call_id:
        return False
    goes_on = not held.envelope.given_up or not ask.give_back
    return goes_on and isinstance(held.decided, (Entry, Replay)) and not ask.dry_run


def _hang_up(held: Held, release: Release) -> None:
    """Have an attempt stop waiting that would not hear the answer."""
    ask, reply = held.envelope.ask, held.envelope.reply
    named = isinstance(ask, Reserve) and ask.attempt and ask.attempt == release.unheard
    if named and held.envelope.call_id == release.call_id and reply is not None:
        reply.cancel()
