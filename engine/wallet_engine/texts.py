"""What a text may be before it reaches the rules: bounded, valid UTF-8, no NUL, no surrogates.

One NUL or lone surrogate would abort the statement of a whole batch of wallets.
"""

import re

from .errors import InvalidCommand

ORG_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
DESCRIPTION_MAX = 500
NAME_MAX = 200


def check_text(field: str, value: object, *, low: int, high: int) -> str:
    """Return `value` if it is a storable text of `low`..`high` characters."""
    if type(value) is not str or not low <= len(value) <= high:
        raise InvalidCommand(field, f"must be a text of {low}..{high} characters")
    if not value.isascii() or "\0" in value:
        if "\0" in value:
            raise InvalidCommand(field, "must not contain a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidCommand(field, "must be valid UTF-8, without lone surrogates") from None
    return value


def check_printable(field: str, value: object, *, high: int) -> str:
    """Return `value` if it is a printable text of 1..`high` characters."""
    text = check_text(field, value, low=1, high=high)
    if not text.isprintable():
        raise InvalidCommand(field, "must be printable characters only")
    return text


def check_org_id(value: object) -> str:
    """Return `value` if it can name an organisation."""
    if type(value) is not str or not ORG_ID.fullmatch(value):
        raise InvalidCommand("org_id", "must be 1..64 characters of A-Z a-z 0-9 _ . : -")
    return value


def check_call_id(value: object) -> str:
    """Return `value` if it can name a call."""
    return check_printable("call_id", value, high=128)


def check_key(value: object) -> str:
    """Return `value` if it can be an idempotency key."""
    return check_printable("Idempotency-Key", value, high=255)
