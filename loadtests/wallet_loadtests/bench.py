"""The bench: durable decisions a second beside a bare echo, interleaved, as ratios of one run."""

import json
import os
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from rich.progress import Progress

from .books import Auditor, auditing
from .echo import echo_server
from .measure import Bench, Sample, Workload
from .messages import STATUS_CHECK, WEBHOOK, message, status_check
from .operators import Operator, PreparationFailed, operating
from .system import OwnSystem, own_system
from .tables import Reach, Row, conditions_text, markdown
from .wrk import Pressure, program

WALLETS = 1000
PENCE = 10**11
CALLING_ORGS = 100
CALLS_PER_ORG = 10

LONG_CALLS = {"hold_minutes": 240, "max_call_seconds": 43_200}
"""Calls that need nothing while they are measured: no extension, no ending."""

WARM_UP_S = 2
HALF_ROUNDS = 3
"""How often the latency at half of the peak is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workloads of the same bodies, measured in turn with the echo of the first one."""

    workloads: tuple[Workload, ...]
    reach: Reach
    echoes: list[Sample] = field(default_factory=list)
    peaks: dict[str, list[Sample]] = field(default_factory=dict)
    halves: dict[str, list[Sample]] = field(default_factory=dict)


async def bench(*, rounds: int, pressure: Pressure) -> str:
    """Measure everything, and return the report in Markdown.

    Raises:
        WrkMissing: there is no wrk; nothing was started.
        WrongAnswers: some requests were not answered as they should; there is no report then.
    """
    program()
    busy = os.getloadavg()[0]
    async with _prepared() as (system, operator, auditor, echo_bench):
        groups = await _groups(system, operator)
        runs = sum(
            rounds * (1 + len(it.workloads)) + HALF_ROUNDS * len(it.workloads) for it in groups
        )
        with Progress() as progress:
            task = progress.add_task("measuring", total=runs)
            for group in groups:
                await _peaks(echo_bench, group, rounds, pressure, lambda: progress.advance(task))
                await _halves(echo_bench, group, pressure, lambda: progress.advance(task))
        conditions = await _conditions(auditor, rounds, pressure, busy)
    rows = [
        Row(
            name=workload.name,
            reach=group.reach,
            echoes=group.echoes,
            peaks=group.peaks[workload.name],
            halves=group.halves[workload.name],
        )
        for group in groups
        for workload in group.workloads
    ]
    return f"{markdown(rows)}\n\n{conditions_text(conditions)}"


@asynccontextmanager
async def _prepared() -> AsyncIterator[tuple[OwnSystem, Operator, Auditor, Bench]]:
    async with (
        own_system() as system,
        operating(system) as operator,
        auditing(system.dsn) as auditor,
        echo_server() as echo,
    ):
        yield system, operator, auditor, Bench(system, operator, auditor, echo)


async def _groups(system: OwnSystem, operator: Operator) -> list[Group]:
    """Prepare wallets and calls, and say what is measured on them."""
    await operator.orgs([f"wallet-{it}" for it in range(WALLETS)], pence=PENCE)
    calls = await _ringing(system, operator)
    org = operator.org_id("wallet-")

    def deducting(name: str, wallets: int) -> Workload:
        variables = {"BENCH_ORG": org, "BENCH_WALLETS": str(wallets)}
        return Workload(name=name, script="deduct", variables=variables, writes=True)

    return [
        Group(
            workloads=(
                deducting("deduct, one hot wallet", 1),
                deducting(f"deduct, {WALLETS:,} wallets", WALLETS),
            ),
            reach=Reach(throughput=0.7, cpu=1.6, p99_ms=10),
        ),
        Group(
            workloads=(
                Workload(
                    name="status-check",
                    script="check",
                    variables={
                        "BENCH_CALL": calls,
                        "BENCH_CALLS": str(CALLING_ORGS * CALLS_PER_ORG),
                    },
                    writes=False,
                ),
            ),
            reach=Reach(throughput=0.85, cpu=1.3, p99_ms=5),
        ),
        Group(
            workloads=(
                Workload(
                    name=f"reserve, then commit, {WALLETS:,} wallets",
                    script="calls",
                    variables={"BENCH_ORG": org, "BENCH_WALLETS": str(WALLETS)},
                    writes=True,
                ),
            ),
            reach=Reach(throughput=0.7, cpu=1.6, p99_ms=15),
        ),
    ]


