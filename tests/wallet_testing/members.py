"""Several whole nodes that share the wallets, on one database and one Redis."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from wallet_engine.sharding import shard_of
from wallet_http.membership import Membership

from .edge import Edge, edge
from .processes import until

CLUSTER_SECRET = "a secret between nodes"


@dataclass(frozen=True, slots=True)
class Members:
    """Nodes in one process, each with its own port; `groups` are the settings that they share."""

    nodes: Sequence[Edge]
    groups: Mapping[str, Any]

    def __getitem__(self, number: int) -> Edge:
        return self.nodes[number]

    def owner(self, org_id: str) -> Edge:
        """Return the node that holds an org's wallet."""
        return next(node for node in self.nodes if of(node).ownership.owns(shard_of(org_id)))

    def orgs(self, each: int = 1) -> list[str]:
        """Return names of orgs, of which every node holds as many, one after the other."""
        found: dict[str, list[str]] = {of(node).token: [] for node in self.nodes}
        for number in count():
            org_id = f"org-{number}"
            theirs = found[of(self.owner(org_id)).token]
            if len(theirs) < each:
                theirs.append(org_id)
            if all(len(names) == each for names in found.values()):
                break
        return [name for names in zip(*found.values(), strict=True) for name in names]

    async def until_settled(self) -> None:
        """Wait until every shard is where it belongs, and all nodes know it."""
        tokens = {of(node).token for node in self.nodes}

        async def settled() -> bool:
            views = [of(node).ownership.holders for node in self.nodes]
            return all(view == views[0] for view in views) and set(views[0]) == tokens

        await until(settled, "every node holds shards, and all agree")


def of(node: Edge) -> Membership:
    """Return a node's place among the others."""
    cluster = node.program.services.cluster
    assert cluster is not None
    return cluster


def shared(url: str, prefix: str = "") -> dict[str, Any]:
    """Return the groups of settings by which nodes find each other."""
    return {
        "redis": {"url": url, "prefix": prefix or f"test-{secrets.token_hex(4)}"},
        "cluster": {"secret": CLUSTER_SECRET, "port": 0},
    }


@asynccontextmanager
async def members(dsn: str, url: str, *names: str) -> AsyncIterator[Members]:
    """Run nodes on a migrated database and a Redis, with keys of their own there.

    All are there before any takes a shard, so nothing has to be handed over.
    """
    groups = shared(url)
    async with AsyncExitStack() as running:
        starting = [
            running.enter_async_context(edge(dsn, node={"id": name}, **groups)) for name in names
        ]
        found = Members(await asyncio.gather(*starting), groups)
        await found.until_settled()
        yield found
