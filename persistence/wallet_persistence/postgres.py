"""Connections to Postgres, and the border at which its errors become the engine's.

What an error proves is the heart of the ledger: a write that the server refused is decided
again, a write whose answer was lost is settled first.  So nothing is called refused unless the
server itself said ERROR for that statement; whatever else goes wrong once a statement is on
its way leaves its outcome unknown.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from wallet_engine.errors import (
    LedgerBusy,
    LedgerError,
    LedgerFault,
    LedgerUnavailable,
    NotCommitted,
    OutcomeUnknown,
)

Connection = asyncpg.Connection
Pool = asyncpg.Pool
Borrowed = PoolConnectionProxy

FOREIGN_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises, on its own behalf, the server's or the network's."""

APPLICATION_NAME_MAX = 63
"""Postgres cuts longer names off, and then they compare unequal.  Source: NAMEDATALEN."""

SERVER_SETTINGS = {
    # An answer means: on disk, and on the standby where there is one.
    "synchronous_commit": "on",
    # Where rows are locked one after the other, a loser must re-check its row, not fail.
    "default_transaction_isolation": "read committed",
    # Compiling costs more than any statement here.
    "jit": "off",
    # A client that vanished, its locks with it, is noticed within 2 + 3 * 1 seconds.
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
"""What every connection asks of the server."""

PLAN_PINS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
"""What keeps the ledger's statements on nested loops over the right indexes, which also lock in
the order of their arrays.  Planned anew for each batch they cost a quarter more."""

ACQUIRE_TIMEOUT_S = 5.0
"""How long to wait for a connection while others use all of them: as long as a statement."""


class Contended(NotCommitted):
    """Others were in the way of this statement: a lock, a deadlock, a cancellation.

    Nothing was written; unlike other refused statements it may well succeed later.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the database, on whose behalf, and how long anything may take.

    Directly: a pooler in between would lose the settings and the prepared statements.
    `boot` names this process for ever.  The server ends a statement after the same time as
    the client, so it goes on for no longer than a moment after nobody waits for it.
    """

    dsn: str = field(repr=False)
    node: str
    boot: str
    connect_timeout_s: float = 5.0
    statement_timeout_s: float = 5.0
    lock_timeout_s: float = 2.0

    def application_name(self, role: str) -> str:
        """Return what connections of this process are called in `pg_stat_activity`."""
        room = APPLICATION_NAME_MAX - len(f"wallet-{role}::{self.boot}")
        return f"wallet-{role}:{self.node[: max(0, room)]}:{self.boot}"[:APPLICATION_NAME_MAX]


async def connect(access: Access, role: str, *, lock_timeout_s: float) -> Connection:
    """Open a connection for the ledger's pinned statements, to a server that takes writes.

    Raises:
        LedgerBusy: no connection; nothing was sent.
    """
    with connecting():
        return await asyncpg.connect(
            access.dsn,
            timeout=access.connect_timeout_s,
            target_session_attrs=asyncpg.connect_utils.SessionAttribute.read_write,
            server_settings={
                **_settings(access, role, lock_timeout_s=lock_timeout_s),
                **PLAN_PINS,
            },
        )


async def open_pool(access: Access, *, connections_min: int, connections_max: int) -> Pool:
    """Open the pool that serves everything beside the ledger; who calls closes it.

    Raises:
        LedgerUnavailable: the first connections could not be made.
    """
    with asking():
        return await asyncpg.create_pool(
            access.dsn,
            min_size=connections_min,
            max_size=connections_max,
            timeout=access.connect_timeout_s,
            command_timeout=access.statement_timeout_s,
            target_session_attrs=asyncpg.connect_utils.SessionAttribute.read_write,
            server_settings=_settings(access, "pool", lock_timeout_s=access.lock_timeout_s),
        )


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Borrowed]:
    """Lend a connection of `pool`; waits for one no longer than a statement may take.

    Raises:
        LedgerUnavailable: no connection, or it was lost; what was asked may have happened.
        LedgerFault: the server refused what was asked.
    """
    with asking():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            try:
                yield connection
            except (OSError, TimeoutError, asyncpg.InterfaceError):
                # Its state is in doubt: the pool makes another.
                connection.terminate()
                raise


def _settings(access: Access, role: str, *, lock_timeout_s: float) -> dict[str, str]:
    return {
        **SERVER_SETTINGS,
        "application_name": access.application_name(role),
        "statement_timeout": str(round(access.statement_timeout_s * 1000)),
        "lock_timeout": str(round(lock_timeout_s * 1000)),
    }


