"""Runs many real faults in a row, and says what became of what was acknowledged meanwhile.

PYTHONPATH=tests:loadtests python -m wallet_testing.faults --faults 200 --seed 1
"""

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wallet_testing.cluster.faults import run as run_on_nodes

from .deck import DISK_FULL, KINDS, drawn
from .report import Result, show
from .scene import Scene, scene_in, suffer

WORKERS = 16

CALM = 30
"""How many acknowledgements lie between two faults, at least."""

BOOKS_EVERY = 20
"""After so many faults the sums of all wallets are looked at; the whole audit comes last."""

OUTAGE_S = (0.3, 7.0)
"""How long an outage lasts: on both sides of what the node waits for."""

DEFAULT_PATIENCE_S = 5.0
"""When a node gives up on a statement or a request, if nobody says otherwise."""

console = Console(width=120, soft_wrap=True)


async def run(
    faults: int, seed: int, patience_s: float, folder: Path, progress: Progress
) -> Result:
    """Set the scene, suffer the faults, and hold everything against the journals."""
    async with scene_in(folder, seed=seed, patience_s=patience_s, outage_s=OUTAGE_S) as scene:
        result = Result(seed=seed)
        try:
            async with scene.traffic.running(WORKERS):
                await _suffer_all(scene, faults, result, progress)
        except* Exception as errors:  # noqa: BLE001  # a worker's, a fault's, whatever it is
            # The run is over, and what was acknowledged until then counts all the same.
            scene.troubles += [repr(error) for error in errors.exceptions]
        await _count(scene, result)
        return result


async def _suffer_all(scene: Scene, faults: int, result: Result, progress: Progress) -> None:
    dice = random.Random(result.seed)
    names = names_for(scene)
    bar = progress.add_task("", total=faults)
    await scene.traffic.acknowledged(CALM)
    for number, name in zip(range(1, faults + 1), drawn(names, dice), strict=False):
        progress.update(bar, description=f"{name:30}")
        result.suffered.append((name, await suffer(scene, KINDS[name], dice)))
        await scene.traffic.acknowledged(CALM)
        if number % BOOKS_EVERY == 0:
            result.drift += await scene.books()
        progress.advance(bar)


async def _count(scene: Scene, result: Result) -> None:
    """Hold everything against the journals, now that nobody is at work."""
    recorder = scene.stage.recorder
    result.answers = len(recorder.answers)
    result.acknowledged = recorder.acknowledged
    result.unavailable = recorder.count(503)
    result.unanswered = recorder.count(0)
    result.fences = scene.fences()
    result.findings = await scene.stage.findings()
    result.drift += await scene.drift()
    result.troubles = [*scene.troubles, *scene.errors()]


def names_for(scene: Scene) -> list[str]:
    """Return the kinds of faults that can be made here."""
    if scene.disk is not None:
        return list(KINDS)
    console.print(f"left out: {DISK_FULL!r}: no disk can be made here (it takes mount)")
    return [name for name in KINDS if name != DISK_FULL]


def main(
    faults: Annotated[int, typer.Option(min=1, help="How many, of all kinds equally.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the faults and what clients do.")] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="With more than one: faults of a cluster, Redis included.")
    ] = 1,
    patience: Annotated[
        float, typer.Option(min=0.2, help="Seconds until the node gives up on a statement.")
    ] = DEFAULT_PATIENCE_S,
    logs: Annotated[Path | None, typer.Option(help="Keep the nodes' logs in this folder.")] = None,
) -> None:
    """Hurt a node, its Postgres and the path between them, with clients at work all the time.

    Ends with 1 if anything acknowledged was lost or done twice, or anything else was wrong.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        tempfile.TemporaryDirectory(prefix="wallet-faults-") as temporary,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
    ):
        folder = logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        work = (
            run(faults, seed, patience, folder, progress)
            if nodes == 1
            else run_on_nodes(faults, seed, nodes, folder, progress)
        )
        result = asyncio.run(work)
    show(result, console)
    sys.exit(0 if result.is_good else 1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
