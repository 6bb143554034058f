"""How long a call took, from what its messages say.  Exact: integer milliseconds, rounded up.

Rounded up, because a second that began is a second.  What is negative or absurd proves
nothing and the next source is asked.  Source: SPEC §5.1, PROVIDERS §1.3.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from math import isfinite
from typing import Final

from wallet_engine.settings import VAPI_SECONDS_MAX

from .messages import Message, word

DURATION_MS_MAX: Final = 2 * VAPI_SECONDS_MAX * 1000
"""A longer call is absurd: twice what Vapi lets any call last, for those forwarded at its end."""

TIME_LENGTH_MAX = 64
"""How long a time may be written; Vapi's have 24 characters."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

NEVER_CONNECTED_PREFIXES: Final = ("assistant-request-", "call.start.error-")
NEVER_CONNECTED: Final = frozenset(
    {
        "customer-busy",
        "customer-did-not-answer",
        "twilio-failed-to-connect-call",
        "vonage-failed-to-connect-call",
    }
)
"""Reasons that prove, where no time is told, that nobody ever talked.  Source: Vapi's OpenAPI,
`endedReason`; a missing `startedAt` alone proves nothing, messages often leave it out."""


def duration_ms(message: Message) -> int | None:
    """Return how long the call took, 0 if it never connected, None if nothing proves it."""
    for found in _candidates(message):
        if found is not None and 0 <= found <= DURATION_MS_MAX:
            return found
    return 0 if _never_connected(message) else None


def started_at(message: Message) -> datetime | None:
    """Return when the provider says that the call started."""
    return _time(message.message.get("startedAt")) or _time(message.call.get("startedAt"))


def ended_at(message: Message) -> datetime | None:
    """Return when the provider says that the call ended."""
    return _time(message.message.get("endedAt")) or _time(message.call.get("endedAt"))


def epoch_ms(time: datetime | None) -> int | None:
    """Return `time` in milliseconds since 1970, or None."""
    if time is None or time < EPOCH:
        return None
    return (time - EPOCH) // MILLISECOND


def ended_reason(message: Message) -> str | None:
    """Return why the call ended, in the provider's word."""
    return word(message.message.get("endedReason")) or word(message.call.get("endedReason"))


def scaled(value: object, factor: int, highest: int) -> int | None:
    """Return a JSON number times `factor`, rounded up, if that is within 0..`highest`."""
    if type(value) is int:
        product = value * factor
    elif type(value) is float and isfinite(value):
        product = int((Decimal(repr(value)) * factor).to_integral_value(ROUND_CEILING))
    else:
        return None
    return product if 0 <= product <= highest and value >= 0 else None


def _candidates(message: Message) -> Iterator[int | None]:
    """Give the durations that a message tells, the most trustworthy first."""
    told = message.message
    started, ended = started_at(message), ended_at(message)
    if started is not None and ended is not None:
        yield -((started - ended) // MILLISECOND)
    yield scaled(told.get("durationSeconds"), 1000, DURATION_MS_MAX)
    yield scaled(told.get("durationMs"), 1, DURATION_MS_MAX)
    costs = told.get("costs", [])
    for kind in ("vapi", "transport", None):
        for cost in costs:
            if kind is None or cost.get("type") == kind:
                yield scaled(cost.get("minutes"), 60_000, DURATION_MS_MAX)


def _never_connected(message: Message) -> bool:
    reason = ended_reason(message)
    if reason is None or started_at(message) is not None:
        return False
    return reason in NEVER_CONNECTED or reason.startswith(NEVER_CONNECTED_PREFIXES)


def _time(value: object) -> datetime | None:
    """Read a time as ISO 8601; one without a zone is taken for UTC."""
    if type(value) is not str or len(value) > TIME_LENGTH_MAX:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
