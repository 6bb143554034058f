"""Who is let in: every wrong token, and the confusions between kinds of keys."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wallet_http.answers import Problem
from wallet_http.auth import Guard, OneKey, Principal, check_scope
from wallet_http.options import AuthOptions
from wallet_http.routing import Scope

SECRET = "s" * 32
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
EC_PEM = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: object) -> dict[str, Any]:
    found = {"exp": time.time() + 60, "org_id": "org-1", **more}
    return {name: value for name, value in found.items() if value is not None}


Key = str | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def token(key: Key = SECRET, algorithm: str = "HS256", **more: object) -> str:
    return jwt.encode(claims(**more), key, algorithm)


def claiming(more: Mapping[str, object]) -> str:
    return jwt.encode(claims(**more), SECRET, "HS256")


def by_hand(header: object, body: object, signature: bytes = b"") -> str:
    """A token that no library would make."""
    parts = [json.dumps(part).encode() for part in (header, body)]
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature)
    )


def guard(**options: Any) -> Guard:  # noqa: ANN401  # the fields of the options
    auth = AuthOptions(**({"jwt_secret": SECRET} | options))
    return Guard(auth, OneKey(auth))


async def admitted(authorization: str | None, **options: object) -> Principal:
    return await guard(**options).admit(authorization)


async def turned_away(authorization: str | None, **options: object) -> Problem:
    with pytest.raises(Problem) as caught:
        await guard(**options).admit(authorization)
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"] == "Bearer"
    return caught.value


@pytest.mark.parametrize(
    ("more", "principal"),
    [
        ({}, Principal(Scope.ORG, "org-1", "org-1")),
        ({"scope": "org", "sub": "u1"}, Principal(Scope.ORG, "org-1", "u1")),
        ({"scope": "service", "org_id": None}, Principal(Scope.SERVICE, "", "service")),
        ({"scope": "operator", "sub": "ops"}, Principal(Scope.OPERATOR, "", "ops")),
    ],
)
async def test_a_token_says_who_asks(more: dict[str, object], principal: Principal) -> None:
    """Without a scope it is a customer's."""
    assert await admitted(f"Bearer {claiming(more)}") == principal


async def test_the_word_bearer_is_written_any_way() -> None:
    """Schemes are case-insensitive.  Source: RFC 9110, section 11.1."""
    assert (await admitted(f"bEARER  {token()}")).org_id == "org-1"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer \udce9.\udce9.\udce9",
        "Bearer " + "x" * 9000,
        f"Token {token()}",
        f"Bearer {token()[:-3]}",
        f"Bearer {token()}x",
        f"Bearer {token(key='t' * 32)}",
        f"Bearer {token(exp=time.time() - 60)}",
        f"Bearer {token(exp=None)}",
        f"Bearer {token(nbf=time.time() + 600)}",
        f"Bearer {token(iat=time.time() + 600)}",
        f"Bearer {token(org_id=None)}",
        f"Bearer {token(org_id='')}",
        f"Bearer {token(org_id=5)}",
        f"Bearer {token(org_id='a b')}",
        f"Bearer {token(org_id='x' * 65)}",
        f"Bearer {token(scope='root')}",
        f"Bearer {token(scope='open')}",
        f"Bearer {token(scope='vapi')}",
        f"Bearer {token(scope=['operator'])}",
        f"Bearer {token(scope='operator service')}",
        f"Bearer {token(scope=None, org_id=None)}",
        f"Bearer {token(algorithm='HS384', key='s' * 64)}",
    ],
)
async def test_every_wrong_token_is_turned_away(authorization: str | None) -> None:
    """Not there, cut, forged, expired, without an end, for nobody: 401."""
    await turned_away(authorization)


async def test_an_unsigned_token_is_turned_away() -> None:
    """The algorithm `none` is not one.  Source: RFC 8725, section 3.1."""
    for name in ("none", "None", "NONE", ""):
        await turned_away(f"Bearer {by_hand({'alg': name, 'typ': 'JWT'}, claims())}")
    header = {"typ": "JWT"}
    await turned_away(f"Bearer {by_hand(header, claims())}")


async def test_a_header_that_nests_for_ever_is_turned_away() -> None:
    """A parser that recurses must not take the request down."""
    deep = "[" * 3000 + "]" * 3000
    head = base64.urlsafe_b64encode(deep.encode()).rstrip(b"=").decode()

    await turned_away(f"Bearer {head}.e30.e30")


async def test_a_public_key_is_not_a_secret() -> None:
    """Signed with the text of the public key as an HS256 secret: the classic confusion."""
    for pem in (RSA_PEM, EC_PEM):
        signed = by_hand({"alg": "HS256", "typ": "JWT"}, claims()).rpartition(".")[0]
        signature = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
        forged = by_hand({"alg": "HS256", "typ": "JWT"}, claims(), signature)
        await turned_away(f"Bearer {forged}", jwt_secret="", jwt_public_key=pem.decode())


