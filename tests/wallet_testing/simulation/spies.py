"""Spies on the engine: they count the nasty paths, and change nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from wallet_engine import recovery
from wallet_engine.actor import WalletActor
from wallet_engine.commands import Command
from wallet_engine.errors import WalletError
from wallet_engine.journal import Refusal, Replay
from wallet_engine.mailbox import Envelope
from wallet_engine.rules import Facts, decide
from wallet_engine.wallet import Entry

from .tally import Tally


@contextmanager
def spying(tally: Tally) -> Iterator[None]:
    """Count into `tally` what the actors go through, for as long as the block runs."""
    with (
        _before(WalletActor, "_hold_back", lambda *args: _held_back(tally, *args)),
        _before(WalletActor, "decide", lambda *args: _deciding(tally, *args)),
        _before(WalletActor, "all_waiting", lambda actor: _decided_again(tally, actor)),
        _before(recovery, "poisoned", lambda *_: _count(tally, "poison isolated")),
    ):
        yield


@contextmanager
def _before(owner: object, name: str, spy: Any) -> Iterator[None]:  # noqa: ANN401  # any method
    original = getattr(owner, name)

    def spied(*args: Any, **options: Any) -> Any:  # noqa: ANN401  # any method
        spy(*args)
        return original(*args, **options)

    with mock.patch.object(owner, name, spied):
        yield


def _count(tally: Tally, what: str) -> None:
    tally.sometimes[what] += 1


def _held_back(tally: Tally, actor: WalletActor, _: Envelope, decided: object) -> None:
    if isinstance(decided, Replay) and decided.entry.seq > actor.durable_seq:
        _count(tally, "duplicate in flight")


def _deciding(tally: Tally, actor: WalletActor, envelope: Envelope) -> None:
    """A probe found that it happened already: would it be refused by now?"""
    found, ask, wallet = envelope.found, envelope.ask, actor.wallet
    if found is None or found.entry is None or wallet is None or not isinstance(ask, Command):
        return
    try:
        anew = decide(wallet, ask, Facts(None, found.hold), actor.node.clock.now_ms())
    except WalletError:
        return
    if isinstance(anew, Refusal):
        _count(tally, "refusal after probe found a success")


def _decided_again(tally: Tally, actor: WalletActor) -> None:
    for held in actor.held:
        if isinstance(held.decided, Refusal) and not held.envelope.given_up:
            _count(tally, "re-decided refusal")
        elif isinstance(held.decided, Entry):
            _count(tally, "re-decided entry")
