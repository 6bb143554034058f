"""Keys that a signer publishes: fetched when needed, never trusted for more than they are."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from wallet_http import jwks
from wallet_http.answers import Problem
from wallet_http.auth import Guard
from wallet_http.jwks import KeySet
from wallet_http.options import AuthOptions

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(**more: object) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "r", **more}


def ec_jwk(**more: object) -> dict[str, Any]:
    return {**json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "e", **more}


def token(key: Any, algorithm: str, kid: str | None) -> str:  # noqa: ANN401  # any key
    claims = {"scope": "operator", "exp": time.time() + 60}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else {})


@dataclass
class Signer:
    """Publishes keys; `status` 500 is a bad day."""

    keys: list[object] = field(default_factory=list)
    status: int = 200
    asked: int = 0
    url: str = ""

    async def serve(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys}, status=self.status)


@asynccontextmanager
async def signer(*keys: object) -> AsyncIterator[tuple[Signer, Guard]]:
    found = Signer(list(keys))
    app = web.Application()
    app.router.add_get("/keys", found.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    published = KeySet(found.url)
    try:
        yield found, Guard(AuthOptions(jwks_url=found.url), published)
    finally:
        await published.close()
        await runner.cleanup()


async def status_of(guard: Guard, signed: str) -> int:
    try:
        await guard.admit(f"Bearer {signed}")
    except Problem as problem:
        return int(problem.status)
    return 200


async def test_tokens_of_published_keys_are_believed() -> None:
    """By the key that they name, with the algorithm of that key; one fetch is enough."""
    async with signer(rsa_jwk(), ec_jwk()) as (published, guard):
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 200
        assert await status_of(guard, token(EC_KEY, "ES256", "e")) == 200
        assert await status_of(guard, token(EC_KEY, "ES256", "r")) == 401
        assert await status_of(guard, token(RSA_KEY, "RS256", "e")) == 401
        assert await status_of(guard, token(RSA_KEY, "RS512", "r")) == 401
        assert await status_of(guard, token("s" * 32, "HS256", "r")) == 401
        assert await status_of(guard, token(RSA_KEY, "RS256", "unknown")) == 401
        assert await status_of(guard, token(RSA_KEY, "RS256", None)) == 401
        assert published.asked == 1


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "r", "alg": "HS256"},
        rsa_jwk(use="enc"),
        rsa_jwk(alg="RS512"),
        rsa_jwk(alg="none"),
        rsa_jwk(n="AQAB"),
        {"kty": "RSA", "kid": "r"},
        {},
    ],
)
async def test_other_keys_are_none_of_ours(key: object) -> None:
    """Secrets, keys for encryption, other algorithms, broken ones: as if they were not there."""
    async with signer(key, ec_jwk()) as (_, guard):
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 401
        assert await status_of(guard, token(EC_KEY, "ES256", "e")) == 200


async def test_without_any_key_nobody_can_tell() -> None:
    """503: the token may well be right."""
    async with signer() as (published, guard):
        published.status = 500
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 503


async def test_a_new_key_is_found_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key id asks again, but not for every request."""
    async with signer(rsa_jwk()) as (published, guard):
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 200
        published.keys.append(ec_jwk())
        assert await status_of(guard, token(EC_KEY, "ES256", "e")) == 401
        assert published.asked == 1
        monkeypatch.setattr(jwks, "RETRY_S", -1.0)
        assert await status_of(guard, token(EC_KEY, "ES256", "e")) == 200
        assert published.asked == 2


async def test_old_keys_serve_while_the_signer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bad day is not ours."""
    async with signer(rsa_jwk()) as (published, guard):
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 200
        monkeypatch.setattr(jwks, "RETRY_S", -1.0)
        monkeypatch.setattr(jwks, "FRESH_S", -1.0)
        published.status = 500
        assert await status_of(guard, token(RSA_KEY, "RS256", "r")) == 200
        assert published.asked > 1