async def test_a_public_key_takes_its_own_algorithm() -> None:
    """RSA is RS256, P-256 is ES256, whatever a token says."""
    keys: dict[str, tuple[Key, bytes]] = {
        "RS256": (RSA_KEY, RSA_PEM),
        "ES256": (EC_KEY, EC_PEM),
    }
    for algorithm, (private, _) in keys.items():
        signed = f"Bearer {token(private, algorithm)}"
        for name, (_, pem) in keys.items():
            if name == algorithm:
                found = await admitted(signed, jwt_secret="", jwt_public_key=pem.decode())
                assert found.org_id == "org-1"
            else:
                await turned_away(signed, jwt_secret="", jwt_public_key=pem.decode())
        await turned_away(signed)
    await turned_away(
        f"Bearer {token(RSA_KEY, 'RS512')}", jwt_secret="", jwt_public_key=RSA_PEM.decode()
    )


def test_other_public_keys_are_refused_at_start() -> None:
    """A curve that the algorithm does not know is a fault of the settings."""
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    with pytest.raises(ValueError, match="P-256"):
        OneKey(AuthOptions(jwt_public_key=pem))


async def test_without_a_key_nobody_is_let_in() -> None:
    """An engine that cannot verify does not guess."""
    await turned_away(f"Bearer {token()}", jwt_secret="")


@pytest.mark.parametrize(
    ("options", "more", "welcome"),
    [
        ({"audience": "wallet"}, {"aud": "wallet"}, True),
        ({"audience": "wallet"}, {"aud": ["other", "wallet"]}, True),
        ({"audience": "wallet"}, {"aud": "other"}, False),
        ({"audience": "wallet"}, {}, False),
        ({}, {"aud": "other"}, True),
        ({"issuer": "id"}, {"iss": "id"}, True),
        ({"issuer": "id"}, {"iss": "other"}, False),
        ({"issuer": "id"}, {}, False),
    ],
)
async def test_audience_and_issuer(
    options: dict[str, str], more: dict[str, object], welcome: bool
) -> None:
    """Looked at if they are set, and then required."""
    if welcome:
        assert (await admitted(f"Bearer {claiming(more)}", **options)).org_id == "org-1"
    else:
        await turned_away(f"Bearer {claiming(more)}", **options)


async def test_a_remembered_token_ends_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembering saves the verification, not the expiry."""
    own = guard(leeway_s=0)
    authorization = f"Bearer {token(exp=1_000_060, nbf=None)}"
    now = 1_000_000.0
    monkeypatch.setattr("wallet_http.auth.time.time", lambda: now)
    monkeypatch.setattr("jwt.api_jwt.datetime", FakeDatetime(lambda: now))
    assert own.known(authorization) is None
    await own.admit(authorization)

    assert own.known(authorization) is not None
    now = 1_000_059.9
    assert own.known(authorization) is not None
    now = 1_000_060.0
    assert own.known(authorization) is None


async def test_a_remembered_token_is_verified_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a withdrawn key stops working."""
    own = guard()
    authorization = f"Bearer {token(exp=time.time() + 86_400)}"
    await own.admit(authorization)
    later = time.time() + 301
    monkeypatch.setattr("wallet_http.auth.time.time", lambda: later)

    assert own.known(authorization) is None


async def test_few_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come, the memory for them is bounded."""
    monkeypatch.setattr("wallet_http.auth.REMEMBERED_MAX", 3)
    own = guard()
    tokens = [f"Bearer {token(jti=str(number))}" for number in range(5)]
    for one in tokens:
        await own.admit(one)

    assert [own.known(one) is not None for one in tokens] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("theirs", "route", "allowed"),
    [
        (Scope.ORG, Scope.ORG, True),
        (Scope.ORG, Scope.SERVICE, False),
        (Scope.ORG, Scope.OPERATOR, False),
        (Scope.SERVICE, Scope.ORG, True),
        (Scope.SERVICE, Scope.SERVICE, True),
        (Scope.SERVICE, Scope.OPERATOR, False),
        (Scope.OPERATOR, Scope.ORG, True),
        (Scope.OPERATOR, Scope.SERVICE, True),
        (Scope.OPERATOR, Scope.OPERATOR, True),
    ],
)
def test_scopes(theirs: Scope, route: Scope, allowed: bool) -> None:
    """Signed in but not allowed is 403."""
    principal = Principal(theirs, "", "somebody")
    if allowed:
        check_scope(principal, route)
        return
    with pytest.raises(Problem) as caught:
        check_scope(principal, route)
    assert (caught.value.status, caught.value.code) == (403, "forbidden")


class FakeDatetime:
    """Stands in for `datetime` in PyJWT, which asks it for the time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def now(self, tz: object = None) -> "FakeDatetime":
        del tz
        return self

    def timestamp(self) -> float:
        return self._now()
