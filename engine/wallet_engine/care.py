"""What an actor does for its live calls: set off effects, extend, end, let expire.

Only durable entries have effects.  Whatever is decided here goes through the mailbox like any
other command.
"""

from typing import TYPE_CHECKING

from . import deadlines, unwanted
from .commands import Ask, Expire, Kill, Prolong, gives_back
from .mailbox import Decided, Due, Phase
from .reasons import CAP_REACHED, OUT_OF_MONEY, SUSPENDED
from .wallet import Entry, Hold

if TYPE_CHECKING:
    from .actor import WalletActor
    from .wallet import Wallet


def follow(actor: "WalletActor", entry: Entry) -> None:
    """Set off what follows from an entry that is durable now, and only now."""
    node, org_id, hold = actor.node, actor.org_id, entry.hold
    node.effects.decided(entry)
    if actor.phase is Phase.LEAVING:  # its heir looks after the live calls
        if hold is not None and not hold.active:
            node.effects.call_ended(org_id, hold.call_id)
        return
    if hold is not None and hold.active:
        node.timers.arm(org_id, hold, _wallet(actor).started_ms(hold))
    elif hold is not None and entry.type != "call_kill":
        node.timers.drop(org_id, hold.call_id)
        actor.told.pop(hold.call_id, None)
        unwanted.over(actor, hold.call_id)
        _wallet(actor).started.pop(hold.call_id, None)
        node.effects.call_ended(org_id, hold.call_id)
    if entry.type == "call_kill":
        assert hold is not None, "a kill names its call"
        make_end(actor, hold, entry.at_ms)
    elif entry.type == "suspend":
        _end_those_before(actor, entry)
    elif entry.amount_pence > 0:
        try_late_calls(actor)


def make_end(actor: "WalletActor", hold: Hold, told_ms: int) -> None:
    """Make a call end that was durably told to.  Calls of other systems end themselves."""
    if not (hold.active and hold.managed and hold.killed):
        return
    since_ms = told_ms
    if hold.kill_reason in (OUT_OF_MONEY, CAP_REACHED):
        since_ms = min(told_ms, deadlines.ends_ms(hold, _wallet(actor).started_ms(hold)))
    actor.node.effects.call_killed(actor.org_id, hold.call_id, hold.kill_reason, since_ms=since_ms)


def end_live_calls(actor: "WalletActor", reason: str) -> int:
    """Tell every live call of a wallet to end; return how many were."""
    if actor.wallet is None:
        return 0
    living = [hold for hold in actor.wallet.holds.values() if not hold.killed]
    for hold in living:
        end(actor, hold.call_id, reason)
    return len(living)


def _end_those_before(actor: "WalletActor", suspend: Entry) -> None:
    """End the calls that a suspension found; a call admitted after it was lifted goes on."""
    wallet = _wallet(actor)
    for hold in list(wallet.holds.values()):
        if not hold.killed and (wallet.suspended or hold.opened_ms < suspend.at_ms):
            end(actor, hold.call_id, SUSPENDED)


def is_asked_again(ask: Ask) -> bool:
    """Whether what the engine asks of itself is asked again after a reload, if it still must be.

    By the timers, which are armed anew, or for what is to be given back.
    """
    if isinstance(ask, Kill):
        return ask.client_key is None and ask.reason in (OUT_OF_MONEY, CAP_REACHED)
    return isinstance(ask, Due) or gives_back(ask)


def look_after(actor: "WalletActor", call_id: str, now_ms: int) -> None:
    """Do what a due hold needs: extend it, end its call, or let it expire."""
    wallet = _wallet(actor)
    hold = wallet.holds.get(call_id)
    if hold is None:  # over, here or elsewhere; if that is not durable, a reload arms it anew
        actor.node.timers.drop(actor.org_id, call_id)
        return
    ends_ms = deadlines.ends_ms(hold, wallet.started_ms(hold))
    if now_ms >= deadlines.expiry_ms(hold, wallet.started_ms(hold)):
        actor.node.post_own(Expire(org_id=actor.org_id, call_id=call_id))
    elif call_id in actor.told and not hold.killed:
        end(actor, call_id, actor.told[call_id])
    elif not hold.managed or hold.killed:
        arm(actor, call_id)
    elif deadlines.may_grow(hold) and now_ms >= ends_ms - deadlines.EXTEND_BEFORE_MS:
        actor.node.post_own(
            Prolong(org_id=actor.org_id, call_id=call_id),
            then=lambda decided: _prolonged(actor, call_id, decided),
        )
    elif now_ms >= ends_ms:
        end(actor, call_id, CAP_REACHED)
    else:
        arm(actor, call_id)


def arm(actor: "WalletActor", call_id: str) -> None:
    """Set the timer of a live hold anew, unless it is about to be: `follow` does it then."""
    wallet = _wallet(actor)
    hold = wallet.holds.get(call_id)
    if hold is not None and not any(entry.call_id == call_id for entry in actor.pending):
        actor.node.timers.arm(actor.org_id, hold, wallet.started_ms(hold))


def _prolonged(actor: "WalletActor", call_id: str, decided: Decided) -> None:
    """Hear what became of an extension; without one, a call ends with its paid time."""
    wallet = _wallet(actor)
    hold = wallet.holds.get(call_id)
    if isinstance(decided, Entry) or hold is None or hold.killed:
        return
    ends_ms = deadlines.ends_ms(hold, wallet.started_ms(hold))
    if actor.node.clock.now_ms() >= ends_ms:
        end(actor, call_id, OUT_OF_MONEY)
    else:
        actor.node.effects.call_final(actor.org_id, call_id, ends_ms)
        arm(actor, call_id)


def try_late_calls(actor: "WalletActor") -> None:
    """Try at once to extend calls in their last seconds: money came in, or the node is a new one.

    A node that died may not have made its first attempt.
    """
    wallet = _wallet(actor)
    now_ms = actor.node.clock.now_ms()
    for hold in list(wallet.holds.values()):
        late_ms = deadlines.ends_ms(hold, wallet.started_ms(hold)) - deadlines.EXTEND_BEFORE_MS
        if hold.managed and not hold.killed and now_ms >= late_ms:
            actor.node.post_own(Due(org_id=actor.org_id, call_id=hold.call_id))


def end(actor: "WalletActor", call_id: str, reason: str) -> None:
    """Tell one call to end, unless it is over."""
    if call_id in _wallet(actor).holds:
        kill = Kill(org_id=actor.org_id, call_id=call_id, reason=reason, strict=False)
        actor.node.post_own(kill)


def _wallet(actor: "WalletActor") -> "Wallet":
    assert actor.wallet is not None, "only a loaded wallet has calls"
    return actor.wallet
