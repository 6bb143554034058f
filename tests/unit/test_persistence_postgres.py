"""The error border: what each error proves about the statement it met."""

import asyncpg
import pytest
from asyncpg import InterfaceError, InternalClientError, PostgresError
from asyncpg.exceptions import ConnectionDoesNotExistError, _base

from wallet_engine.errors import (
    LedgerBusy,
    LedgerFault,
    LedgerUnavailable,
    NotCommitted,
    OutcomeUnknown,
    WalletError,
)
from wallet_persistence.postgres import (
    APPLICATION_NAME_MAX,
    Access,
    Contended,
    asking,
    connecting,
    in_flight,
    translated,
)


def told(sqlstate: str, severity: str = "ERROR") -> PostgresError:
    """Return the error that asyncpg makes of what the server says."""
    fields = {"S": "FEHLER", "V": severity, "C": sqlstate, "M": "words", "D": "secret: 4711"}
    error: PostgresError = PostgresError.new(fields)
    return error


REFUSED = {
    "22003": "a number out of range",
    "22021": "a NUL character",
    "22P02": "a text that is no number",
    "22P05": "a JSON text with a NUL",
    "23502": "NULL where none may be",
    "23505": "a key that is there already",
    "23514": "a check",
    "42P01": "no such table",
    "42501": "not allowed",
    "54000": "too large for an index",
    "58030": "an unreadable page",
    "P0001": "raised by a trigger",
    "XX000": "a bug of the server",
    "XX001": "a damaged page",
    "ZZ999": "something new",
}

CONTENDED = {
    "40001": "serialisation",
    "40P01": "deadlock",
    "55P03": "lock time-out",
    "57014": "cancelled, or statement time-out",
}

BUSY = {
    "0A000": "a plan that a migration made stale",
    "25006": "read-only: not the primary any more",
    "26000": "a prepared statement that is gone",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "57P01": "shutting down",
    "57P03": "starting up",
}

UNKNOWN = {
    "08003": "the connection does not exist",
    "08006": "the connection failed",
    "08P01": "protocol violation",
    "40003": "statement completion unknown",
}


@pytest.mark.parametrize("sqlstate", REFUSED)
def test_an_error_of_the_statement_proves_that_it_was_rolled_back(sqlstate: str) -> None:
    """Severity ERROR: the statement was undone, whatever was wrong with it."""
    assert type(translated(told(sqlstate))) is NotCommitted


@pytest.mark.parametrize("sqlstate", CONTENDED)
def test_whoever_was_in_the_way_may_be_gone_next_time(sqlstate: str) -> None:
    """Refused as well, but the same statement may succeed later."""
    assert type(translated(told(sqlstate))) is Contended


@pytest.mark.parametrize("sqlstate", BUSY)
def test_a_server_that_cannot_work_has_written_nothing(sqlstate: str) -> None:
    """Severity ERROR, but no fault of the statement: wait, and try again."""
    assert type(translated(told(sqlstate))) is LedgerBusy


@pytest.mark.parametrize("sqlstate", UNKNOWN)
def test_a_broken_connection_proves_nothing(sqlstate: str) -> None:
    """A server, or a pooler before it, that lost the connection cannot say what happened."""
    assert type(translated(told(sqlstate))) is OutcomeUnknown


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize("sqlstate", [*REFUSED, *CONTENDED, *BUSY, *UNKNOWN])
def test_a_fatal_error_proves_nothing(sqlstate: str, severity: str) -> None:
    """The connection ended, perhaps between the commit and its answer."""
    assert type(translated(told(sqlstate, severity))) is OutcomeUnknown


@pytest.mark.parametrize(
    "error",
    [
        ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        TimeoutError(),
        ConnectionResetError(),
        BrokenPipeError(),
        OSError("no route to host"),
        InterfaceError("cannot perform operation: connection is closed"),
        InternalClientError("a bug of the client"),
    ],
)
def test_without_an_answer_nothing_is_proved(error: Exception) -> None:
    """No word of the server about this statement: it may have been done, or may still be."""
    assert type(translated(error)) is OutcomeUnknown


@pytest.mark.parametrize("kind", [asyncpg.DataError, _base.DataError])
def test_a_value_that_cannot_be_sent_was_not_sent(kind: type[Exception]) -> None:
    """The client refuses a value before anything leaves; its words do not show it."""
    refused = translated(kind("invalid input for query argument $3: 'secret' (too long)"))

    assert type(refused) is NotCommitted
    assert "secret" not in str(refused)


def test_details_are_not_told() -> None:
    """The detail of an error quotes the row: not for logs."""
    assert "4711" not in str(translated(told("23514")))


@pytest.mark.parametrize("error", [told("53300", "FATAL"), told("57P03", "FATAL"), TimeoutError()])
def test_before_the_first_statement_nothing_was_asked(error: Exception) -> None:
    """Whatever fails while connecting, nothing was written."""
    with pytest.raises(LedgerBusy), connecting():
        raise error


def test_the_border_tells_where_it_came_from() -> None:
    """The foreign error is kept as the cause."""
    error = told("23505")

    with pytest.raises(NotCommitted) as caught, in_flight():
        raise error

    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (told("23505"), LedgerFault),
        (told("57014"), LedgerUnavailable),
        (told("53100"), LedgerUnavailable),
        (told("57P01", "FATAL"), LedgerUnavailable),
        (TimeoutError(), LedgerUnavailable),
        (ConnectionRefusedError(), LedgerUnavailable),
    ],
)
def test_beside_the_ledger_callers_hear_what_they_can_use(
    error: Exception, expected: type[WalletError]
) -> None:
    """Refused, or come again: more is of no use to whoever reads a page of history."""
    with pytest.raises(expected), asking():
        raise error


def test_bugs_pass_the_border() -> None:
    """What is neither the server's nor the network's is not disguised."""
    with pytest.raises(KeyError), in_flight():
        raise KeyError


def test_application_names_are_whole_and_different() -> None:
    """Postgres would cut a longer name off, and the ledger would not find its own backends."""
    access = Access(dsn="", node="n" * 64, boot="0123456789abcdef" * 2)

    names = [access.application_name(role) for role in ("lane", "side", "claims")]

    assert [len(name) for name in names] == [APPLICATION_NAME_MAX] * 3
    assert all(name.endswith(":0123456789abcdef0123456789abcdef") for name in names)
    assert len(set(names)) == 3
    short = Access(dsn="", node="a", boot="b")
    assert short.application_name("lane") == "wallet-lane:a:b"
