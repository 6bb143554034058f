"""Says whether a database is what the engine needs: `schema.txt` and `SETTINGS` against the server.

Reads only.  What the database has beyond that is nobody's business, except an index on the
wallets' own table, which would make every decision slower.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from wallet_engine.errors import LedgerUnavailable
from wallet_engine.sharding import SHARD_COUNT, SHARD_HASH, shard_of

from .migrate import HEAD, connect, revision_of
from .postgres import asking
from .schema import expected_objects, found_objects

PATIENCE_S = 10.0
"""How long the checks of one database may take: some hundred times what they take."""

REACHABLE = "reachable"
SETTING = "setting "

PASSING = frozenset({REACHABLE, f"{SETTING}transaction_read_only"})
"""What may be wrong just now and right in a minute: a restart, a fail-over."""

VERSION_MIN = 15
"""The oldest major version of Postgres that the schema and the statements are tested on."""

SHARD_SAMPLES = ("demo-org", "a", "Z9_.:-", "0" * 64)

SHARDS = "SELECT id, shard_of(id) FROM unnest($1::text[]) AS id"

FACTS = "SELECT shard_count, shard_hash FROM schema_facts"

SERVER_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"

FORBIDDEN = """
-- $1: tables.  Those that are there and in which this role may not do what a node does.
SELECT name FROM unnest($1::text[]) AS name
WHERE NOT (has_table_privilege(to_regclass(name), 'SELECT')
           AND has_table_privilege(to_regclass(name), 'INSERT')
           AND has_table_privilege(to_regclass(name), 'UPDATE'))
"""

READ_ONLY = ("alembic_version", "schema_facts")
"""The tables that only a migration writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at.  `warning`: the engine works, but somebody should know `detail`."""

    name: str
    ok: bool
    detail: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a setting of the server should be, and what goes wrong otherwise."""

    name: str
    wanted: tuple[str, ...]
    otherwise: str
    fatal: bool = False


SETTINGS = (
    Setting(
        name="server_encoding",
        wanted=("UTF8",),
        otherwise="a text that it cannot store fails the decision that carries it",
        fatal=True,
    ),
    Setting(
        name="transaction_read_only",
        wanted=("off",),
        otherwise="this is a standby or read-only: nothing can be decided",
        fatal=True,
    ),
    Setting(name="fsync", wanted=("on",), otherwise="a power cut can lose or corrupt money"),
    Setting(
        name="full_page_writes", wanted=("on",), otherwise="a power cut can corrupt the journal"
    ),
    Setting(
        name="synchronous_commit",
        wanted=("on", "remote_apply", "remote_write", "local"),
        otherwise="the ledger sets its own, but what is written beside it can be lost",
    ),
    Setting(
        name="default_transaction_isolation",
        wanted=("read committed",),
        otherwise="a wallet that two nodes want answers with an error where it should say no",
    ),
    Setting(name="autovacuum", wanted=("on",), otherwise="holds and deadlines get slower for ever"),
)


async def verify(dsn: str, *, patience_s: float = PATIENCE_S) -> list[Check]:
    """Look at everything that the engine needs of the database at `dsn`; changes nothing.

    Without a connection, or when it does not answer within `patience_s`, there is one check,
    which failed.
    """
    try:
        connection = await connect(dsn)
        try:
            with asking():
                return await asyncio.wait_for(_checks(connection), patience_s)
        finally:
            connection.terminate()  # nothing is under way, and it may be a dead one
    except LedgerUnavailable as error:
        return [Check(name=REACHABLE, ok=False, detail=str(error))]


async def _checks(connection: asyncpg.Connection) -> list[Check]:
    return [
        Check(name=REACHABLE, ok=True, detail=""),
        _version_check(connection.get_server_version().major),
        *await _settings_checks(connection),
        await _revision_check(connection),
        await _facts_check(connection),
        await _shards_check(connection),
        *await _object_checks(connection),
    ]


def _version_check(major: int) -> Check:
    detail = f"Postgres {major}, at least {VERSION_MIN} is needed"
    return Check(name="server version", ok=major >= VERSION_MIN, detail=detail)


async def _settings_checks(connection: asyncpg.Connection) -> list[Check]:
    rows = await connection.fetch(SERVER_SETTINGS, [setting.name for setting in SETTINGS])
    found = {row["name"]: row["setting"] for row in rows}
    return [_setting_check(setting, found.get(setting.name, "unknown")) for setting in SETTINGS]


def _setting_check(setting: Setting, found: str) -> Check:
    name = SETTING + setting.name
    if found in setting.wanted:
        return Check(name=name, ok=True, detail=found)
    detail = f"{found}, should be {setting.wanted[0]}: {setting.otherwise}"
    return Check(name=name, ok=not setting.fatal, detail=detail, warning=not setting.fatal)


async def _revision_check(connection: asyncpg.Connection) -> Check:
    """Migrations only add, so a database that a newer program has migrated serves as well."""
    found = await revision_of(connection)
    ok = found is not None and found >= HEAD
    detail = HEAD if found == HEAD else f"{found or 'never migrated'}, this program needs {HEAD}"
    return Check(name="revision", ok=ok, detail=detail)


async def _facts_check(connection: asyncpg.Connection) -> Check:
    """What the database was sharded by must be what this program shards by."""
    wanted = [(SHARD_COUNT, SHARD_HASH)]
    try:
        found = [tuple(row) for row in await connection.fetch(FACTS)]
    except asyncpg.PostgresError as error:
        return Check(name="shard facts", ok=False, detail=str(error))
    detail = f"{found}" if found == wanted else f"{found}, should be {wanted}"
    return Check(name="shard facts", ok=found == wanted, detail=detail)


async def _shards_check(connection: asyncpg.Connection) -> Check:
    """The database and the engine must compute the same shard."""
    try:
        rows = await connection.fetch(SHARDS, SHARD_SAMPLES)
    except asyncpg.PostgresError as error:
        return Check(name="shard function", ok=False, detail=str(error))
    wrong = [row["id"] for row in rows if row["shard_of"] != shard_of(row["id"])]
    detail = f"differs from the engine's for {wrong}" if wrong else "as the engine's"
    return Check(name="shard function", ok=not wrong, detail=detail)


async def _object_checks(connection: asyncpg.Connection) -> list[Check]:
    expected, found = expected_objects(), await found_objects(connection)
    tables = [name.removeprefix("table ") for name in expected if name.startswith("table ")]
    written = [table for table in tables if table not in READ_ONLY]
    forbidden = [row["name"] for row in await connection.fetch(FORBIDDEN, written)]
    return [
        *(_object_check(name, wanted, found) for name, wanted in expected.items()),
        Check(
            name="privileges",
            ok=not forbidden,
            detail=f"no SELECT, INSERT and UPDATE on {forbidden}" if forbidden else "",
        ),
        _extras_check(expected, found),
    ]


def _object_check(name: str, wanted: str, found: Mapping[str, str]) -> Check:
    if name not in found:
        return Check(name=name, ok=False, detail=f"missing, should be {wanted}")
    ok = found[name] == wanted
    return Check(name=name, ok=ok, detail=wanted if ok else f"{found[name]}, should be {wanted}")


def _extras_check(expected: Mapping[str, str], found: Mapping[str, str]) -> Check:
    """An index more on the wallets' table ends HOT updates: each decision would write to it."""
    ours = ("index organizations.", "constraint organizations.")
    extras = [name for name in found if name.startswith(ours) and name not in expected]
    detail = f"slow down every decision: {extras}" if extras else ""
    return Check(name="organizations without more", ok=True, detail=detail, warning=bool(extras))
