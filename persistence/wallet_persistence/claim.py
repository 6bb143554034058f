"""The claim: how a wallet passes from one owner to the next, and is loaded by the new one.

Two statements.  The first bumps the epoch: it waits for whoever is writing to the row, and
after it nothing under an older epoch can be written.  The second reads the holds; it must be a
second one, because the first sees the holds as they were before it waited.  It reads the epoch
again in the same snapshot, so a wallet that another owner took in between is not half loaded.

What another owner has is taken only under the epoch that it was seen under: a statement that
comes late, from a node that was replaced meanwhile, takes nothing.
"""

from collections.abc import Collection, Mapping, Sequence

from wallet_engine.ports import Claim, Loaded, Taken
from wallet_engine.wallet import Hold

from .rows import HOLD_COLUMNS, HOLD_WIDTH, Row, hold_of, overrides_of
from .wire import Statement, Wire

UNSEEN = -1
"""The epoch of no wallet."""

SINCE_EVER_MS = 10**15
"""How long a wallet has been had by an owner of whom that is not known."""

BUMP = Statement("""
-- $1 orgs, sorted, so that no two claims wait for each other; $2 the new owner;
-- $3 the epoch under which each may be taken from another owner, -1 under none.  How long one has
-- owned counts from its first claim on, else who claims again and again would always be new;
-- $4 but for those of which it says that it begins anew.
UPDATE organizations o
SET epoch = o.epoch + 1, owner = $2,
    owner_since = CASE WHEN o.owner = $2 AND NOT w.anew THEN o.owner_since
                       ELSE clock_timestamp() END
FROM unnest($1::text[], $3::int8[], $4::bool[]) AS w (org_id, seen_epoch, anew)
WHERE o.id BETWEEN w.org_id AND w.org_id
  AND (o.owner IS NULL OR o.owner = $2 OR o.epoch = w.seen_epoch)
RETURNING
    o.id, o.epoch, o.seq, o.wallet_balance_pence, o.held_pence, o.suspended, o.settings,
    o.debt_limit_pence, coalesce((extract(epoch FROM o.last_entry_at) * 1000)::int8, 0)
""")

OWNERS_AND_HOLDS = Statement(
    f"""
-- $1 orgs; $2 the epoch under which each was claimed, 0 where it was not.  A row per live hold
-- of a wallet that is still claimed, at least one per wallet.
-- The ORDER BYs, and BETWEEN for =, leave one index each that serves: a plan made while the
-- tables are empty, where any index looks as good, must also serve when they are full.
SELECT w.ordinal, o.epoch, coalesce(o.owner, ''),
    coalesce((extract(epoch FROM clock_timestamp() - o.owner_since) * 1000)::int8, {SINCE_EVER_MS}),
    (extract(epoch FROM c.heard_started_at) * 1000)::int8, {HOLD_COLUMNS}
FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS w (org_id, epoch, ordinal)
JOIN organizations o ON o.id BETWEEN w.org_id AND w.org_id
LEFT JOIN LATERAL (
    SELECT * FROM credit_reservations
    WHERE org_id = o.id AND status = 'active' AND o.epoch = w.epoch
    ORDER BY due_at
) r ON true
LEFT JOIN LATERAL (
    SELECT heard_started_at FROM calls
    WHERE org_id = r.org_id AND call_id BETWEEN r.call_id AND r.call_id
    ORDER BY call_id LIMIT 1
) c ON true
""",  # noqa: S608  # a list of columns
    writes=False,
)

RELEASE = Statement("""
-- $1 orgs, sorted; $2 the epoch under which each was claimed: one that was claimed since is kept.
UPDATE organizations o SET owner = NULL, owner_since = NULL
FROM unnest($1::text[], $2::int8[]) AS w (org_id, epoch)
WHERE o.id BETWEEN w.org_id AND w.org_id AND o.epoch = w.epoch
""")

CLAIM_STATEMENTS = (BUMP, OWNERS_AND_HOLDS, RELEASE)

ROUNDS_MAX = 3
"""How often to bump again what turns out to be free: it was released while we looked."""


async def claim(
    wire: Wire,
    org_ids: Sequence[str],
    *,
    owner: str,
    seen: Mapping[str, int],
    anew: Collection[str],
) -> dict[str, Claim]:
    """Claim `org_ids`, which are sorted; whoever is missing from the answer does not exist."""
    claims: dict[str, Claim] = {}
    wanted = list(org_ids)
    for _ in range(ROUNDS_MAX):
        epochs = [seen.get(org_id, UNSEEN) for org_id in wanted]
        begins = [org_id in anew for org_id in wanted]
        bumped = {row[0]: row for row in await wire.fetch(BUMP, wanted, owner, epochs, begins)}
        epochs = [bumped[org_id][1] if org_id in bumped else 0 for org_id in wanted]
        found: dict[str, list[Row]] = {}
        for row in await wire.fetch(OWNERS_AND_HOLDS, wanted, epochs):
            found.setdefault(wanted[row[0] - 1], []).append(row)
        for org_id, rows in found.items():
            epoch, holder, held_ms = rows[0][1:4]
            if org_id in bumped and bumped[org_id][1] == epoch:
                claims[org_id] = _loaded(bumped[org_id], rows)
            else:
                claims[org_id] = Taken(org_id, holder, epoch, held_ms)
        wanted = [org_id for org_id in found if _is_open(claims[org_id], owner)]
        if not wanted:
            break
    return claims


def _is_open(claim: Claim, owner: str) -> bool:
    """Whether nobody else holds this wallet after all: it was released, or claimed twice by us."""
    return isinstance(claim, Taken) and claim.owner in ("", owner)


def _loaded(wallet: Row, rows: Sequence[Row]) -> Loaded:
    org_id, epoch, seq, balance, held, suspended, settings, debt_limit, last_ms = wallet
    holds, started_ms = _holds(rows)
    return Loaded(
        org_id=org_id,
        epoch=epoch,
        seq=seq,
        balance_pence=balance,
        held_pence=held,
        suspended=suspended,
        overrides=overrides_of(settings, debt_limit),
        last_ms=last_ms,
        holds=holds,
        started_ms=started_ms,
    )


def _holds(rows: Sequence[Row]) -> tuple[list[Hold], Mapping[str, int]]:
    holds: list[Hold] = []
    started_ms: dict[str, int] = {}
    for row in rows:
        call_id = row[-HOLD_WIDTH]
        if call_id is None:
            continue
        holds.append(hold_of(row[-HOLD_WIDTH:]))
        if row[4] is not None:
            started_ms[call_id] = row[4]
    return holds, started_ms
