"""The audit of a ledger in memory: as `wallet audit` does on a database, and the rules besides."""

from wallet_engine.audit import Auditor, StoredWallet
from wallet_engine.memory_ledger import Row
from wallet_engine.settings import Settings


def audited(org_id: str, row: Row, defaults: Settings) -> list[str]:
    """Return what is wrong with one stored wallet; its journal was written under `defaults`."""
    auditor = Auditor(org_id, defaults, decides=True)
    for entry in row.journal:
        auditor.row(entry)
    stored = StoredWallet(
        org_id=org_id,
        seq=row.seq,
        epoch=row.epoch,
        balance_pence=row.balance_pence,
        held_pence=row.held_pence,
        suspended=row.suspended,
        overrides=row.overrides,
    )
    return auditor.finish(stored, row.holds.values())
