"""Questions to a wallet, answered by its actor on the state it has now."""

from typing import TYPE_CHECKING

from . import care, views
from .commands import Ask, Check, Look, NoteStart, Query, Release, Welcome
from .journal import Answer, Outcome
from .mailbox import Due, Envelope, Phase
from .wallet import note_start

if TYPE_CHECKING:
    from .actor import WalletActor


def read_now(actor: "WalletActor", query: Query) -> Answer | None:
    """Answer at once if all that the answer rests on is known and durable, else None."""
    if actor.phase is not Phase.ACTIVE or actor.held or actor.pending or actor.wallet is None:
        return None
    if not actor.sure:
        return None
    if isinstance(query, Check) and query.call_id not in actor.wallet.holds:
        return None
    return read(actor, query, None)


def read(actor: "WalletActor", query: Ask, envelope: Envelope | None) -> Answer:
    """Answer `query` on the speculative state; `envelope` brings what was looked up for it."""
    wallet, node = actor.wallet, actor.node
    assert wallet is not None, "only a loaded wallet is read"
    now_ms = node.clock.now_ms()
    body: dict[str, object] = {}
    match query:
        case Check():
            ends, ended = node.fleet_ends_calls, None
            if envelope is not None:
                ended = actor.memory.facts(envelope, wallet, fleet_stopped=ends).hold
            body = views.check_call(wallet, query, ended, fleet_stopped=ends, now_ms=now_ms)
        case Look():
            body = views.look(wallet, now_ms=now_ms)
        case NoteStart():
            note_start(wallet, query.call_id, min(query.heard_ms, now_ms))
            if (started_ms := wallet.started.get(query.call_id)) is not None:
                node.timers.move(actor.org_id, query.call_id, started_ms)
        case Welcome() | Release():  # the latter of a hold that is wanted after all
            pass
        case Due():
            care.look_after(actor, query.call_id, now_ms)
        case _:
            raise AssertionError(query)
    return Answer(Outcome.ANSWERED, body)
