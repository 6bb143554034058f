"""A volley: many callers, each with one request, all sent in the same moment by Locust.

Locust patches the sockets of its whole process when it is imported, so it runs as a process of
its own: it reads the plan from a file and writes the answers to another.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOCUSTFILES = Path(__file__).with_name("locustfiles")

PLAN_VARIABLE = "LOADTEST_PLAN"
OUTCOME_VARIABLE = "LOADTEST_OUTCOME"

VOLLEY_S_MAX = 60
"""How long a volley may take in all; it needs a few seconds."""

CLOSE_S = 30
"""What Locust gets beyond its own time to write its outcome and end."""


class LocustFailed(Exception):
    """Locust itself did not do its work; the text shows its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request: a POST of `body`."""

    name: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What one shot was answered; `status` 0 means that no answer came."""

    name: str
    status: int
    seconds: float
    body: Mapping[str, object]

    @property
    def created(self) -> bool:
        """Whether it was decided now."""
        return self.status == 201

    @property
    def repeated(self) -> bool:
        """Whether it had been decided before."""
        return self.status == 200 and self.body.get("duplicate") is True


async def volley(url: str, shots: Sequence[Shot]) -> list[Hit]:
    """Send all `shots` at once and return what they were answered.

    Raises:
        LocustFailed: not every shot was fired.
    """
    plan = {"shots": [asdict(shot) for shot in shots]}
    outcome = await run_locust(
        "volley_users.py",
        plan,
        ("--host", url, "-u", str(len(shots)), "-r", str(len(shots)), "-t", f"{VOLLEY_S_MAX}s"),
    )
    found = outcome["hits"]
    if not isinstance(found, list) or len(found) != len(shots):
        raise LocustFailed(f"{len(shots)} requests were wanted, the outcome is {outcome}")
    return [Hit(**hit) for hit in found]


async def run_locust(
    locustfile: str, plan: Mapping[str, object], options: Sequence[str]
) -> dict[str, Any]:
    """Run Locust without its page, and return the outcome that the locustfile wrote.

    A cancelled caller ends Locust.

    Raises:
        LocustFailed: it took too long, or left no outcome.
    """
    with tempfile.TemporaryDirectory(prefix="wallet-locust-") as folder:
        plan_file, outcome_file = Path(folder) / "plan.json", Path(folder) / "outcome.json"
        plan_file.write_text(json.dumps(plan))
        words = ("--headless", "--only-summary", "-L", "WARNING", "--exit-code-on-error", "0")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILES / locustfile)),
            *(*words, *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {PLAN_VARIABLE: str(plan_file), OUTCOME_VARIABLE: str(outcome_file)},
        )
        try:
            async with asyncio.timeout(_seconds(options) + CLOSE_S):
                output, _ = await process.communicate()
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise LocustFailed(f"{locustfile} took too long") from None
            raise
        if not outcome_file.exists():
            raise LocustFailed(f"{locustfile} left no outcome:\n{output.decode()[-4000:]}")
        outcome: dict[str, Any] = json.loads(outcome_file.read_text())
        return outcome


def _seconds(options: Sequence[str]) -> int:
    """Return how long Locust was told to run."""
    words = list(options)
    return int(words[words.index("-t") + 1].removesuffix("s"))
