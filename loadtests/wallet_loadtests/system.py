"""What load is put on: an engine of our own, started for it, or one that runs already."""

import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import jwt

from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.migrate import migrate

from .node import NodeProcess

TOKEN_S = 6 * 3600
"""How long a token is good for: longer than any run."""

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class NotLocal(Exception):
    """The engine is on another machine; load is for this one only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running engine, its database, and the secrets with which requests prove themselves."""

    url: str
    dsn: str = field(repr=False)
    secret: str = field(repr=False)
    vapi_secret: str = field(default="", repr=False)

    def token(self) -> str:
        """Return a token that may do everything."""
        claims = {"scope": "operator", "sub": "loadtests", "exp": int(time.time()) + TOKEN_S}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    def bearer(self) -> dict[str, str]:
        """Return the headers of a backend's request."""
        return {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}

    def from_vapi(self) -> dict[str, str]:
        """Return the headers of a request of Vapi."""
        proof = {"X-Vapi-Secret": self.vapi_secret} if self.vapi_secret else {}
        return {**proof, "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSystem(System):
    """A system that was started here, so its processes can be looked at."""

    node: NodeProcess
    postgres: EmbeddedPostgres


def running_system(*, url: str, dsn: str, secret: str, vapi_secret: str) -> System:
    """Return a system that runs already.

    Raises:
        NotLocal: `url` is not on this machine.
    """
    if urlsplit(url).hostname not in LOCAL_HOSTS:
        raise NotLocal(f"{url} is not on this machine: load goes to 127.0.0.1 only.")
    return System(url=url.rstrip("/"), dsn=dsn, secret=secret, vapi_secret=vapi_secret)


@asynccontextmanager
async def own_system(settings: Mapping[str, str] | None = None) -> AsyncIterator[OwnSystem]:
    """Start a Postgres and a node of our own, for as long as the block runs.

    Args:
        settings: `WALLET_…` variables of the node.
    """
    secret, vapi_secret = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="wallet-load-") as folder:
        async with EmbeddedPostgres(None) as postgres:
            await migrate(postgres.dsn)
            node = NodeProcess(
                dsn=postgres.dsn,
                jwt_secret=secret,
                vapi_secret=vapi_secret,
                log=Path(folder) / "node.log",
                settings=settings,
            )
            async with node:
                yield OwnSystem(
                    url=node.url,
                    dsn=postgres.dsn,
                    secret=secret,
                    vapi_secret=vapi_secret,
                    node=node,
                    postgres=postgres,
                )
