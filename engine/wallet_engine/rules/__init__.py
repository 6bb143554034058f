"""All rules about money, in one place: what a command does to a wallet, or why not.

`decide` is pure: no clock, no I/O, no randomness; time and whatever else comes from outside
enter as values.  The checks of each command stand flat, in the order of SPEC §3, and after
the last one nothing can fail.  Source: SPEC §3 and §4.

`admission`: a call starts and goes on; `ending`: it ends and is paid; `money`: what comes and
goes without a call; `refusals`: every no.
"""

from typing import assert_never

from wallet_engine.commands import (
    ChangeSettings,
    Command,
    Commit,
    Credit,
    Deduct,
    Expire,
    Extend,
    Kill,
    Prolong,
    Release,
    Reserve,
    Resume,
    Suspend,
)
from wallet_engine.journal import Refusal, RefusalCode, Replay
from wallet_engine.wallet import Entry, Hold, Wallet

from . import admission, ending, money, refusals
from .rows import Decision, Facts

__all__ = ["Decision", "Facts", "decide"]


def decide(wallet: Wallet, command: Command, facts: Facts, now_ms: int) -> Decision:
    """Say what `command` does to `wallet`, changing nothing.

    For the wallet time never goes back, whatever its owners' clocks say.

    Raises:
        InvalidCommand: the command asks for settings that cannot be.
    """
    now_ms = max(now_ms, wallet.last_ms)
    if facts.entry is not None:
        return _repeat(wallet, command, facts.entry, facts.hold, now_ms)
    match command:
        case Reserve():
            return admission.reserve(wallet, command, facts, now_ms)
        case Extend():
            return admission.extend(wallet, command, facts, now_ms)
        case Prolong():
            return admission.prolong(wallet, command, facts, now_ms)
        case Commit():
            return ending.commit(wallet, command, facts, now_ms)
        case Release():
            return ending.release(wallet, command, facts, now_ms)
        case Expire():
            return ending.expire(wallet, command, facts, now_ms)
        case Kill():
            return ending.kill(wallet, command, facts, now_ms)
        case Deduct():
            return money.deduct(wallet, command, facts, now_ms)
        case Credit():
            return money.credit(wallet, command, now_ms)
        case Suspend() | Resume():
            return money.switch(wallet, command, now_ms)
        case ChangeSettings():
            return money.change_settings(wallet, command, now_ms)
        case _:
            assert_never(command)  # type: ignore[arg-type]  # every command is above


def _repeat(
    wallet: Wallet,
    command: Command,
    first: Entry,
    hold: Hold | None,
    now_ms: int,
) -> Decision:
    if command.strict and command.fingerprint != first.fingerprint:
        return Refusal(
            code=RefusalCode.KEY_REUSE,
            message="This idempotency key was used before, for a different request.",
            fields={"first_seq": first.seq, "first_type": first.type},
        )
    if not command.strict and hold is not None:
        if isinstance(command, Commit):
            return ending.adjust(wallet, command, first, hold, now_ms)
        if isinstance(command, Reserve):  # its first answer was for a call that is over
            return refusals.call_ended(hold)
    return Replay(first)
