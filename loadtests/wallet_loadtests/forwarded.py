"""What a decision costs that another node makes: CPU of both nodes, against one made at home.

Two real nodes on one Postgres and one Valkey.  The same deductions go to the node that holds the
wallets, and to the other one, in turn; who asks has connections that are kept open, and sends the
next request on each once the last is answered.
"""

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp

from wallet_engine.cluster.placement import node_of, placement
from wallet_engine.sharding import shard_of
from wallet_persistence.embedded import EmbeddedPostgres, EmbeddedValkey
from wallet_persistence.migrate import migrate

from .echo import HOST
from .measure import WrongAnswers
from .node import NodeProcess
from .operators import operating
from .system import OwnSystem
from .usage import cpu_s, family

HOME, OTHER = "home", "other"
"""The node that holds the wallets that are charged, and the one that asks it."""

WALLETS = 200
PENCE = 10**9
WARM_UP = 2000
SETTLE_S_MAX = 30.0
POLL_S = 0.05
GOAL = 1.6
"""What a forwarded decision may cost of a local one.  Source: the issue."""

US = 1_000_000

HEAD = (
    "| decided | home µs | other µs | both µs | Postgres µs | decisions/s |",
    "|---|---:|---:|---:|---:|---:|",
)


@dataclass(slots=True)
class Figures:
    """What the rounds of one way showed, each: CPU in µs for each decision, decisions a second."""

    home_us: list[float] = field(default_factory=list)
    other_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def both_us(self) -> list[float]:
        """Return what both nodes took, in each round."""
        return [home + other for home, other in zip(self.home_us, self.other_us, strict=True)]

    def row(self, name: str) -> str:
        """Return the medians as a row of the table."""
        columns = (self.home_us, self.other_us, self.both_us(), self.postgres_us)
        cells = " | ".join(f"{median(column):.0f}" for column in columns)
        return f"| {name} | {cells} | {median(self.rates):.0f} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two nodes, and what they stand on."""

    system: OwnSystem
    other: NodeProcess

    @property
    def home(self) -> NodeProcess:
        """The node that holds the wallets that are charged."""
        return self.system.node


async def measure_forwarded(*, rounds: int, asks: int, connections: int) -> str:
    """Return the figures as a table in Markdown.

    Raises:
        WrongAnswers: not every deduction was made.
    """
    busy = os.getloadavg()[0]
    near, far = Figures(), Figures()
    async with _pair() as pair, operating(pair.system) as operator:
        await _settled(pair)
        org_ids = _homes(operator.org_id(""))
        prefix = operator.org_id("")
        await operator.orgs([it.removeprefix(prefix) for it in org_ids], pence=PENCE)
        for node in (pair.home, pair.other):
            await _volley(pair, node, org_ids, WARM_UP, connections)
        for _ in range(rounds):
            await _round(near, pair, pair.home, org_ids, asks, connections)
            await _round(far, pair, pair.other, org_ids, asks, connections)
    ratios = [theirs / ours for ours, theirs in zip(near.both_us(), far.both_us(), strict=True)]
    each = ", ".join(f"{it:.2f}" for it in ratios)
    verdict = (
        f"A forwarded decision takes {median(ratios):.2f} of the CPU of a local one, both nodes"
        f" counted (goal: at most {GOAL}); in each round {each}."
    )
    conditions = (
        f"{connections} connections, {rounds} rounds of {asks:,} deductions from {WALLETS}"
        f" wallets each way, medians; {os.cpu_count()} cores, shared with the client and"
        f" Postgres; load average before {busy:.1f}."
    )
    names = "by the node that was asked", "by the other node"
    rows = (near.row(names[0]), far.row(names[1]))
    return "\n".join([*HEAD, *rows, "", verdict, conditions])


