"""JSON that a parser, a rule or a database may choke on, as values that can be written and shrunk.

Beside Python's own values there are `Raw`, which is written as it is, and `Members`, an object
whose names may repeat.
"""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

Hostile = st.SearchStrategy[Any]


SHOWN_MAX = 60
"""How much is shown of a long text, where a value is told of."""


class Raw(str):
    """Text that stands in the JSON as it is, whether or not it is JSON."""

    __slots__ = ()

    def __repr__(self) -> str:
        if len(self) <= SHOWN_MAX:
            return f"Raw({str(self)!r})"
        return f"Raw({self[: SHOWN_MAX // 2]!r}, of {len(self)} characters)"


class Members(list[tuple[str, Any]]):
    """The members of an object, in order; a name may come twice."""

    def __repr__(self) -> str:
        return f"Members({list(self)!r})"


def written(value: object) -> str:
    """Return `value` as JSON; lone surrogates become escapes, NaN and Infinity stay."""
    match value:
        case Raw():
            return str(value)
        case Members() | dict():
            pairs = value if isinstance(value, Members) else value.items()
            return "{" + ",".join(f"{json.dumps(name)}:{written(it)}" for name, it in pairs) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
        case _:
            return json.dumps(value)


def nested(depth: int, opening: str = "[", closing: str = "]") -> Raw:
    """Return a value so many levels deep."""
    return Raw(opening * depth + "0" + closing * depth)


NUMBERS = (
    0, 1, -1, 2, 60, 0.2, 42.7, -42.7, 89.9999999999, 1e-300, -0.0, 1e18, 1e308,
    2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30,
    Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e400"), Raw("-1e400"), Raw("1e-400"),
    Raw("1" + "0" * 400), Raw("9" * 5000), Raw("0." + "1" * 5000), Raw("1E+2"), Raw("00042"),
    Raw("0x10"), Raw("+1"), Raw("1."), Raw(".5"), Raw("1_000"), Raw("-"), Raw("1e"),
)  # fmt: skip
"""Numbers at and past every edge, and what only looks like one."""

TEXTS = (
    "", " ", "0", "42.7", "-1", " 42", "1e400", "NaN", "true", "null", "[]", "{}",
    "\0", "a\0b", "\ud800", "\udc00\ud800", "a\ud83d", "\U0001f600", "\u202eevil", "\ufeff",
    "\u0661\u0662", "İ", "ﬃ", "e\u0301", "a\nb", "a\rb", "\t", "\x7f", "\x1b[31m", "\\", '"', "'",
    "'; DROP TABLE organizations; --", "%s%n", "${jndi:x}", "{0}", "../../etc/passwd", "<script>",
    "x" * 128, "x" * 129, "é" * 128, "x" * 201, "x" * 10_000, "\U0001f600" * 300,
    "__proto__", "constructor", "org-1", "*", "ended", "assistant-request ",
)  # fmt: skip
"""Texts that are no ids, no words and no numbers, or only seem to be."""

ESCAPED = (
    Raw(r'"\ud800"'), Raw(r'"\u0000"'), Raw(r'"\udfff\ud800"'), Raw(r'"\x41"'), Raw(r'"\u12"'),
    Raw('"a\nb"'), Raw('"a\x01b"'), Raw("'single'"), Raw('"open'),
)  # fmt: skip
"""Texts as they may be written, rightly or not."""

SHAPES: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None], {"": None}, {"id": {}}, [{"id": "x"}],
    Members([("id", "a"), ("id", "b")]), Members([("type", "hang"), ("type", 1)]),
    nested(10), nested(200), nested(2_000), nested(100_000),
    nested(300, '{"call":', "}"), Raw("[" * 50_000), Raw(""), Raw("undefined"), Raw("[1,]"),
)  # fmt: skip
"""Values of the wrong shape."""

TIMES = (
    "2026-07-16T18:00:00.000Z", "2026-07-16T18:03:00.000Z", "2026-07-16T18:03:00Z",
    "2026-07-16T20:03:00+02:00", "2026-07-16T18:03:00", "2026-07-16 18:03:00Z", "2026-07-16",
    "20260716T180300Z", "2026-W29-4T18:03:00Z", "2026-07-16T18:03:60Z", "2026-07-16T24:00:00Z",
    "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00Z", "2026-07-16T18:03:00+99:99", "2026-07-16T18:03:00.123456789Z",
    "Thu, 16 Jul 2026 18:03:00 GMT", "1784224980", "1784224980000", "now", "",
    "-2026-07-16T18:03:00Z", "+12026-07-16T18:03:00Z", "\uff12\uff10\uff12\uff16-07-16T18:03:00Z",
)  # fmt: skip
"""Times in every form, and some that are none."""

Moments = st.datetimes(
    datetime(2026, 7, 16, 17),  # noqa: DTZ001  # hypothesis adds the zone itself
    datetime(2026, 7, 16, 19),  # noqa: DTZ001  # the same
    timezones=st.just(UTC),
).map(lambda it: it.isoformat())

times: Hostile = st.sampled_from(TIMES) | Moments | st.sampled_from([1784224980000, 1784224980.5])

scalars: Hostile = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from(ESCAPED),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
)

anything: Hostile = st.one_of(scalars, st.sampled_from(SHAPES), st.sampled_from(TIMES))
"""One value that a field does not expect."""


def spoiled(valid: Hostile) -> Hostile:
    """Give mostly what is valid, and now and then anything."""
    return st.integers(0, 5).flatmap(lambda dice: anything if dice == 5 else valid)
