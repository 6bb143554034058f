"""Nodes as processes on one Postgres and one Valkey, each with a path of its own to both worlds.

Clients send to any node that is listed, as a balancer does; they remember every answer.
"""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import jwt

from wallet_engine.cluster.placement import node_of, placement
from wallet_engine.sharding import SHARD_COUNT, shard_of
from wallet_loadtests.node import NodeProcess
from wallet_persistence.embedded import EmbeddedPostgres, EmbeddedValkey, free_port
from wallet_persistence.migrate import migrate
from wallet_testing.cable import Cable, cable_to
from wallet_testing.distant_cable import DistantCable, distant_cable_to
from wallet_testing.processes import Stage, until
from wallet_testing.recorder import Recorder, recording_session

TOKEN_S = 6 * 3600
VIEW_S_MAX = 1.0
"""How long a node may take to say how it sees the cluster: one that is stopped never does."""

SETTLE_S_MAX = 40.0
POLL_S = 0.02
OPENING_PENCE = 5_000
SETTING_UP = 16
"""So many wallets are made at a time."""

FENCES = "wallet_fenced_total"


@dataclass(slots=True, kw_only=True)
class Member:
    """One node and its paths; `listed`: clients send to it."""

    name: str
    node: NodeProcess
    redis: DistantCable
    peers: Cable | None
    listed: bool = True


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Everything that can be hurt, and the clients' way in.

    `troubles`: what went wrong that no answer tells.  `met`: what nodes met while they wrote, by
    cause; `noted`: how much of it was counted, by process and cause.
    """

    dsn: str
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    members: Sequence[Member]
    stage: Stage
    session: aiohttp.ClientSession
    dice: random.Random
    troubles: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    @property
    def recorder(self) -> Recorder:
        """Who sends and remembers."""
        return self.stage.recorder

    @property
    def running(self) -> list[Member]:
        """The nodes whose process is there."""
        return [member for member in self.members if member.node.is_running]

    # --- how nodes see it ---------------------------------------------------------------------

    async def view(self, member: Member) -> Mapping[str, Any] | None:
        """Return how a node sees the cluster; None: it does not say."""
        timeout = aiohttp.ClientTimeout(total=VIEW_S_MAX)
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        url = f"{member.node.url}/admin/cluster"
        try:
            async with self.session.get(url, headers=headers, timeout=timeout) as response:
                found: dict[str, Any] = await response.json()
                return found if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def views(self) -> list[Mapping[str, Any] | None]:
        """Return how each running node sees the cluster."""
        return await asyncio.gather(*(self.view(member) for member in self.running))

    async def agree(self) -> bool:
        """Whether all running nodes name the same holder of each shard, and there is one."""
        views = await self.views()
        if not views or any(view is None for view in views):
            return False
        holders = [view["holders"] for view in views if view is not None]
        return None not in holders[0] and all(it == holders[0] for it in holders)

    async def settled(self) -> bool:
        """Whether each shard is where it belongs among the running nodes, and all know it."""
        views = await self.views()
        if not views or any(view is None for view in views):
            return False
        tokens = [f"{it['node']['id']}:{it['node']['boot']}" for it in views if it is not None]
        homes = list(placement(tokens))
        return all(it is not None and it["holders"] == homes for it in views)

    async def until_agreed(self) -> float:
        """Wait until the nodes agree, and return how long that took."""
        return await self._waited(self.agree)

    async def until_settled(self) -> float:
        """Wait until every shard is at home, and return how long that took."""
        return await self._waited(self.settled)

    async def holders(self) -> dict[int, str]:
        """Return the name of the node that holds each shard, as the first that answers says."""
        for view in await self.views():
            if view is not None:
                return {shard: node_of(it or "") for shard, it in enumerate(view["holders"])}
        raise AssertionError("no node says who holds what")

    async def orgs_of(self, name: str, org_ids: Collection[str]) -> list[str]:
        """Return those of `org_ids` that a node holds."""
        holders = await self.holders()
        return [org_id for org_id in org_ids if holders[shard_of(org_id)] == name]

    async def fences(self, member: Member) -> dict[str, int]:
        """Return what a node met while it wrote, by cause."""
        async with self.session.get(f"{member.node.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        counted = (line.rpartition(" ") for line in lines if line.startswith(FENCES))
        return {name.split('"')[1]: int(float(value)) for name, _, value in counted}

    # --- clients ------------------------------------------------------------------------------

    def address(self) -> str:
        """Return where a client sends its next request."""
        return self.dice.choice([it.node.url for it in self.members if it.listed])

    async def wallets(self, count: int, pence: int = OPENING_PENCE) -> list[str]:
        """Make wallets, one in each of so many shards, evenly over all nodes."""
        found: dict[int, str] = {}
        number = 0
        while len(found) < min(count, SHARD_COUNT):
            found.setdefault(shard_of(f"org-{number}"), f"org-{number}")
            number += 1
        org_ids = list(found.values())
        gate = asyncio.Semaphore(SETTING_UP)

        async def made(org_id: str) -> None:
            async with gate:
                await self.stage.org(org_id, pence)

        await asyncio.gather(*(made(org_id) for org_id in org_ids))
        return org_ids

    async def faults(self) -> list[str]:
        """Return whatever is wrong by now: answers against journals, the audit, and the rest."""
        return [*await self.stage.faults(), *self.troubles]

    async def _waited(self, true: Any) -> float:  # noqa: ANN401  # a question of ours
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not await true():
            if loop.time() > began_s + SETTLE_S_MAX:
                views = [view and view["nodes"] for view in await self.views()]
                raise AssertionError(f"the nodes never came to agree: {views}")
            await asyncio.sleep(POLL_S)
        return loop.time() - began_s


@asynccontextmanager
async def clustered(
    folder: Path,
    *,
    count: int = 3,
    seed: int = 1,
    peer_cables: bool = False,
    settings: Mapping[str, str] | None = None,
    postgres_options: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """Run a cluster; all of it is gone in the end, whatever state it is in.

    Args:
        folder: where the nodes' logs are written.
        count: how many nodes.
        seed: of what clients choose.
        peer_cables: whether nodes ask each other through cables.
        settings: more `WALLET_…` variables of all nodes.
        postgres_options: of the server.
    """
    secret, vapi_secret = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    claims = {"scope": "operator", "exp": int(time.time()) + TOKEN_S}
    token = jwt.encode(claims, secret, algorithm="HS256")
    common = {
        "WALLET_REDIS__PREFIX": "proof",
        "WALLET_CLUSTER__SECRET": secrets.token_urlsafe(24),
        **(settings or {}),
    }
    async with AsyncExitStack() as opened:
        postgres = await opened.enter_async_context(
            EmbeddedPostgres(None, options=postgres_options or {})
        )
        await migrate(postgres.dsn)
        valkey = await opened.enter_async_context(EmbeddedValkey())
        members: list[Member] = []
        for number in range(1, count + 1):
            cable, url = await opened.enter_async_context(distant_cable_to(valkey.url))
            port = free_port()
            own = {
                "WALLET_NODE__ID": f"n{number}",
                "WALLET_REDIS__URL": url,
                "WALLET_CLUSTER__PORT": str(port),
            }
            peers: Cable | None = None
            if peer_cables:
                laid, _ = await opened.enter_async_context(cable_to(f"tcp://127.0.0.1:{port}"))
                own["WALLET_CLUSTER__ADDRESS"], peers = f"127.0.0.1:{laid.port}", laid
            node = NodeProcess(
                dsn=postgres.dsn,
                jwt_secret=secret,
                vapi_secret=vapi_secret,
                log=folder / f"n{number}.log",
                settings={**common, **own},
            )
            members.append(Member(name=f"n{number}", node=node, redis=cable, peers=peers))
            opened.push_async_callback(_ended, node)
        connection = await asyncpg.connect(postgres.dsn)
        opened.callback(connection.terminate)
        session = await opened.enter_async_context(recording_session())
        recorder = Recorder(session, lambda: cluster.address(), token, vapi_secret=vapi_secret)  # noqa: PLW0108  # made below
        stage = Stage(
            dsn=postgres.dsn,
            node=members[0].node,
            recorder=recorder,
            connection=connection,
            token=token,
            another_node=lambda: members[0].node,
        )
        cluster = Cluster(
            dsn=postgres.dsn,
            postgres=postgres,
            valkey=valkey,
            members=members,
            stage=stage,
            session=session,
            dice=random.Random(seed),
        )
        await asyncio.gather(*(member.node.start() for member in members))
        await cluster.until_settled()
        yield cluster


async def _ended(node: NodeProcess) -> None:
    if node.is_running:
        await node.stop()


async def until_listens(member: Member) -> None:
    """Wait until a node takes requests."""
    await until(member.node.is_ready, f"{member.name} is ready")
