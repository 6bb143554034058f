"""Asks on their way to another node: `[number, milliseconds left, verb, values]`.

Only the values travel; the asker says once for each connection which fields they are of, in its
`table`.  So nodes of two versions understand each other in all that both know: a field that one of
them does not have counts as its default, and is no hindrance while it has that value.  On arrival
each command is made anew, so its own checks run again.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from pydantic_core import to_json

from wallet_engine import commands
from wallet_engine.commands import Ask

from .codec import Item, Unreadable

FORWARDED: Final[tuple[type[Ask], ...]] = (
    commands.ChangeSettings,
    commands.Check,
    commands.Commit,
    commands.Credit,
    commands.Deduct,
    commands.Expire,
    commands.Extend,
    commands.Kill,
    commands.Look,
    commands.NoteStart,
    commands.Prolong,
    commands.Release,
    commands.Reserve,
    commands.Resume,
    commands.Suspend,
    commands.Welcome,
)
"""Whatever a node may ask of another; its questions to itself are not among it."""

LEFT_MS_MAX = 3_600_000
"""The longest that an ask may take: far above any deadline."""

Values = Callable[[Ask], tuple[object, ...]]
Read = Callable[[list[Any]], Ask]
Convert = Callable[[Any], object]


def table() -> bytes:
    """Return what a node says of its asks: the fields of each verb, with defaults."""
    return to_json({kind.verb: _told(kind) for kind in FORWARDED})


class AskWriter:
    """Writes asks, for those who have the `table`."""

    def __init__(self) -> None:
        self._values_of: Mapping[type[Ask], Values] = MappingProxyType(
            {kind: _values_of(kind) for kind in FORWARDED}
        )

    def values(self, ask: Ask) -> tuple[object, ...]:
        """Return the values of an ask, in the order of the table."""
        return self._values_of[type(ask)](ask)


class AskReader:
    """Reads asks of one other node, which wrote them by `their_table`.

    Raises:
        Unreadable: it is no table.
    """

    def __init__(self, their_table: object) -> None:
        if type(their_table) is not dict:
            raise Unreadable("no table of asks")
        self._reads: dict[str, Read] = {}
        for kind in FORWARDED:
            theirs = their_table.get(kind.verb)
            if theirs is not None:
                self._reads[kind.verb] = _read_of(kind, theirs)

    def ask(self, item: Item) -> tuple[float, Ask]:
        """Return how many seconds are left, and the ask.

        Raises:
            InvalidCommand: its own checks refuse it.
            Unreadable: it is none that this node knows.
        """
        try:
            _, left_ms, verb, values = item
            if type(left_ms) is not int or not 0 < left_ms <= LEFT_MS_MAX:
                raise Unreadable(f"{left_ms!r} is no time")
            return left_ms / 1000, self._reads[verb](values)
        except (TypeError, ValueError, LookupError) as error:
            raise Unreadable(f"no ask: {type(error).__name__}: {error}") from None


def _told(kind: type[Ask]) -> list[list[object]]:
    return [
        [field.name] if field.default is MISSING else [field.name, field.default]
        for field in fields(kind)
    ]


def _values_of(kind: type[Ask]) -> Values:
    enums = {name for name, hint in get_type_hints(kind).items() if _is_enum(hint)}
    names = [f"{it.name}._value_" if it.name in enums else it.name for it in fields(kind)]
    getter: Callable[[Ask], Any] = attrgetter(*names)
    if len(names) == 1:  # of one name it gives the value alone
        return lambda ask: (getter(ask),)
    return getter


def _read_of(kind: type[Ask], theirs: list[list[Any]]) -> Read:
    try:
        names = [name for name, *_ in theirs]
        defaults = [default[0] if default else MISSING for _, *default in theirs]
    except (TypeError, ValueError):
        raise Unreadable("no table of asks") from None
    ours = {field.name for field in fields(kind)}
    told = zip(names, defaults, strict=True)
    strange = [(name, default) for name, default in told if name not in ours]
    converts = [(name, it) for name, it in _converts(kind).items() if name in names]

    def read(values: list[Any]) -> Ask:
        named = dict(zip(names, values, strict=True))
        for name, convert in converts:
            named[name] = convert(named[name])
        for name, default in strange:
            if named.pop(name) != default:
                raise Unreadable(f"{kind.verb} has no {name} here")
        return kind(**named)

    return read


def _converts(kind: type[Ask]) -> dict[str, Convert]:
    """Return what makes values of the types that a command does not check itself."""
    hints = get_type_hints(kind)
    found: dict[str, Convert] = {}
    for field in fields(kind):
        hint = hints[field.name]
        if _is_enum(hint):
            found[field.name] = {member._value_: member for member in hint}.__getitem__
        elif hint is bool:
            found[field.name] = BOOLEANS.__getitem__
        elif field.default_factory is not MISSING:
            found[field.name] = _object
    return found


BOOLEANS: Final[Mapping[object, bool]] = MappingProxyType({True: True, False: False})


def _is_enum(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _object(value: object) -> object:
    if type(value) is not dict:
        raise TypeError(f"{value!r} is no object")
    return value
