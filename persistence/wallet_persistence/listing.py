"""The organisations as stored, for whoever looks beside a running engine.

A wallet's row is as old as its last commit, which is what its owner would say too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .migrate import connect
from .postgres import asking

PAGE = """
-- $1 a prefix of the names, $2 how many.
SELECT id, name, wallet_balance_pence, held_pence, suspended, seq, coalesce(owner, '')
FROM organizations WHERE starts_with(id, $1) ORDER BY id LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrg:
    """An organisation's row; `owner` is the process that owns its wallet, if one does."""

    org_id: str
    name: str
    balance_pence: int
    held_pence: int
    suspended: bool
    seq: int
    owner: str


async def stored_orgs(dsn: str, *, prefix: str, limit: int) -> Sequence[StoredOrg]:
    """Return the organisations whose names begin with `prefix`, in order.

    Raises:
        LedgerUnavailable: the database cannot be read.
    """
    connection = await connect(dsn)
    try:
        with asking():
            rows = await connection.fetch(PAGE, prefix, limit)
    finally:
        await connection.close()
    return [
        StoredOrg(
            org_id=row[0],
            name=row[1],
            balance_pence=row[2],
            held_pence=row[3],
            suspended=row[4],
            seq=row[5],
            owner=row[6],
        )
        for row in rows
    ]
