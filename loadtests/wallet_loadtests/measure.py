"""One measurement: a workload against one server for some seconds, and what it cost whom."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from .books import Auditor
from .echo import Echo
from .operators import Operator
from .system import OwnSystem
from .usage import counted, cpu_s, family
from .wrk import Pressure, WrkResult, wrk


class WrongAnswers(Exception):
    """Not every request was answered well, or not all that was answered is journaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A script of `lua/` with its variables; `writes`: each request makes one journal row."""

    name: str
    script: str
    variables: Mapping[str, str]
    writes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run showed; CPU in microseconds a request, 0 where there is none."""

    rate: float
    p50_ms: float
    p99_ms: float
    server_us: float
    postgres_us: float
    batch: float


class Bench:
    """Measures the engine and the echo, never both at once."""

    def __init__(self, system: OwnSystem, operator: Operator, auditor: Auditor, echo: Echo) -> None:
        self._system = system
        self._operator = operator
        self._auditor = auditor
        self._echo = echo

    async def echoed(self, workload: Workload, pressure: Pressure) -> Sample:
        """Send the requests of `workload` to the echo."""
        before_s = cpu_s([self._echo.pid])
        result = await wrk(self._echo.url, workload.script, self._variables(workload), pressure)
        server_s = cpu_s([self._echo.pid]) - before_s
        _check(workload, result)
        return _sample(result, server_s=server_s, postgres_s=0.0, batch=0.0)

    async def measured(
        self, workload: Workload, pressure: Pressure, *, delay_ms: int = 0
    ) -> Sample:
        """Send the requests of `workload` to the engine, and see that each one was journaled."""
        os.truncate(self._system.node.log, 0)
        commits, entries = await self._batches()
        rows = await self._auditor.rows()
        node_s, postgres_s = self._cpu_s()
        result = await wrk(
            self._system.url,
            workload.script,
            self._variables(workload),
            pressure,
            delay_ms=delay_ms,
        )
        node_after_s, postgres_after_s = self._cpu_s()
        commits_after, entries_after = await self._batches()
        written = await self._auditor.rows() - rows
        _check(workload, result)
        # What was under way when wrk stopped is decided too, but nobody counted it.
        wanted = result.requests if workload.writes else 0
        if not wanted <= written <= wanted + pressure.connections:
            raise WrongAnswers(f"{workload.name}: {wanted} answered, {written} journaled")
        made = commits_after - commits
        return _sample(
            result,
            server_s=node_after_s - node_s,
            postgres_s=postgres_after_s - postgres_s,
            batch=(entries_after - entries) / made if made else 0.0,
        )

    def _variables(self, workload: Workload) -> dict[str, str]:
        lines = {**self._system.bearer(), **self._system.from_vapi()}
        del lines["Content-Type"]
        headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return {**workload.variables, "BENCH_HEADERS": headers, "BENCH_RUN": secrets.token_hex(4)}

    def _cpu_s(self) -> tuple[float, float]:
        node, postgres = self._system.node.pid, self._system.postgres.process.pid
        return cpu_s([node]), cpu_s(family(postgres))

    async def _batches(self) -> tuple[float, float]:
        metrics = await self._operator.metrics()
        name = "wallet_commit_batch_size"
        return counted(metrics, f"{name}_count"), counted(metrics, f"{name}_sum")


def _check(workload: Workload, result: WrkResult) -> None:
    if result.refused or result.broken or not result.requests:
        raise WrongAnswers(
            f"{workload.name}: of {result.requests} requests {result.refused} were refused,"
            f" and {result.broken} more not answered"
        )


def _sample(result: WrkResult, *, server_s: float, postgres_s: float, batch: float) -> Sample:
    return Sample(
        rate=result.requests * 1e6 / result.microseconds,
        p50_ms=result.p50_us / 1000,
        p99_ms=result.p99_us / 1000,
        server_us=server_s * 1e6 / result.requests,
        postgres_us=postgres_s * 1e6 / result.requests,
        batch=batch,
    )
