"""The simulation from the command line: many seeds, one seed with its trace, or the ablations."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .plan import plan_of
from .runs import SEEDS_MAX, Batch, batches, caught_after
from .simulate import simulate
from .tally import SOMETIMES

TOLD_MAX = 20
"""Failed seeds that are told of: the first one is replayed, the others are counted."""

out = Console(soft_wrap=True, highlight=False)


def main(
    seeds: Annotated[int, typer.Option(help="How many seeds to run.")] = 1000,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Run this one, and print its trace.")] = None,
    shared: Annotated[  # noqa: FBT002  # a switch, for Typer
        bool, typer.Option("--shared", help="Only seeds in which several nodes share the wallets.")
    ] = False,
    ablations: Annotated[  # noqa: FBT002  # a switch, for Typer
        bool, typer.Option("--ablations", help="Take each mechanism out until that is noticed.")
    ] = False,
) -> None:
    """Run the unchanged engine among simulated faults, and hold all answers against the books.

    Exit code 1 if anything was wrong.
    """
    if seed is not None:
        passed = _replayed(seed)
    elif ablations:
        passed = _ablated()
    else:
        chosen = (it for it in count(first) if not shared or plan_of(it).nodes > 1)
        passed = _run(list(islice(chosen, seeds)))
    if not passed:
        raise typer.Exit(1)


def _replayed(seed: int) -> bool:
    report = simulate(seed, traced=True)
    for line in report.trace:
        out.print(line, markup=False)
    for line in report.wrong:
        out.print(f"WRONG: {line}", style="bold red", markup=False)
    if not report.wrong:
        out.print(f"Seed {seed}: nothing is wrong.")
    return not report.wrong


def _run(seeds: Sequence[int]) -> bool:
    began_s = time.perf_counter()
    total = Batch()
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out) as progress:
        bar = progress.add_task("seeds", total=len(seeds))
        for batch in batches(seeds):
            for failed, wrong in batch.failed:
                if len(total.failed) < TOLD_MAX:
                    out.print(f"seed {failed}: {wrong[0]}", style="red", markup=False)
                    out.print(f"    replay: make simulate SEED={failed}", markup=False)
            total.join(batch)
            progress.advance(bar, batch.seeds)
    took_s = time.perf_counter() - began_s
    _print("faults injected", total.tally.faults, total.tally.faults)
    _print("sometimes", total.tally.sometimes, SOMETIMES)
    asked = sum(total.tally.work.values())
    out.print(
        f"{total.seeds} seeds in {took_s:.0f} s, {total.seeds / took_s:.1f} seeds/s;"
        f" {total.virtual_s / 3600:.0f} hours simulated, {asked} decisions and answers;"
        f" violations: {len(total.failed)}"
    )
    if total.never and len(seeds) >= SEEDS_MAX:
        out.print(f"never happened: {', '.join(total.never)}", style="red")
        return False
    return not total.failed


def _print(title: str, counts: Counter[str], names: Iterable[str]) -> None:
    table = Table("how often", title, title_justify="left")
    for name in sorted(names, key=lambda name: -counts[name]):
        table.add_row(str(counts[name]), name)
    out.print(table)


def _ablated() -> bool:
    table = Table("mechanism taken out", "noticed after", "how")
    unnoticed = 0
    for mechanism, seeds, how in caught_after():
        unnoticed += seeds is None
        told = f"{seeds} seeds" if seeds is not None else f"not within {SEEDS_MAX}"
        out.print(f"{told}: {mechanism}")
        table.add_row(mechanism, told, how[:100])
    out.print(table)
    return not unnoticed


if __name__ == "__main__":
    typer.run(main)
