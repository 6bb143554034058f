"""A wallet in memory, made from what is stored."""

from .ports import Loaded
from .settings import Settings, settings_of
from .wallet import Wallet


def wallet_of(loaded: Loaded, before: Wallet | None, *, defaults: Settings, node_id: str) -> Wallet:
    """Return the wallet that was loaded.

    When its calls started is not in the journal: what the wallet `before` knew still counts.
    """
    holds = {hold.call_id: hold for hold in loaded.holds}
    started = {**(before.started if before else {}), **loaded.started_ms}
    return Wallet(
        org_id=loaded.org_id,
        settings=settings_of(defaults, loaded.overrides),
        defaults=defaults,
        overrides=loaded.overrides,
        seq=loaded.seq,
        balance_pence=loaded.balance_pence,
        held_pence=loaded.held_pence,
        suspended=loaded.suspended,
        last_ms=loaded.last_ms,
        epoch=loaded.epoch,
        node=node_id,
        holds=holds,
        started={call_id: ms for call_id, ms in started.items() if call_id in holds},
    )
