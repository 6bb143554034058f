"""How requests become values: the one place that doubts the outside.

A body is read once as bytes and filled into a TypedDict by pydantic: strict types, no unknown
fields.  What a value may mean is checked where commands are made, in the engine.  Everything
wrong with a request is an `InvalidCommand` that names the part.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Decimal
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from wallet_engine.errors import InvalidCommand
from wallet_engine.texts import check_key, check_org_id, check_text

from .answers import Problem
from .auth import PRINCIPAL
from .routing import Scope

BODY_S_MAX = 30.0
"""How long a body may take to arrive: a caller who trickles must not hold memory for ever."""

TEXT_MAX = 65_536
"""The longest text inside a stored configuration: prompts are long, but not longer."""

Values = dict[str, Any]


async def body_of(request: web.Request) -> bytes:
    """Return the whole body, once; its length is bounded by what the server allows the route.

    Raises:
        HTTPRequestEntityTooLarge: it is longer.
        RequestPayloadError: it is cut off, or not encoded as its headers say.
        Problem: it did not arrive in time.
    """
    content = request.content
    if content.is_eof():  # a small body comes with its headers: no timer, and no waiting
        raw = content.read_nowait()
        if len(raw) > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(request.client_max_size)
        return raw
    if (request.content_length or 0) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    try:
        async with asyncio.timeout(BODY_S_MAX):
            return await request.read()
    except ConnectionError as error:  # a caller who left is no fault of ours, and hears nothing
        raise web.RequestPayloadError("the caller has left") from error
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "body_timeout", "The body did not arrive in time."
        ) from None


def reader_of(shape: type) -> Callable[[bytes], Values]:
    """Return what reads a body of `shape`, a TypedDict, into the names that the engine uses.

    The reader raises:
        InvalidCommand: what is sent is not of that shape.
    """
    validate = TypeAdapter[Values](shape).validator.validate_json

    def read(raw: bytes) -> Values:
        try:
            values: Values = validate(raw)
        except ValidationError as error:
            raise _fault(error.errors(include_url=False, include_input=False)[0]) from None
        # Each field has one colon, so more of them are nested, within texts, or of a field
        # that is given twice, of which pydantic would take the last.
        if raw.count(b":") != len(values):
            json.loads(raw, object_pairs_hook=_without_repeats)
        return values

    return read


def key_of(request: web.Request) -> str:
    """Return the idempotency key that this request must carry."""
    key = request.headers.get("Idempotency-Key")
    if not key:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "idempotency_key_required",
            "This request needs an Idempotency-Key header, so that a repeat does nothing more.",
            {"field": "Idempotency-Key"},
        )
    return check_key(key)


def optional_key_of(request: web.Request) -> str | None:
    """Return the idempotency key that this request may carry; an empty one is wrong."""
    key = request.headers.get("Idempotency-Key")
    return None if key is None else check_key(key)


def whole_ms(seconds: float) -> int:
    """Return `seconds` in milliseconds, rounded up in decimals: 42.7 s are 42 700 ms, not 42 701.

    A JSON number is a double (RFC 8259, section 6); its shortest decimal form is what was meant.
    """
    if seconds.is_integer():
        return int(seconds) * 1000
    return int((Decimal(repr(seconds)) * 1000).to_integral_value(ROUND_CEILING))


IN_MS: Final = AfterValidator(whole_ms)
"""Marks a field in seconds that the engine takes in milliseconds."""


def org_of(request: web.Request) -> str:
    """Return the org that is asked about: a customer's own, else the one that the query names.

    Raises:
        Problem: it is another org than the token's.
    """
    principal = request[PRINCIPAL]
    asked = request.query.get("org_id")
    if principal.scope is not Scope.ORG:
        if asked is None:
            raise InvalidCommand("org_id", "is required in the query")
        return check_org_id(asked)
    if asked is not None and asked != principal.org_id:
        raise Problem(HTTPStatus.FORBIDDEN, "forbidden", "This token is for another organisation.")
    return principal.org_id


def check_query(request: web.Request, allowed: Mapping[str, str]) -> None:
    """Refuse parameters that are not `allowed`, or given twice: a typing error must not pass."""
    for name in request.query:
        if name not in allowed:
            raise InvalidCommand(name, "is not a parameter of this address")
        if len(request.query.getall(name)) > 1:
            raise InvalidCommand(name, "is given twice")


def check_storable(field: str, value: object) -> None:
    """Refuse a JSON value that holds a text or number which the database cannot store.

    The depth of `value` is bounded by the parser it came from.
    """
    match value:
        case str():
            check_text(field, value, low=0, high=TEXT_MAX)
        case float() if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124
            raise InvalidCommand(field, "must hold finite numbers only")
        case dict():
            for name, item in value.items():
                check_text(field, name, low=0, high=TEXT_MAX)
                check_storable(field, item)
        case list():
            for item in value:
                check_storable(field, item)
        case _:
            pass


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise InvalidCommand(twice, "is given twice")
    return found


def _fault(error: ErrorDetails) -> InvalidCommand:
    field = ".".join(str(part) for part in error["loc"]) or "body"
    kind = error["type"]
    context = error.get("ctx", {})
    match kind:
        case "json_invalid":
            return InvalidCommand("body", f"must be JSON: {context['error']}")
        case "greater_than_equal":
            return InvalidCommand(field, f"must be at least {context['ge']:.0f}")
        case "less_than_equal":
            return InvalidCommand(field, f"must be at most {context['le']:.0f}")
        case "enum" | "literal_error":
            return InvalidCommand(field, f"must be one of {context['expected']}")
        case _:
            return InvalidCommand(field, PROBLEMS.get(kind, f"cannot be used ({kind})"))


PROBLEMS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number within its limits",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "dict_type": "must be an object",
    "list_type": "must be a list",
}
"""What to say of each kind of fault, after the name of the field."""
