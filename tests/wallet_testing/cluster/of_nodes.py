"""Nodes that are killed, that leave and join in order, that stop and wake: what clients see."""

import asyncio
from collections.abc import Sequence

from wallet_testing.recorder import Request
from wallet_testing.traffic import RETRY_S, Traffic

from .stage import Cluster, Member
from .timings import Timings, failures, figures

WORKERS = 16
THINK_S = 0.03
CALM_S = 2.0
"""How long everything is left alone before something is done to it."""

UNLISTED_AFTER_S = 1.0
"""How soon a balancer sees that a node is silent."""

BURST = 150
"""So many requests are under way when a node is stopped: it shall sleep in mid-write."""

WOKEN_S = 3.0
"""How long a woken node may try to write what it slept over."""

MS = 0.001


def traffic_on(cluster: Cluster, org_ids: Sequence[str], think_s: float = THINK_S) -> Traffic:
    """Return clients for some wallets."""
    before = len(cluster.recorder.answers)  # more than there were keys
    return Traffic(cluster.recorder, org_ids, seed=1, think_s=think_s, numbered_from=before)


# --- a: killed --------------------------------------------------------------------------------


async def kills(cluster: Cluster, org_ids: Sequence[str], times: int) -> list[str]:
    """Kill one node after the other; time each of its wallets until its first success."""
    told_s: list[float] = []
    worst_s: list[float] = []
    first_s: list[float] = []
    shards: list[int] = []
    timings = Timings()
    cluster.recorder.listeners.append(timings)
    async with traffic_on(cluster, org_ids).running(WORKERS):
        for number in range(times):
            victim = cluster.members[number % len(cluster.members)]
            await cluster.until_settled()
            await asyncio.sleep(cluster.dice.uniform(0, CALM_S))  # any moment between renewals
            theirs = await cluster.orgs_of(victim.name, org_ids)
            victim.node.kill()
            recoveries = await asyncio.gather(
                *(_first_success(cluster, org_id, f"kill-{number}") for org_id in theirs)
            )
            told_s += recoveries
            first_s.append(min(recoveries))
            worst_s.append(max(recoveries))
            shards.append(len(theirs))
            await victim.node.start()
        await cluster.until_settled()
    cluster.recorder.listeners.remove(timings)
    return [
        f"{times} kills, {min(shards)} to {max(shards)} wallets each, one in each shard",
        f"kill to first success, s, every wallet: {figures(told_s)}",
        f"kill to first success, s, the first wallet of each kill: {figures(first_s)}",
        f"kill to first success, s, the last wallet of each kill: {figures(worst_s)}",
        f"answers meanwhile: {failures(timings.all)}",
    ]


async def _first_success(cluster: Cluster, org_id: str, key: str) -> float:
    """Pay in at random nodes until that is done, and return how long it took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    fields = {"amount_pence": 1, "type": "topup"}
    request = Request(verb="credit", org_id=org_id, fields=fields, key=key)
    while not (await cluster.recorder.ask(request)).acknowledged:  # noqa: ASYNC110  # a retry
        await asyncio.sleep(RETRY_S)
    return loop.time() - began_s


# --- b: leaving and joining -------------------------------------------------------------------


async def moves(cluster: Cluster, org_ids: Sequence[str], times: int) -> list[str]:
    """Have nodes leave and join in order, under load."""
    timings, loop = Timings(), asyncio.get_running_loop()
    cluster.recorder.listeners.append(timings)
    calm_s: list[float] = []
    leaving_s: list[float] = []
    joining_s: list[float] = []
    agreed_s: list[float] = []
    async with traffic_on(cluster, org_ids).running(WORKERS):
        for number in range(times):
            member = cluster.members[number % len(cluster.members)]
            await cluster.until_settled()
            calm_began_s = loop.time()
            await asyncio.sleep(CALM_S)
            calm_s += [it.took_s for it in timings.within(calm_began_s, loop.time())]
            theirs = await cluster.orgs_of(member.name, org_ids)

            member.listed = False  # as a balancer does that was told before
            began_s = loop.time()
            code = await member.node.stop()
            if code:
                cluster.troubles.append(f"{member.name} ended with {code}")
            agreed_s.append(await cluster.until_agreed())
            leaving_s += [it.took_s for it in timings.within(began_s, loop.time(), theirs)]

            began_s = loop.time()
            await member.node.start()
            member.listed = True
            await cluster.until_settled()
            theirs = await cluster.orgs_of(member.name, org_ids)
            joining_s += [it.took_s for it in timings.within(began_s, loop.time(), theirs)]
        await asyncio.sleep(CALM_S)
    cluster.recorder.listeners.remove(timings)
    return [
        f"{times} leaves and {times} joins: {failures(timings.all)}",
        f"ms, all wallets, nothing moves: {figures(calm_s, unit_s=MS)}",
        f"ms, wallets of a node that leaves: {figures(leaving_s, unit_s=MS)}",
        f"ms, wallets of a node that joins: {figures(joining_s, unit_s=MS)}",
        f"s from the end of a process until all agree: {figures(agreed_s)}",
    ]


# --- c: stopped and woken ---------------------------------------------------------------------


async def sleeps(
    cluster: Cluster, org_ids: Sequence[str], times: int, asleep_s: float
) -> list[str]:
    """Stop a node in mid-write, let others take its wallets over, and wake it."""
    loop = asyncio.get_running_loop()
    lines: list[str] = []
    recoveries_s: list[float] = []
    async with traffic_on(cluster, org_ids).running(WORKERS):
        for number in range(times):
            member = cluster.members[number % len(cluster.members)]
            await cluster.until_settled()
            theirs = await cluster.orgs_of(member.name, org_ids)
            before = await cluster.fences(member)
            stopped_s = loop.time()
            async with asyncio.TaskGroup() as group:
                burst = [
                    group.create_task(_spent_at(cluster, member, org_id, f"{number}-{nth}"))
                    for nth, org_id in zip(range(BURST), theirs * BURST, strict=False)
                ]
                await asyncio.sleep(cluster.dice.uniform(0.005, 0.04))
                member.node.pause()
                try:
                    await asyncio.sleep(UNLISTED_AFTER_S)
                    member.listed = False
                    recoveries_s += await asyncio.gather(
                        *(_first_success(cluster, it, f"sleep-{number}") for it in theirs)
                    )
                    await asyncio.sleep(max(0.0, stopped_s + asleep_s - loop.time()))
                finally:
                    member.node.resume()
            await asyncio.sleep(WOKEN_S)
            member.listed = True
            after = await cluster.fences(member)
            met = {
                it: after[it] - before.get(it, 0) for it in after if after[it] > before.get(it, 0)
            }
            late = sum(1 for task in burst if not task.result())
            lines.append(
                f"{member.name} slept {asleep_s:g} s with {len(theirs)} wallets, {late} of"
                f" {BURST} asks unanswered; it met when it woke: {met or 'no fence'}"
            )
        await cluster.until_settled()
    return [
        *lines,
        f"s from 1 s after the stop to each wallet's first success: {figures(recoveries_s)}",
    ]


async def _spent_at(cluster: Cluster, member: Member, org_id: str, key: str) -> bool:
    """Spend a penny at one node, whatever becomes of it; tell whether it answered."""
    fields = {"amount_pence": 1, "class": "call", "type": "call_deduction"}
    request = Request(verb="deduct", org_id=org_id, fields=fields, key=f"burst-{key}")
    return (await cluster.recorder.ask(request, at=member.node.url)).status != 0