# --- the border ----------------------------------------------------------------------------


@contextmanager
def connecting() -> Iterator[None]:
    """Around what precedes the first statement: whatever fails, nothing was asked yet."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise LedgerBusy(f"No connection to the ledger: {_told(error)}") from error


@contextmanager
def in_flight() -> Iterator[None]:
    """Around one statement of the ledger: raise what its failure proves.

    Raises:
        NotCommitted: the server refused this statement.
        LedgerBusy: the server refused to work; nothing was written.
        OutcomeUnknown: no answer came.
    """
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise translated(error) from error


@contextmanager
def asking() -> Iterator[None]:
    """Around statements beside the ledger, whose callers only tell their own callers.

    Raises:
        LedgerUnavailable: the server cannot be reached, or cannot work now.
        LedgerFault: the server refused what was asked.
    """
    try:
        yield
    except FOREIGN_ERRORS as error:
        proved = translated(error)
        if isinstance(proved, NotCommitted) and not isinstance(proved, Contended):
            raise LedgerFault(f"The database refused: {_told(error)}") from error
        raise LedgerUnavailable(f"The database cannot be reached: {_told(error)}") from error


def translated(error: Exception) -> LedgerError:
    """Return what `error`, met while a statement was on its way, proves about it."""
    if _is_unsendable(error):
        # Its own words would quote the values.
        return NotCommitted(f"A value cannot be sent: {type(error.__cause__ or error).__name__}")
    if isinstance(error, asyncpg.PostgresError):
        return _proved_by_server(error)
    return OutcomeUnknown(f"No answer from the ledger: {_told(error)}")


def _is_unsendable(error: Exception) -> bool:
    """Whether asyncpg refused a value before it sent anything; it has two classes for that."""
    if isinstance(error, asyncpg.DataError):
        return _severity(error) is None
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def _severity(error: asyncpg.PostgresError) -> str | None:
    """Return how bad an error is in the server's own words, None if asyncpg itself raised it."""
    found: str | None = getattr(error, "severity_en", None)
    return found


def _proved_by_server(error: asyncpg.PostgresError) -> LedgerError:
    """Sort an error by its class.  Source: the Postgres manual, appendix A.

    Only severity ERROR says that the statement was rolled back and the connection lives.
    FATAL and PANIC end the connection, perhaps between the commit and its answer; errors
    without a severity were made by asyncpg when the connection broke.
    """
    sqlstate: str = error.sqlstate or ""
    told = _told(error)
    is_unknown = sqlstate in UNKNOWN_CODES or sqlstate[:2] in UNKNOWN_CLASSES
    if is_unknown or _severity(error) != "ERROR":
        return OutcomeUnknown(f"The connection broke: {told}")
    if sqlstate in CONTENDED_CODES or sqlstate[:2] in CONTENDED_CLASSES:
        return Contended(told)
    if sqlstate in BUSY_CODES or sqlstate[:2] in BUSY_CLASSES:
        return LedgerBusy(told)
    return NotCommitted(told)


UNKNOWN_CODES = frozenset({"40003"})
"""statement_completion_unknown says it itself."""

UNKNOWN_CLASSES = frozenset({"08"})
"""connection exceptions; a pooler in between uses them for a server that it lost."""

CONTENDED_CODES = frozenset({"55P03", "57014"})
"""lock_not_available, query_canceled (also by a time-out of the server)."""

CONTENDED_CLASSES = frozenset({"40"})
"""transaction rollback: deadlocks and serialisation failures."""

BUSY_CODES = frozenset(
    {
        "25006",  # read_only_sql_transaction: this is no primary any more
        "0A000",  # "cached plan must not change": a migration came between
        "26000",  # the prepared statement is gone; a new connection makes it anew
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P04",  # database_dropped
        "57P05",  # idle_session_timeout
    }
)

BUSY_CLASSES = frozenset({"53"})
"""insufficient resources: disk, memory, connections."""


def _told(error: BaseException) -> str:
    """Say what happened in one line; never what was in the statement."""
    kind = type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        # Not its detail, which quotes the failing row.
        return f"{kind} {error.sqlstate or ''}: {error.args[0] if error.args else ''}".strip()
    return f"{kind}: {error}" if str(error) else kind
