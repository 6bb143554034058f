"""Stores of leases for tests: one in memory, and real servers of either make."""

import itertools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO, Protocol

from redis.asyncio import Redis

from wallet_engine.cluster.memory_leases import InMemoryLeases
from wallet_engine.ports import LEAVING, Leases, LeaseView
from wallet_persistence.embedded import EmbeddedValkey
from wallet_persistence.embedded.process import ChildProcess
from wallet_persistence.embedded.server import HOST
from wallet_persistence.embedded.valkey import SETTINGS
from wallet_persistence.leases import RedisLeases

ONE, TWO, THREE = "node-1:a", "node-2:b", "node-3:c"

CALLS = itertools.count(1)
"""Numbers of calls: of all tokens together, which is as good."""

LONG_MS = 600_000
"""Longer than any test."""

SHORT_MS = 20

PATIENCE_S = 30
"""How long anything may take before a test fails: a busy machine is no reason."""


class LeaseStore(Protocol):
    """Makes clients of one store, each as a process of its own would have."""

    def leases(self) -> Leases:
        """Return a client."""

    async def flush(self) -> None:
        """Forget everything."""

    async def wait_ms(self, ms: int) -> None:
        """Let the store's own clock go on."""


class MemoryStore:
    """One object that all share, and a clock that is set."""

    def __init__(self) -> None:
        self._now_s = 1_000.0
        self._shared = InMemoryLeases(lambda: self._now_s)

    def leases(self) -> Leases:
        return self._shared

    async def flush(self) -> None:
        self._shared.flush()

    async def wait_ms(self, ms: int) -> None:
        self._now_s += ms / 1000


class RedisStore:
    """Keys of its own on a real server."""

    def __init__(self, url: str, prefix: str, admin: Redis, opened: AsyncExitStack) -> None:
        self._url = url
        self._prefix = prefix
        self._admin = admin
        self._opened = opened

    def leases(self) -> Leases:
        made = RedisLeases(self._url, prefix=self._prefix, timeout_s=PATIENCE_S)
        self._opened.push_async_callback(made.close)
        return made

    async def flush(self) -> None:
        keys = [key async for key in self._admin.scan_iter(match=f"{{{self._prefix}}}:*")]
        assert keys, "nothing was there to be forgotten"
        await self._admin.delete(*keys)

    async def wait_ms(self, ms: int) -> None:
        """Ask the server for its time until that has come: the only clock that counts here."""
        until_ms = await self._now_ms() + ms + 1
        while await self._now_ms() <= until_ms:
            pass

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._admin.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


@dataclass(frozen=True, slots=True)
class Member:
    """A node that looks at the leases."""

    leases: Leases
    token: str
    address: str

    async def renew(
        self,
        *want: int,
        give: Mapping[int, str] | None = None,
        ttl_ms: int = LONG_MS,
        call: int = 0,
    ) -> LeaseView:
        return await self.leases.renew(
            token=self.token,
            address=self.address,
            ttl_ms=ttl_ms,
            want=want,
            give=give or {},
            call=call or next(CALLS),
        )

    async def leaving(self, *want: int, ttl_ms: int = LONG_MS, call: int = 0) -> LeaseView:
        return await self.leases.renew(
            token=self.token,
            address=LEAVING,
            ttl_ms=ttl_ms,
            want=want,
            give={},
            call=call or next(CALLS),
        )

    async def leave(self, give: Mapping[int, str] | None = None) -> None:
        await self.leases.leave(token=self.token, give=give or {})


def member(leases: Leases, token: str) -> Member:
    return Member(leases, token, f"http://{token.partition(':')[0]}:3001")


def held(view: LeaseView) -> dict[int, str]:
    """Return the shards that somebody holds, and who."""
    return {shard: holder for shard, holder in enumerate(view.holders) if holder}


class ServerWith(EmbeddedValkey):
    """A server of another program, or with more settings."""

    def __init__(self, program: Sequence[str], *, settings: str = "") -> None:
        super().__init__()
        self._command = program
        self._settings = settings

    def _run_server(self, log: IO[bytes], port: int) -> ChildProcess:
        settings = SETTINGS.format(
            host=HOST, port=port, password=self._password, folder=tempfile.gettempdir()
        )
        return ChildProcess(
            [*self._command, "-"], log=log, stdin=(settings + self._settings).encode()
        )


def debian_redis() -> str:
    """Return where Redis itself is; empty if it is not installed, as on most machines."""
    return shutil.which("redis-server") or ""
