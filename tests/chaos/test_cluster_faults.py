"""Three real nodes, hurt while clients are at work: nothing is lost, doubled, or told wrongly.

`make cluster-proof` does the same for long, and measures how soon each wallet works again.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import pytest
import pytest_asyncio

from wallet_testing.cluster import of_leases, of_nodes
from wallet_testing.cluster.faults import errors_in
from wallet_testing.cluster.stage import Cluster, clustered
from wallet_testing.cluster.timings import Timing, Timings

WALLETS = 36
ASLEEP_S = 4.0
"""Longer than a lease lasts."""

SHORT_S = 2.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Give one cluster to all: what is left behind by one test is there in the next."""
    async with clustered(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def org_ids(cluster: Cluster) -> Sequence[str]:
    """Give some wallets."""
    return await cluster.wallets(WALLETS)


@contextmanager
def failed(cluster: Cluster) -> Iterator[list[Timing]]:
    """Collect the answers that say neither yes nor no."""
    timings, found = Timings(), list[Timing]()
    cluster.recorder.listeners.append(timings)
    yield found
    cluster.recorder.listeners.remove(timings)
    found += [it for it in timings.all if it.failed]


async def faults(cluster: Cluster) -> list[str]:
    return [*await cluster.faults(), *errors_in(cluster)]


async def test_a_node_is_killed(cluster: Cluster, org_ids: Sequence[str]) -> None:
    """Each of its wallets works again on another node."""
    await of_nodes.kills(cluster, org_ids, 1)

    assert await faults(cluster) == []


async def test_a_node_leaves_and_joins(cluster: Cluster, org_ids: Sequence[str]) -> None:
    """No request fails."""
    with failed(cluster) as found:
        await of_nodes.moves(cluster, org_ids, 1)

    assert found == []
    assert await faults(cluster) == []


async def test_a_node_sleeps_and_wakes(cluster: Cluster, org_ids: Sequence[str]) -> None:
    """What it writes late is fenced; nothing is charged twice."""
    await of_nodes.sleeps(cluster, org_ids, 1, ASLEEP_S)

    assert await faults(cluster) == []


async def test_the_redis_is_hurt(cluster: Cluster, org_ids: Sequence[str]) -> None:
    """Away for longer than a lease, and empty then: no request fails, no money is spent twice."""
    with failed(cluster) as found:
        await of_leases.hurts(cluster, org_ids, ASLEEP_S, 0, 0, after_s=SHORT_S)

    assert found == []

    assert await faults(cluster) == []


async def test_two_sides_feel_sure(cluster: Cluster, org_ids: Sequence[str]) -> None:
    """Two nodes with leases on the same shards charge nothing twice; only reads may lag."""
    await of_leases.splits(cluster, org_ids, 1, SHORT_S, of_nodes.WORKERS)

    told = [it for it in await cluster.stage.findings() if "which never was so" not in it.text]
    assert told == []
    assert [await cluster.stage.drift(), *cluster.troubles, *errors_in(cluster)] == [""]
