"""What every rule needs: the facts it is told, and the one row that it makes."""

from typing import NamedTuple

from wallet_engine import deadlines
from wallet_engine.commands import Command
from wallet_engine.journal import Refusal, Replay
from wallet_engine.wallet import Entry, Hold, HoldStatus, Wallet


class Facts(NamedTuple):
    """What the journal and the operators say about a command, beyond the wallet itself.

    `entry`: the row already stored under the command's key.  `hold`: the call's hold if it
    is not live.  Both None means: looked up, and not there.
    """

    entry: Entry | None = None
    hold: Hold | None = None
    fleet_stopped: bool = False


Decision = Entry | Replay | Refusal


def new_entry(  # noqa: PLR0913  # one row has that many columns
    wallet: Wallet,
    command: Command,
    now_ms: int,
    *,
    type: str,  # noqa: A002  # the column's name
    description: str,
    detail: dict[str, object],
    key: str | None = None,
    amount: int = 0,
    held_delta: int = 0,
    uncollected: int = 0,
    hold: Hold | None = None,
) -> Entry:
    """Return the wallet's next row: amounts are changes in pence, `now_ms` is Unix time."""
    if hold is not None:
        detail["hold"] = hold.to_json()
    return Entry(
        org_id=wallet.org_id,
        seq=wallet.seq + 1,
        key=command.key if key is None else key,
        type=type,
        amount_pence=amount,
        held_delta_pence=held_delta,
        balance_before_pence=wallet.balance_pence,
        held_after_pence=wallet.held_pence + held_delta,
        uncollected_pence=uncollected,
        call_id=None if hold is None else hold.call_id,
        description=description,
        fingerprint=command.fingerprint,
        detail=detail,
        epoch=wallet.epoch,
        node=wallet.node,
        at_ms=now_ms,
        hold=hold,
    )


def due(hold: Hold, started_ms: int, now_ms: int) -> Hold:
    """Return `hold` with the time at which it must be looked at again."""
    return hold._replace(due_ms=deadlines.next_due_ms(hold, started_ms, now_ms))


def tombstone(wallet: Wallet, call_id: str, now_ms: int) -> Hold:
    """Return the row of a call that never had a hold, priced by today's tariff."""
    return Hold(
        call_id=call_id,
        tariff=wallet.settings.tariff,
        opened_ms=now_ms,
        expires_ms=now_ms,
        max_duration_seconds=wallet.settings.max_call_seconds,
        status=HoldStatus.RELEASED,
        ended_ms=now_ms,
    )
