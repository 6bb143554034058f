"""The keys of a signer who publishes them (JWKS): fetched when needed, kept for a while."""

import asyncio
import json
import logging
import time
from http import HTTPStatus
from typing import Any

import aiohttp
import jwt

from .answers import Problem
from .auth import algorithm_of

LOG = logging.getLogger(__name__)

FRESH_S = 600.0
"""Keys are fetched again after this time, so that a withdrawn one stops working."""

RETRY_S = 30.0
"""The least time between two fetches: unknown key ids must not become a flood."""

FETCH_S_MAX = 5.0
SET_BYTES_MAX = 1_048_576


class KeySet:
    """The public keys behind one address, by key id.  Owns an HTTP session, made on first use.

    A caller who is cancelled may leave a fetch half done; the next one fetches again.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, tuple[Any, str]] = {}
        self._fetched_at = -FRESH_S
        self._tried_at = -FRESH_S
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def key_for(self, token: str) -> tuple[Any, str]:
        """Return the key that `token` names, and the algorithm that this key is for."""
        kid = jwt.get_unverified_header(token).get("kid", "")
        now = time.monotonic()
        if kid not in self._keys or now - self._fetched_at > FRESH_S:
            async with self._lock:
                if time.monotonic() - self._tried_at > RETRY_S:
                    await self._fetch()
        if not self._keys:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "keys_unavailable",
                "The keys that verify tokens cannot be reached. Try again shortly.",
            )
        if kid not in self._keys:
            raise jwt.InvalidKeyError("no such key")
        return self._keys[kid]

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def _fetch(self) -> None:
        """Replace the keys; what cannot be fetched or read leaves those that there are."""
        self._tried_at = time.monotonic()
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_S_MAX))
        try:
            async with self._session.get(self._url, allow_redirects=False) as response:
                raw = await _bounded(response)
            self._keys = _read(json.loads(raw)["keys"])
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            LOG.warning("The keys that verify tokens cannot be fetched: %r", error)
            return
        self._fetched_at = time.monotonic()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    if response.status != HTTPStatus.OK:
        raise ValueError(f"status {response.status}")
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > SET_BYTES_MAX:
            raise ValueError(f"more than {SET_BYTES_MAX} bytes")
    return bytes(raw)


def _read(stored: list[dict[str, Any]]) -> dict[str, tuple[Any, str]]:
    """Return the keys that sign tokens with an algorithm we take; others are none of ours."""
    found: dict[str, tuple[Any, str]] = {}
    for item in stored:
        if item.get("kty") not in {"RSA", "EC"} or item.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(item, algorithm="RS256" if item["kty"] == "RSA" else "ES256").key
            algorithm = algorithm_of(key)
        except (jwt.PyJWTError, ValueError):
            continue
        if item.get("alg", algorithm) == algorithm:
            found[str(item.get("kid", ""))] = (key, algorithm)
    return found
