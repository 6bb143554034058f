"""Runs many real faults in a row on a cluster: what was lost, how soon each was over."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from rich.progress import Progress

from wallet_engine.settings import Settings
from wallet_loadtests.books import auditing
from wallet_persistence.audit import LedgerAudit
from wallet_testing.faults.deck import drawn
from wallet_testing.faults.report import Result
from wallet_testing.faults.scene import ERROR, FORGOTTEN, RECOVERY_S_MAX, Recovery, Watch
from wallet_testing.traffic import Traffic

from .deck import KINDS
from .stage import Cluster, clustered

WALLETS = 48
"""So many that each node holds some, and few enough that clients come to each of them soon."""

WORKERS = 24
THINK_S = 0.03
HANG_UP_SHARE = 0.03
CALM = 30
"""How many acknowledgements lie between two faults, at least."""

BOOKS_EVERY = 20


async def run(faults: int, seed: int, nodes: int, folder: Path, progress: Progress) -> Result:
    """Set up a cluster, suffer the faults, and hold everything against the journals."""
    async with clustered(folder, count=nodes, seed=seed, peer_cables=True) as cluster:
        org_ids = await cluster.wallets(WALLETS)
        result = Result(seed=seed)
        traffic = Traffic(
            cluster.recorder, org_ids, seed=seed, think_s=THINK_S, hang_up_share=HANG_UP_SHARE
        )
        try:
            async with traffic.running(WORKERS):
                await _suffer_all(cluster, traffic, org_ids, faults, result, progress)
        except* Exception as errors:  # noqa: BLE001  # what was acknowledged counts all the same
            cluster.troubles += [repr(error) for error in errors.exceptions]
        result.fences = cluster.met
        await _count(cluster, result)
        return result


async def _suffer_all(  # all of one run
    cluster: Cluster,
    traffic: Traffic,
    org_ids: Sequence[str],
    faults: int,
    result: Result,
    progress: Progress,
) -> None:
    dice = random.Random(result.seed)
    bar = progress.add_task("", total=faults)
    await traffic.acknowledged(CALM)
    for number, name in zip(range(1, faults + 1), drawn(list(KINDS), dice), strict=False):
        progress.update(bar, description=f"{name:32}")
        async with aclosing(KINDS[name](cluster, dice)) as ends:
            recoveries = [await recovered(cluster, org_ids) async for _ in ends]
        result.suffered.append((name, recoveries))
        await cluster.until_settled()
        await traffic.acknowledged(CALM)
        await _note_fences(cluster)
        if number % BOOKS_EVERY == 0:
            result.drift += await _books(cluster, org_ids)
        progress.advance(bar)


async def recovered(cluster: Cluster, org_ids: Sequence[str]) -> Recovery:
    """Wait until all wallets work again.

    Raises:
        AssertionError: they never did.
    """
    watch = Watch(org_ids)
    listeners = cluster.recorder.listeners
    listeners.append(watch)
    try:
        async with asyncio.timeout(RECOVERY_S_MAX):
            await watch.done.wait()
    except TimeoutError:
        raise AssertionError(f"{sorted(watch.missing)} never recovered") from None
    finally:
        listeners.remove(watch)
    return watch.recovery()


async def _note_fences(cluster: Cluster) -> None:
    """Count what nodes met since the last time; who was started again begins at 0."""
    for member in cluster.running:
        for cause, count in (await cluster.fences(member)).items():
            key = f"{member.node.pid} {cause}"
            cluster.met[cause] += max(0, count - cluster.noted[key])
            cluster.noted[key] = count


async def _books(cluster: Cluster, org_ids: Sequence[str]) -> list[str]:
    async with auditing(cluster.dsn) as auditor:
        books = {org_id: await auditor.books(org_id) for org_id in org_ids}
    return [f"{org_id}: {fault}" for org_id, it in books.items() for fault in it.faults]


async def _count(cluster: Cluster, result: Result) -> None:
    recorder = cluster.recorder
    result.answers = len(recorder.answers)
    result.acknowledged = recorder.acknowledged
    result.unavailable = recorder.count(503)
    result.unanswered = recorder.count(0)
    result.findings = await cluster.stage.findings()
    async with LedgerAudit(cluster.dsn, Settings()) as audit:
        result.drift += [text async for it in audit.wallets(None) for text in it.findings]
    result.troubles = [*cluster.troubles, *errors_in(cluster)]


def errors_in(cluster: Cluster) -> list[str]:
    """Return the errors in all nodes' logs: no fault outside of a node excuses those."""
    logs = [member.node.log for member in cluster.members]
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if ERROR in line and not FORGOTTEN.search(line)]
