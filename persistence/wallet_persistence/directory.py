"""Orgs, assistants and numbers, stored: what changes when an operator says so."""

import json

import asyncpg

from wallet_engine.commands import ChangeSettings
from wallet_engine.ports import Assistant, Org, PhoneNumber
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Overrides, Settings, merged
from wallet_engine.wallet import Entry, Wallet

from .postgres import Pool, borrowed
from .rows import overrides_of

CREATION_KEY = "settings:created"
"""The key of the settings that an org is created with: in no caller's space."""

CREATE = """
-- $1 id, $2 name, $3 time, $4 debt limit (NULL: inherit), $5 the other settings; the rest is the
-- first row of the journal: $6 seq (0: there is none), $7 description, $8 fingerprint,
-- $9 detail, $10 node, $11 key.
WITH created AS (
    INSERT INTO organizations (
        id, name, created_at, debt_limit_pence, settings, seq, last_entry_at
    )
    SELECT $1, $2, at, $4::int8, $5::jsonb, $6::int8, CASE WHEN $6::int8 > 0 THEN at END
    FROM (SELECT timestamptz 'epoch' + $3::int8 * interval '1 millisecond' AS at) t
    ON CONFLICT (id) DO NOTHING
    RETURNING id, seq, last_entry_at
), journaled AS (
    INSERT INTO credit_transactions (
        org_id, seq, idempotency_key, transaction_type, amount_pence, balance_before_pence,
        balance_after_pence, held_after_pence, description, fingerprint, detail, epoch, node,
        created_at
    )
    SELECT id, seq, $11, 'settings_change', 0, 0, 0, 0, $7, $8, $9::jsonb, 0, $10, last_entry_at
    FROM created WHERE seq > 0
)
SELECT 1 FROM created
"""

ORG = """
SELECT id, name, (extract(epoch FROM created_at) * 1000)::int8, settings, debt_limit_pence
FROM organizations WHERE id = $1
"""

RENAME = "UPDATE organizations SET name = $2 WHERE id = $1"

ONE_DEFAULT_AT_A_TIME = """
-- $1 an org.  Held to the end of the transaction; not the wallet's row, which is busy.
SELECT pg_advisory_xact_lock(hashtextextended('wallet default assistant ' || $1, 0))
"""

NO_DEFAULT = """
-- $1 an org, $2 the assistant that is to be its default.
UPDATE assistants SET is_default = false, updated_at = now()
WHERE org_id = $1 AND is_default AND id <> $2
"""

PUT_ASSISTANT = """
-- $1 id, $2 org, $3 whether it is the org's default, $4 its configuration or NULL.
INSERT INTO assistants (id, org_id, is_default, config) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT (id) DO UPDATE SET
    org_id = excluded.org_id, is_default = excluded.is_default, config = excluded.config,
    updated_at = now()
"""

PUT_NUMBER = """
-- $1 id, $2 org, $3 the number, $4 who answers it or NULL.
INSERT INTO phone_numbers (id, org_id, number, assistant_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET
    org_id = excluded.org_id, number = excluded.number, assistant_id = excluded.assistant_id,
    updated_at = now()
"""

ASSISTANT = """
SELECT id AS assistant_id, org_id, is_default AS default, config AS config_json
FROM assistants WHERE id = $1
"""

DEFAULT_ASSISTANT = """
SELECT id AS assistant_id, org_id, is_default AS default, config AS config_json
FROM assistants WHERE org_id = $1 AND is_default
"""

NUMBER = """
-- $1 an id, $2 a number; the id goes first, then whoever has the number last.
SELECT id AS phone_number_id, org_id, number, assistant_id FROM phone_numbers
WHERE (id = $1 AND $1 <> '') OR (number = $2 AND $2 <> '')
ORDER BY id = $1 DESC, updated_at DESC, id LIMIT 1
"""

ORG_OF_CALL = """
-- $1 the provider's id of a call.  A call that was never admitted is billed all the same, and
-- belongs to whom its first message was for: two orgs must not pay for one call.
SELECT coalesce(
    (SELECT org_id FROM credit_reservations WHERE vapi_call_id = $1
     ORDER BY created_at DESC LIMIT 1),
    (SELECT org_id FROM calls WHERE call_id = $1 ORDER BY created_at LIMIT 1)
) AS org_id
"""


