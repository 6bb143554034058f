"""What each command runs: it prepares an arena, runs checks in it, and collects the verdicts."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from .authorizations import CALLS, authorizations
from .books import auditing
from .mix import mix, mix_plan
from .node import run_command
from .operators import operating
from .races import RACES, Arena, run_race
from .system import System, own_system, running_system
from .verdict import Verdict, faults_of
from .volley import LOCUSTFILES, PLAN_VARIABLE

FEW_CALLS = 3
"""What the poorer wallet can pay of the calls that ring at once."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PAGE_USERS, PAGE_SPAWN_RATE, PAGE_RUN_S = 20, 5, 300
"""What Locust's page proposes; a run from the page ends by itself, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which engine to use; an empty `url` starts one."""

    url: str = ""
    dsn: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    vapi_secret: str = field(default="", repr=False)


@asynccontextmanager
async def arena_of(target: Target, console: Console) -> AsyncIterator[Arena]:
    """Give an arena on the target, or on an engine of its own."""
    async with (
        _system_of(target, console) as system,
        operating(system) as operator,
        auditing(system.dsn) as auditor,
    ):
        yield Arena(system=system, operator=operator, auditor=auditor)


@asynccontextmanager
async def _system_of(target: Target, console: Console) -> AsyncIterator[System]:
    if target.url:
        yield running_system(
            url=target.url,
            dsn=target.dsn,
            secret=target.secret,
            vapi_secret=target.vapi_secret,
        )
        return
    console.print("Starting a Postgres and a node")
    async with own_system() as system:
        console.print(f"The node serves on {system.url}")
        yield system


async def race_verdicts(arena: Arena, console: Console, *, rounds: int) -> list[Verdict]:
    """Run every race so many times, each time on a fresh wallet."""
    verdicts = []
    for race in RACES:
        for turn in range(1, rounds + 1):
            with console.status(f"{race.name}, {turn} of {rounds}"):
                verdicts.append(await run_race(arena, race, turn=turn))
    return verdicts


async def authorization_verdicts(arena: Arena, console: Console) -> list[Verdict]:
    """Have many calls ask at once, with money for all and with money for few."""
    verdicts = []
    for affordable in (CALLS, FEW_CALLS):
        with console.status(f"{CALLS} calls ask at once, money for {affordable}"):
            verdicts.append(await authorizations(arena, affordable=affordable))
    return verdicts


async def mix_verdicts(
    arena: Arena, console: Console, *, users: int, seconds: int
) -> list[Verdict]:
    """Have whole calls run through the engine for some time."""
    with console.status(f"Vapi's traffic for {seconds} s"):
        return [await mix(arena, users=users, seconds=seconds)]


async def audit_verdict(system: System) -> Verdict:
    """Have the engine's own audit replay every journal."""
    code, output = await run_command("audit", settings={"WALLET_POSTGRES__DSN": system.dsn})
    last = output.strip().splitlines()[-1:] or ["nothing was printed"]
    return Verdict(
        name="wallet audit",
        seen=last[0].strip(),
        faults=faults_of((code == 0, f"it ended with {code}:\n{output}")),
    )


async def serve_page(arena: Arena, console: Console, *, port: int, minutes: int) -> None:
    """Show Locust's page until Ctrl-C, or until its time is over."""
    with tempfile.TemporaryDirectory(prefix="wallet-locust-") as folder:
        plan_file = Path(folder) / "plan.json"
        plan_file.write_text(json.dumps(await mix_plan(arena)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILES / "vapi_mix.py")),
            *("--host", arena.system.url, "--web-host", "127.0.0.1", "--web-port", str(port)),
            *("-u", str(PAGE_USERS), "-r", str(PAGE_SPAWN_RATE), "-t", f"{PAGE_RUN_S}s"),
            *("-L", "WARNING"),
            env=os.environ | {PLAN_VARIABLE: str(plan_file)},
        )
        console.print(
            f"Locust's page: http://127.0.0.1:{port} (Ctrl-C ends it, else {minutes} minutes)"
        )
        await _until_closed(process, minutes * 60)


async def _until_closed(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait for a child's end; Ctrl-C and the clock end it, and not what was begun around it."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, closed.set)
    ended, told = asyncio.create_task(process.wait()), asyncio.create_task(closed.wait())
    try:
        await asyncio.wait((ended, told), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        with suppress(ProcessLookupError):
            process.terminate()
        await ended
        for number in SIGNALS:
            loop.remove_signal_handler(number)
