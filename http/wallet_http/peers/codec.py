"""What nodes say to each other, as JSON: numbered items, and what became of an ask.

Only data, never code.  Many items are one document: measured, that is a third of the CPU of as
many documents, and pydantic-core takes a quarter of the standard library's.  Enums are written by
their values beforehand, or a document would take five times as long.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import from_json, to_json

from wallet_engine import errors
from wallet_engine.journal import Answer, Outcome, RefusalCode

ERRORS: Final[Mapping[type[errors.WalletError], tuple[str, ...]]] = MappingProxyType(
    {
        errors.InvalidCommand: ("field", "problem"),
        errors.UnknownOrg: ("org_id",),
        errors.Overloaded: (),
        errors.DeadlinePassed: (),
        errors.LedgerUnavailable: (),
        errors.LedgerFault: (),
        errors.OwnerUnreachable: (),
        errors.NotMine: ("owner",),
        errors.PeerUnreachable: (),
        errors.PeerLost: (),
    }
)
"""Whatever may come back instead of an answer, and what it is made of, if not of its text."""

TEXT_MAX = 500
"""An error's own text travels up to this length: it may repeat what a database said."""

NAMED: Final[Mapping[str, type[errors.WalletError]]] = MappingProxyType(
    {kind.__name__: kind for kind in ERRORS}
)
OUTCOMES: Final[Mapping[str, Outcome]] = MappingProxyType({str(it): it for it in Outcome})
CODES: Final[Mapping[str | None, RefusalCode | None]] = MappingProxyType(
    {None: None, **{str(it): it for it in RefusalCode}}
)

CANCELLED: Final = "cancelled"
"""What became of an ask that was cancelled before it was answered: nobody waits for it.  To one
who does, it would mean nothing."""

Item = Sequence[Any]
"""A number, and what goes with it."""


class Unreadable(Exception):
    """What arrived is no such thing; the text says why."""


class Unsayable(Exception):
    """This cannot be written as JSON: a text in it is no valid UTF-8."""


def document_of(items: Sequence[Item]) -> bytes:
    """Return items as one document.

    Raises:
        Unsayable: one of them cannot be written.
    """
    try:
        return to_json(items, fallback=_plain)
    except (ValueError, TypeError) as error:
        raise Unsayable(str(error)) from error


def items_of(document: bytes) -> list[list[Any]]:
    """Return the items of a document; beyond their numbers they are unread.

    Raises:
        Unreadable: it is no list of numbered items.
    """
    items = value_of(document)
    if type(items) is not list:
        raise Unreadable("no list")
    for item in items:
        if type(item) is not list or not item or type(item[0]) is not int:
            raise Unreadable("no list of numbered items")
    return items


def value_of(document: bytes) -> object:
    """Return what a document says.

    Raises:
        Unreadable: it is no JSON.
    """
    try:
        return from_json(document, cache_strings="keys")
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from None


def answer_item(number: int, answer: Answer) -> Item:
    """Return what says `answer`: `[number, outcome, body]`, and its code if it has one."""
    outcome, body, code = answer
    if code is None:
        return (number, outcome._value_, body)
    return (number, outcome._value_, body, code._value_)


def error_item(number: int, error: BaseException) -> Item:
    """Return what says `error`: `[number, type, parts]`.

    One derived from an error that both nodes know is told as that; any other as `PeerLost`, for
    nobody can tell what was done.
    """
    for kind in type(error).__mro__:
        parts = ERRORS.get(kind)
        if parts is not None:
            told = [getattr(error, part) for part in parts] or [str(error)]
            return (number, kind.__name__, *(_sayable(text) for text in told))
    return (number, errors.PeerLost.__name__, "the other node failed")


def cancelled_item(number: int) -> Item:
    """Return what says that an ask was cancelled as its asker wished."""
    return (number, CANCELLED)


def answer_of(item: Item) -> Answer | errors.WalletError:
    """Return the answer that an item says, or the error to raise.

    Raises:
        Unreadable: it is neither.
    """
    try:
        word = item[1]
        outcome = OUTCOMES.get(word)
        if outcome is None:
            return _error_of(word, item[2:])
        body = item[2]
        if type(body) is not dict:
            raise Unreadable("the body is no object")
        return Answer(outcome, body, CODES[item[3]] if len(item) > 3 else None)  # noqa: PLR2004  # the code stands last
    except (LookupError, TypeError) as error:
        raise Unreadable(f"no answer: {type(error).__name__} {error}") from None


def _error_of(word: str, parts: Item) -> errors.WalletError:
    kind = NAMED[word]
    for part in parts:
        if type(part) is not str:
            raise Unreadable(f"{word} is not made of {part!r}")
    return kind(*parts)


def _sayable(text: str) -> str:
    return text[:TEXT_MAX].encode(errors="replace").decode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
