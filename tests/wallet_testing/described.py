"""Who asks when the interface is held to its description: operators, others, and nobody at all."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import jwt

from wallet_http.openapi import responses_of
from wallet_http.routing import Route, Scope

VARIABLE: Final = "WALLET_TESTING_DESCRIBED"
"""Holds a `Described`, as JSON, for the process of schemathesis."""

HOOKS: Final = "wallet_testing.described_hooks"

TOKEN_S: Final = 86_400

OUTSIDE: Final = frozenset({404, 405})
"""What is answered before anybody is asked who they are: there is no such address or method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What must be known of the node that is tested."""

    url: str
    dsn: str
    jwt_secret: str
    vapi_secret: str
    org_id: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that loads the hooks."""
        return {VARIABLE: json.dumps(asdict(self)), "SCHEMATHESIS_HOOKS": HOOKS}

    def token(
        self, scope: str, *, org_id: str = "", secret: str = "", expires_s: int = TOKEN_S
    ) -> str:
        """Return a token of `scope`, signed by us unless another secret is given."""
        claims: dict[str, object] = {"scope": scope, "exp": int(time.time()) + expires_s}
        if org_id:
            claims["org_id"] = org_id
        return jwt.encode(claims, secret or self.jwt_secret, "HS256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody who sends a request; `scope` is what they may do, None nothing."""

    name: str
    authorization: str | None
    scope: Scope | None = None

    def expected(self, route: Route) -> Callable[[int], bool]:
        """Return which statuses they may hear on a route."""
        documented = {*responses_of(route), *OUTSIDE}
        match route.scope, self.scope:
            case Scope.OPEN, _:
                return documented.__contains__
            case (Scope.VAPI, _) | (_, None):
                return {401, *OUTSIDE}.__contains__
            case (Scope.SERVICE | Scope.OPERATOR, Scope.ORG) | (Scope.OPERATOR, Scope.SERVICE):
                return {403, *OUTSIDE}.__contains__
            case _:
                return documented.__contains__


def identities(known: Described) -> list[Identity]:
    """Return who else asks: nobody, in many disguises, and those with less to say."""
    unsigned = jwt.encode({"scope": "operator"}, "", "none")
    head, claims, signature = known.token("operator").split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"scope": "operator", "exp": 2**40}).encode())
    nobody = {
        "without a token": None,
        "with an empty token": "Bearer ",
        "with garbage": "Bearer ..\\..%00 \xff\xfe garbage",
        "with basic credentials": "Basic b3BlcmF0b3I6b3BlcmF0b3I=",
        "with an expired token": f"Bearer {known.token('operator', expires_s=-TOKEN_S)}",
        "with a foreign signature": f"Bearer {known.token('operator', secret='x' * 32)}",
        "unsigned": f"Bearer {unsigned}",
        "with a cut signature": f"Bearer {head}.{claims}.{signature[:-4]}",
        "with other claims": f"Bearer {head}.{forged.decode().rstrip('=')}.{signature}",
        "without an org": f"Bearer {known.token('org')}",
        "with an unknown scope": f"Bearer {known.token('god')}",
    }
    signed_in = {
        "a customer": (Scope.ORG, known.org_id),
        "another customer": (Scope.ORG, "somebody-else"),
        "a service": (Scope.SERVICE, ""),
    }
    return [
        *(Identity(name=name, authorization=sent) for name, sent in nobody.items()),
        *(
            Identity(
                name=name,
                authorization=f"Bearer {known.token(scope, org_id=org_id)}",
                scope=scope,
            )
            for name, (scope, org_id) in signed_in.items()
        ),
    ]
