"""One connection of the ledger: made when it is needed, thrown away when it is in doubt.

A statement on it is known by its answer or not at all, so nothing is ever sent twice.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from wallet_engine.errors import LedgerBusy, NotCommitted, OutcomeUnknown

from .postgres import Access, Connection, Contended, connect, connecting, in_flight

ABANDONED_MAX = 64
"""How many lost backends are remembered: many more than can be lost within one blocked claim."""

CLOSE_TIMEOUT_S = 1.0
"""A server that does not say goodbye is left without."""


class Statement(NamedTuple):
    """A prepared statement.  Given nothing but NULLs it must do nothing: that warms it up."""

    sql: str
    writes: bool = True


class Abandoned:
    """The backends whose statement we stopped waiting for: they may still hold locks."""

    def __init__(self) -> None:
        self._pids: dict[int, None] = {}

    @property
    def pids(self) -> list[int]:
        """The process ids of those backends."""
        return list(self._pids)

    def add(self, pid: int) -> None:
        """Remember a backend that was left in the middle of a statement."""
        self._pids[pid] = None
        if len(self._pids) > ABANDONED_MAX:
            del self._pids[next(iter(self._pids))]

    def discard(self, pid: int) -> None:
        """Forget a backend: it ended, or its number names another by now."""
        self._pids.pop(pid, None)


class Wire:
    """Runs prepared statements on one connection, one at a time."""

    def __init__(
        self,
        access: Access,
        role: str,
        statements: Sequence[Statement],
        *,
        abandoned: Abandoned,
        lock_timeout_s: float,
    ) -> None:
        self._access = access
        self._role = role
        self._statements = statements
        self._abandoned = abandoned
        self._lock_timeout_s = lock_timeout_s
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None
        self._prepared: dict[Statement, PreparedStatement] = {}

    async def open(self) -> None:
        """Connect now, so that the first statement need not.

        Raises:
            LedgerBusy: no connection.
        """
        async with self._turn:
            await self._connected()

    async def fetch(self, statement: Statement, *args: object) -> list[asyncpg.Record]:
        """Run `statement`.  A cancelled caller leaves its outcome unknown.

        Raises:
            NotCommitted: the server refused it.
            LedgerBusy: nothing was sent, or the server cannot work now, or a statement that
                only reads was in somebody's way or got no answer.
            OutcomeUnknown: no answer came.
        """
        async with self._turn:
            connection = await self._connected()
            pid = connection.get_server_pid()
            try:
                with in_flight():
                    return await self._prepared[statement].fetch(
                        *args, timeout=self._access.statement_timeout_s
                    )
            except Contended as error:
                if statement.writes:
                    raise
                raise LedgerBusy(*error.args) from error
            except NotCommitted:
                raise
            except LedgerBusy:
                self._drop()
                raise
            except BaseException as error:
                self._drop()
                self._abandoned.add(pid)
                if isinstance(error, OutcomeUnknown) and not statement.writes:
                    raise LedgerBusy(*error.args) from error
                raise

    async def close(self) -> None:
        """End the connection; the next statement would make another."""
        async with self._turn:
            connection, self._connection = self._connection, None
            self._prepared.clear()
            if connection is not None:
                with suppress(OSError, TimeoutError, asyncpg.PostgresError):
                    await connection.close(timeout=CLOSE_TIMEOUT_S)

    async def _connected(self) -> Connection:
        """Return a live connection on which every statement is prepared, planned and warm."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._drop()
        connection = await connect(self._access, self._role, lock_timeout_s=self._lock_timeout_s)
        self._abandoned.discard(connection.get_server_pid())
        try:
            with connecting():
                async with asyncio.timeout(self._access.connect_timeout_s):
                    for statement in self._statements:
                        self._prepared[statement] = await self._warmed(connection, statement)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection

    async def _warmed(self, connection: Connection, statement: Statement) -> PreparedStatement:
        prepared = await connection.prepare(statement.sql)
        nothing: list[Any] = [None] * len(prepared.get_parameters())
        await prepared.fetch(*nothing)
        return prepared

    def _drop(self) -> None:
        """Let go of the connection at once: what it still has to say is not waited for."""
        connection, self._connection = self._connection, None
        self._prepared.clear()
        if connection is not None:
            connection.terminate()
