"""Who is asking: bearer tokens (JWT), verified once and remembered until they expire.

One key of one kind verifies all tokens, and the kind fixes the algorithm: what a token says of
its own algorithm is never believed.  Source: SPEC §5, Auth; RFC 8725.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wallet_engine.errors import InvalidCommand
from wallet_engine.texts import check_org_id

from .answers import Problem
from .options import AuthOptions
from .routing import Scope

TOKEN_MAX = 8192
"""The longest token that is looked at: a header line cannot be longer anyway."""

REMEMBERED_MAX = 10_000
"""Tokens remembered at once, a few megabytes; the oldest leaves first."""

REMEMBERED_S_MAX = 300.0
"""A token is verified again after this time, so that a withdrawn key stops working."""

SUBJECT_MAX = 200

ALLOWED: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.ORG: frozenset({Scope.ORG, Scope.SERVICE, Scope.OPERATOR}),
    Scope.SERVICE: frozenset({Scope.SERVICE, Scope.OPERATOR}),
    Scope.OPERATOR: frozenset({Scope.OPERATOR}),
}
"""Which scopes of tokens may call a route of which scope.  Source: SPEC §5, Auth."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking.  `org_id` is empty but for scope `org`."""

    scope: Scope
    org_id: str
    subject: str


PRINCIPAL: Final = web.RequestKey("PRINCIPAL", Principal)


class Keys(Protocol):
    """Where the key comes from that verifies a token."""

    async def key_for(self, token: str) -> tuple[Any, str]:
        """Return the key for `token`, and the one algorithm that this key is for.

        Raises:
            jwt.PyJWTError: there is no key for it.
            Problem: the keys cannot be had now.
        """


class OneKey:
    """The same key for every token; no key at all refuses every token."""

    def __init__(self, options: AuthOptions) -> None:
        self._key, self._algorithm = _loaded(options)

    async def key_for(self, token: str) -> tuple[Any, str]:  # noqa: ARG002  # any token
        """Return the key."""
        if self._key is None:
            raise jwt.InvalidKeyError("no key is set")
        return self._key, self._algorithm


def _loaded(options: AuthOptions) -> tuple[Any, str]:
    if options.jwt_secret:
        return options.jwt_secret.encode(), "HS256"
    if options.jwt_public_key:
        key = load_pem_public_key(options.jwt_public_key.encode())
        return key, algorithm_of(key)
    return None, ""


def algorithm_of(key: object) -> str:
    """Return the one algorithm that a public key is for."""
    if isinstance(key, RSAPublicKey):
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return "ES256"
    raise ValueError("The public key must be RSA, or EC on the curve P-256.")


class Guard:
    """Verifies tokens, and remembers which ones it has verified."""

    def __init__(self, options: AuthOptions, keys: Keys) -> None:
        self._options = options
        self._keys = keys
        self._remembered: dict[str, tuple[Principal, float]] = {}

    def known(self, authorization: str | None) -> Principal | None:
        """Return who sent this `Authorization` header, if it was verified lately."""
        found = self._remembered.get(authorization) if authorization is not None else None
        return found[0] if found is not None and time.time() < found[1] else None

    async def admit(self, authorization: str | None) -> Principal:
        """Verify an `Authorization` header, and remember it.

        Raises:
            Problem: 401, nobody we know; 503, the keys cannot be had now.
        """
        kind, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise unauthorized("Sign in: send Authorization: Bearer <token>.")
        if len(token) > TOKEN_MAX or not token.isascii():
            raise unauthorized("The token is not valid.")
        claims = await self._claims(token)
        principal = _principal_of(claims)
        assert authorization is not None, "a token came from it"
        expires = claims["exp"] + self._options.leeway_s
        if len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[authorization] = (
            principal,
            min(expires, time.time() + REMEMBERED_S_MAX),
        )
        return principal

    async def _claims(self, token: str) -> Mapping[str, Any]:
        options = self._options
        try:
            key, algorithm = await self._keys.key_for(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=options.audience or None,
                issuer=options.issuer or None,
                leeway=options.leeway_s,
                options={
                    "require": ["exp"],
                    "verify_aud": bool(options.audience),
                    "verify_iss": bool(options.issuer),
                },
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("The token has expired.") from None
        except jwt.MissingRequiredClaimError as error:
            raise unauthorized(f"The token lacks the claim {error.claim}.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise unauthorized("The token is not valid.") from None
        if isinstance(claims["exp"], bool) or not isinstance(claims["exp"], int | float):
            raise unauthorized("The token is not valid: exp must be a number.")
        return claims


def check_scope(principal: Principal, scope: Scope) -> None:
    """Refuse who may not call a route of `scope`.

    Raises:
        Problem: 403.
    """
    if principal.scope not in ALLOWED[scope]:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            f"This needs a token of scope {scope}; yours is of scope {principal.scope}.",
        )


def unauthorized(message: str) -> Problem:
    """Return the answer to somebody who is not signed in."""
    return Problem(
        HTTPStatus.UNAUTHORIZED, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"}
    )


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    """Read who it is from verified claims; without a scope it is a customer."""
    subject = str(claims.get("sub") or "")[:SUBJECT_MAX]
    match claims.get("scope", Scope.ORG):
        case Scope.SERVICE | Scope.OPERATOR as scope:
            return Principal(Scope(scope), "", subject or str(scope))
        case Scope.ORG:
            try:
                org_id = check_org_id(claims.get("org_id"))
            except InvalidCommand:
                raise unauthorized("A token of scope org needs the claim org_id.") from None
            return Principal(Scope.ORG, org_id, subject or org_id)
        case _:
            raise unauthorized("The token's scope must be org, service or operator.")
