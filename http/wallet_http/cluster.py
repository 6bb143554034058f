"""What operators see of the cluster: which nodes live, who holds which shard.

As this node sees it: another one may be a second ahead.
"""

from collections import Counter
from http import HTTPStatus
from typing import Final

from aiohttp import web
from typing_extensions import TypedDict

from wallet_engine.cluster.placement import boot_of, node_of
from wallet_engine.sharding import SHARD_COUNT

from .answers import json_response
from .routing import Route, Scope
from .services import SERVICES, Services


class NodeView(TypedDict):
    """A node that lives: `boot` tells one start of it from the next."""

    id: str
    boot: str
    address: str
    shards: int


class OwnView(NodeView):
    """The node that answers; `fresh_shards` are those that surely nobody else holds."""

    fresh_shards: int


class LeasesView(TypedDict):
    """Whether the leases can be reached; null: this node is alone and needs none."""

    reachable: bool | None
    problem: str | None


class ClusterAnswer(TypedDict):
    """The cluster: `holders[n]` holds shard n, as `id:boot`, and null is nobody."""

    node: OwnView
    nodes: list[NodeView]
    leases: LeasesView
    holders: list[str | None]


async def show_cluster(request: web.Request) -> web.Response:
    """Show the nodes, and who holds what."""
    return json_response(cluster_view(request.app[SERVICES]))


def cluster_view(services: Services) -> dict[str, object]:
    """Return the cluster as this node sees it."""
    node, cluster = services.node, services.cluster
    if cluster is None:
        own = _node_view(f"{node.node_id}:{node.boot_id}", "", SHARD_COUNT)
        return {
            "node": {**own, "fresh_shards": SHARD_COUNT},
            "nodes": [own],
            "leases": {"reachable": None, "problem": None},
            "holders": [f"{node.node_id}:{node.boot_id}"] * SHARD_COUNT,
        }
    ownership = cluster.ownership
    counts, held = ownership.counts(), Counter(ownership.holders)
    own = _node_view(cluster.token, cluster.address, counts.shards)
    return {
        "node": {**own, "fresh_shards": counts.fresh},
        "nodes": [
            _node_view(token, address, held[token])
            for token, address in sorted(ownership.nodes.items())
        ],
        "leases": {"reachable": counts.reachable, "problem": cluster.problem or None},
        "holders": [holder or None for holder in ownership.holders],
    }


def _node_view(token: str, address: str, shards: int) -> dict[str, object]:
    return {"id": node_of(token), "boot": boot_of(token), "address": address, "shards": shards}


CLUSTER_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/admin/cluster",
        handler=show_cluster,
        summary="Show the nodes that live, and who holds which shard",
        scope=Scope.OPERATOR,
        tag="admin",
        responses={HTTPStatus.OK: ClusterAnswer},
    ),
)