class PostgresDirectory:
    """The engine's `DirectoryStore`.

    Every method raises `LedgerUnavailable` if the database cannot be asked now, and
    `LedgerFault` if it refuses.  Repeating one is safe.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create_org(self, org: Org, overrides: Overrides, *, node: str) -> bool:
        """Store a new org and how its settings began, in one statement; False: it exists.

        Raises:
            InvalidCommand: there are no such settings; nothing was written.
        """
        first = _first_entry(org, overrides, node) if overrides else None
        settings = dict(merged({}, overrides))
        debt_limit_pence = settings.pop("debt_limit_pence", None)
        journal: tuple[object, ...] = (0, "", "", "{}", node, CREATION_KEY)
        if first is not None:
            detail = json.dumps(first.detail)
            journal = (1, first.description, first.fingerprint, detail, node, first.key)
        async with borrowed(self._pool) as connection:
            created = await connection.fetchval(
                CREATE,
                org.org_id,
                org.name,
                org.created_ms,
                debt_limit_pence,
                json.dumps(settings),
                *journal,
            )
        return created is not None

    async def org(self, org_id: str) -> Org | None:
        """Return an org, or None."""
        row = await self._row(ORG, org_id)
        if row is None:
            return None
        found_id, name, created_ms, settings, debt_limit_pence = row
        return Org(
            org_id=found_id,
            name=name,
            created_ms=created_ms,
            overrides=overrides_of(settings, debt_limit_pence),
        )

    async def rename_org(self, org_id: str, name: str) -> None:
        """Change an org's name."""
        async with borrowed(self._pool) as connection:
            await connection.execute(RENAME, org_id, name)

    async def put_assistant(self, assistant: Assistant) -> None:
        """Store an assistant; as a default it replaces the org's default before it."""
        org_id, assistant_id = assistant.org_id, assistant.assistant_id
        async with borrowed(self._pool) as connection, connection.transaction():
            if assistant.default:
                await connection.execute(ONE_DEFAULT_AT_A_TIME, org_id)
                await connection.execute(NO_DEFAULT, org_id, assistant_id)
            await connection.execute(
                PUT_ASSISTANT, assistant_id, org_id, assistant.default, assistant.config_json
            )

    async def put_number(self, number: PhoneNumber) -> None:
        """Store a number."""
        async with borrowed(self._pool) as connection:
            await connection.execute(
                PUT_NUMBER,
                number.phone_number_id,
                number.org_id,
                number.number,
                number.assistant_id,
            )

    async def assistant(self, assistant_id: str) -> Assistant | None:
        """Return an assistant, or None."""
        row = await self._row(ASSISTANT, assistant_id)
        return None if row is None else Assistant(**dict(row))

    async def default_assistant(self, org_id: str) -> Assistant | None:
        """Return who answers an org's calls by default, or None."""
        row = await self._row(DEFAULT_ASSISTANT, org_id)
        return None if row is None else Assistant(**dict(row))

    async def number(self, phone_number_id: str, number: str) -> PhoneNumber | None:
        """Return a number by its id, else by the number itself; empty texts match nothing."""
        row = await self._row(NUMBER, phone_number_id, number)
        return None if row is None else PhoneNumber(**dict(row))

    async def org_of_call(self, call_id: str) -> str | None:
        """Return the org of a Vapi call that was ever admitted, or told of, or None."""
        row = await self._row(ORG_OF_CALL, call_id)
        return None if row is None else row["org_id"]

    async def _row(self, statement: str, *args: object) -> asyncpg.Record | None:
        async with borrowed(self._pool) as connection:
            return await connection.fetchrow(statement, *args)


def _first_entry(org: Org, overrides: Overrides, node: str) -> Entry:
    """Return the entry that a new wallet's owner would write for `overrides`."""
    defaults = Settings()
    wallet = Wallet(org_id=org.org_id, settings=defaults, defaults=defaults, node=node)
    change = ChangeSettings(org_id=org.org_id, client_key="created", changes=overrides)
    entry = decide(wallet, change, Facts(), org.created_ms)
    assert isinstance(entry, Entry), "a change of settings is never refused"
    return entry._replace(key=CREATION_KEY)
