"""wrk, which reaches the peak where Locust does not: one run of one script, and its result."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LUA = Path(__file__).with_name("lua")

RESULT = "RESULT "
"""Begins the line that the scripts print at the end."""

CLOSE_S = 30
"""What wrk gets beyond its own time to end."""

MISSING = (
    "wrk is not installed, and nothing else here presses hard enough to find the peak.\n"
    "On Debian and Ubuntu: apt install wrk; on macOS: brew install wrk;"
    " elsewhere: https://github.com/wg/wrk"
)


class WrkMissing(Exception):
    """wrk is not installed; the text says how to get it."""


class WrkFailed(Exception):
    """wrk did not do its work; the text shows its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrkResult:
    """What wrk counted: `refused` are answers above 399, `broken` all that was not answered."""

    requests: int
    microseconds: int
    p50_us: int
    p99_us: int
    max_us: int
    refused: int
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How hard wrk presses."""

    threads: int
    connections: int
    seconds: int


async def wrk(
    url: str, script: str, variables: Mapping[str, str], pressure: Pressure, *, delay_ms: int = 0
) -> WrkResult:
    """Run a script of `lua/` against `url`; `delay_ms` waits so long on average between requests.

    A cancelled caller ends wrk.

    Raises:
        WrkMissing: there is no wrk.
        WrkFailed: it ended without a result.
    """
    process = await asyncio.create_subprocess_exec(
        program(),
        *("-t", str(pressure.threads), "-c", str(pressure.connections)),
        *("-d", f"{pressure.seconds}s", "--timeout", "10s"),
        *("-s", str(LUA / f"{script}.lua"), url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | variables | {"BENCH_LUA": str(LUA), "BENCH_DELAY_MS": str(delay_ms)},
    )
    try:
        async with asyncio.timeout(pressure.seconds + CLOSE_S):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    lines = output.decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith(RESULT):
            return WrkResult(**json.loads(line.removeprefix(RESULT)))
    raise WrkFailed("\n".join(lines[-20:]))


def program() -> str:
    """Return where wrk is.

    Raises:
        WrkMissing: nowhere.
    """
    found = shutil.which("wrk")
    if found is None:
        raise WrkMissing(MISSING)
    return found