async def _ringing(system: OwnSystem, operator: Operator) -> str:
    """Have calls admitted, and return what their numbered ids begin with."""
    prefix = operator.org_id("call-")
    names = [f"calls-{it}" for it in range(CALLING_ORGS)]
    org_ids = await operator.orgs(names, pence=PENCE, settings=LONG_CALLS)
    for place, org_id in enumerate(org_ids):
        number_id = await operator.number(org_id)
        for nth in range(CALLS_PER_ORG):
            call_id = f"{prefix}{place * CALLS_PER_ORG + nth}"
            body = message("assistant-request", call_id=call_id, number_id=number_id)
            await operator.send(WEBHOOK, body, system.from_vapi())
    # A check of an unknown call is answered well, too, and quicker.
    checked = json.dumps(status_check(f"{prefix}0"))
    answer = await operator.send(STATUS_CHECK, checked, system.from_vapi())
    if not answer["held_pence"] or answer["endCall"]:
        raise PreparationFailed(f"the call is not live: {answer}")
    return prefix


async def _peaks(
    measuring: Bench, group: Group, rounds: int, pressure: Pressure, done: Callable[[], None]
) -> None:
    """Measure as hard as it goes, in turn: echo, workloads, echo, workloads."""
    await measuring.echoed(group.workloads[0], _brief(pressure))
    for workload in group.workloads:
        await measuring.measured(workload, _brief(pressure))
        group.peaks[workload.name] = []
    for _ in range(rounds):
        group.echoes.append(await measuring.echoed(group.workloads[0], pressure))
        done()
        for workload in group.workloads:
            group.peaks[workload.name].append(await measuring.measured(workload, pressure))
            done()


def _brief(pressure: Pressure) -> Pressure:
    """Return the same pressure for as long as a warm-up takes."""
    return Pressure(threads=pressure.threads, connections=pressure.connections, seconds=WARM_UP_S)


async def _halves(
    measuring: Bench, group: Group, pressure: Pressure, done: Callable[[], None]
) -> None:
    """Measure at half of the peak, by a pause of random length before each request.

    How long the pause has to be is found by a short run: answers take their time too.
    """
    for workload in group.workloads:
        rates = sorted(sample.rate for sample in group.peaks[workload.name])
        wanted_ms = 2 * pressure.connections * 1000 / rates[len(rates) // 2]
        tried_ms = max(1, round(wanted_ms) - 1)
        tried = await measuring.measured(workload, _brief(pressure), delay_ms=tried_ms)
        took_ms = pressure.connections * 1000 / tried.rate
        delay_ms = max(1, round(tried_ms + wanted_ms - took_ms))
        group.halves[workload.name] = []
        for _ in range(HALF_ROUNDS):
            sample = await measuring.measured(workload, pressure, delay_ms=delay_ms)
            group.halves[workload.name].append(sample)
            done()


async def _conditions(
    auditor: Auditor, rounds: int, pressure: Pressure, busy: float
) -> dict[str, str]:
    durable = [f"{it} {await auditor.setting(it)}" for it in ("fsync", "synchronous_commit")]
    packages = ("aiohttp", "uvloop", "asyncpg", "pydantic")
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}; {platform.system()}"
        f" {platform.release()}",
        "shared": "wrk, the server and Postgres share these cores, so CPU per request is the"
        f" figure to trust; load average before the run: {busy:.1f}",
        "Postgres": f"{await auditor.setting('server_version')}, {', '.join(durable)}",
        "Python": f"{platform.python_version()}, "
        + ", ".join(f"{it} {version(it)}" for it in packages),
        "engine": "one process, decision log on (info, to a file)",
        "wrk": f"{pressure.threads} threads, {pressure.connections} connections,"
        f" {rounds} rounds of {pressure.seconds} s after {WARM_UP_S} s of warm-up,"
        " echo and engine in turn",
        "figures": "median (least to most); ratios are taken within each round",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  # not a path of ours
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