@asynccontextmanager
async def _pair() -> AsyncIterator[Pair]:
    secret, vapi_secret = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="wallet-pair-")))
        postgres = await opened.enter_async_context(EmbeddedPostgres(None))
        await migrate(postgres.dsn)
        valkey = await opened.enter_async_context(EmbeddedValkey())
        together = {
            "WALLET_REDIS__URL": valkey.url,
            "WALLET_CLUSTER__SECRET": secrets.token_urlsafe(24),
            "WALLET_CLUSTER__PORT": "0",
        }
        nodes = [
            NodeProcess(
                dsn=postgres.dsn,
                jwt_secret=secret,
                vapi_secret=vapi_secret,
                log=folder / f"{name}.log",
                settings={**together, "WALLET_NODE__ID": name},
            )
            for name in (HOME, OTHER)
        ]
        for node in nodes:
            await opened.enter_async_context(node)
        system = OwnSystem(
            url=nodes[0].url,
            dsn=postgres.dsn,
            secret=secret,
            vapi_secret=vapi_secret,
            node=nodes[0],
            postgres=postgres,
        )
        yield Pair(system=system, other=nodes[1])


async def _settled(pair: Pair) -> None:
    """Wait until each shard is where it belongs, and both nodes know it."""
    async with asyncio.timeout(SETTLE_S_MAX), aiohttp.ClientSession() as session:
        while True:
            views = [await _view(session, pair, node) for node in (pair.home, pair.other)]
            tokens = [f"{it['node']['id']}:{it['node']['boot']}" for it in views]
            if all(it["holders"] == list(placement(tokens)) for it in views):
                return
            await asyncio.sleep(POLL_S)


async def _view(session: aiohttp.ClientSession, pair: Pair, node: NodeProcess) -> dict[str, Any]:
    url = f"{node.url}/admin/cluster"
    async with session.get(url, headers=pair.system.bearer()) as response:
        found: dict[str, Any] = await response.json()
        return found


def _homes(prefix: str) -> list[str]:
    """Return names of wallets that the first node holds."""
    homes = placement([f"{HOME}:1", f"{OTHER}:1"])
    names = (f"{prefix}{number}" for number in count())
    theirs = (it for it in names if node_of(homes[shard_of(it)]) == HOME)
    return [org_id for org_id, _ in zip(theirs, range(WALLETS), strict=False)]


async def _round(
    figures: Figures,
    pair: Pair,
    node: NodeProcess,
    org_ids: Sequence[str],
    asks: int,
    connections: int,
) -> None:
    for one in (pair.home, pair.other):
        os.truncate(one.log, 0)
    postgres = pair.system.postgres.process.pid
    before = cpu_s([pair.home.pid]), cpu_s([pair.other.pid]), cpu_s(family(postgres))
    began_s = perf_counter()
    await _volley(pair, node, org_ids, asks, connections)
    took_s = perf_counter() - began_s
    after = cpu_s([pair.home.pid]), cpu_s([pair.other.pid]), cpu_s(family(postgres))
    for column, ended, begun in zip(
        (figures.home_us, figures.other_us, figures.postgres_us), after, before, strict=True
    ):
        column.append((ended - begun) / asks * US)
    figures.rates.append(asks / took_s)


async def _volley(
    pair: Pair, node: NodeProcess, org_ids: Sequence[str], asks: int, connections: int
) -> None:
    """Have so many deductions made by way of one node, each on the next connection that is free."""
    requests = _requests(pair.system.bearer(), org_ids, asks)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(HOST, node.port)
        try:
            for request in requests:  # shared by all who work
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                if not head.startswith(b"HTTP/1.1 201"):
                    raise WrongAnswers(f"{head[:40]!r} {body!r}")
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())


def _requests(headers: Mapping[str, str], org_ids: Sequence[str], asks: int) -> Iterator[bytes]:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/deduct HTTP/1.1\r\nHost: {HOST}\r\n{lines}"
    run = secrets.token_hex(4)
    for number in range(asks):
        body = json.dumps(
            {
                "org_id": org_ids[number % len(org_ids)],
                "amount_pence": 1,
                "class": "call",
                "type": "call_deduction",
                "description": "A call of one penny",
            }
        )
        key = f"Idempotency-Key: {run}-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
        yield f"{head}{key}{body}".encode()
