"""Whether a request comes from Vapi: a shared secret, a bearer token, or a signature.

Any one configured method that verifies is enough.  With none configured everybody is let in,
which only happens outside production.  Source: SPEC §5, PROVIDERS §2.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from wallet_http.auth import unauthorized
from wallet_http.bodies import body_of
from wallet_http.options import EdgeOptions, VapiHmacOptions

UNPROVEN: Final = "Nothing in this request proves that it comes from Vapi."
SHARED_HEADER: Final = "X-Vapi-Secret"
MILLISECONDS_FROM: Final = 10**12
"""A larger time is in milliseconds: as seconds it would lie 30,000 years ahead."""

_TIMESTAMP: Final = re.compile(r"[0-9]{1,16}")
_PLACE: Final = re.compile(r"(\{(?:timestamp|body|method|url|svix-id)\})")


async def authenticated_body(request: web.Request, options: EdgeOptions, now_ms: int) -> bytes:
    """Return the body of a request that proved to come from Vapi.

    Raises:
        Problem: 401, nothing proves it; 408, the body did not arrive.
        HTTPRequestEntityTooLarge: the body is larger than messages of Vapi may be.
    """
    vapi = options.vapi
    headers = request.headers
    believed = (
        options.environment != "production"
        if not vapi.is_authenticated
        else _has_secret(headers, vapi.secret) or _has_token(headers, vapi.bearer_token)
    )
    if not believed and vapi.hmac is None:
        raise unauthorized(UNPROVEN)
    if (request.content_length or options.vapi_body_max_bytes) > options.body_max_bytes:
        request = request.clone(client_max_size=options.vapi_body_max_bytes)
    body = await body_of(request)
    if not believed:
        assert vapi.hmac is not None
        url = _url_of(request, options.public_url)
        if not signature_verifies(vapi.hmac, headers, request.method, url, body, now_ms=now_ms):
            raise unauthorized(UNPROVEN)
    return body


def signature_verifies(
    options: VapiHmacOptions,
    headers: Mapping[str, str],
    method: str,
    url: str,
    body: bytes,
    *,
    now_ms: int,
) -> bool:
    """Whether the signature in `headers` is that of this request, and not an old one."""
    timestamp = headers.get(options.timestamp_header, "")
    if "{timestamp}" in options.payload_format and not _is_recent(
        timestamp, now_ms, options.skew_s
    ):
        return False
    given = headers.get(options.signature_header, "")
    if not given.startswith(options.prefix):
        return False
    try:
        key = (
            base64.b64decode(options.secret, validate=True)
            if options.secret_is_base64
            else options.secret.encode()
        )
    except binascii.Error:
        return False
    parts = {
        "{timestamp}": _bytes(timestamp),
        "{body}": body,
        "{method}": _bytes(method),
        "{url}": _bytes(url),
        "{svix-id}": _bytes(headers.get(options.message_id_header, "")),
    }
    signature = hmac.new(key, digestmod=options.algorithm)
    for part in _PLACE.split(options.payload_format):
        signature.update(parts.get(part, _bytes(part)))
    if options.encoding == "hex":
        expected, given = signature.hexdigest(), given.removeprefix(options.prefix).lower()
    else:
        expected = base64.b64encode(signature.digest()).decode().rstrip("=")
        given = given.removeprefix(options.prefix).rstrip("=")
    return _equal(given, expected)


def _url_of(request: web.Request, public_url: str) -> str:
    """Return the address that Vapi posted to; empty if the request's `Host` can be none."""
    if public_url:
        return public_url + request.path_qs
    try:
        return str(request.url)
    except ValueError:
        return ""


def _is_recent(timestamp: str, now_ms: int, skew_s: float) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    signed = int(timestamp)
    signed_ms = signed if signed > MILLISECONDS_FROM else signed * 1000
    return abs(now_ms - signed_ms) <= skew_s * 1000


def _has_secret(headers: Mapping[str, str], secret: str) -> bool:
    return bool(secret) and _equal(headers.get(SHARED_HEADER, ""), secret)


def _has_token(headers: Mapping[str, str], token: str) -> bool:
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and _equal(given.strip(), token)


def _equal(given: str, expected: str) -> bool:
    """Compare in constant time; headers may hold anything."""
    return hmac.compare_digest(_bytes(given), _bytes(expected))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
