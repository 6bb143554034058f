"""Many seeds, on as many cores as there are; and how soon an ablation is caught."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context

from .ablations import ABLATIONS
from .simulate import Report, simulate
from .tally import SOMETIMES, Tally

CHUNK = 10
"""Seeds that a process runs before it reports."""

SEEDS_MAX = 300
"""An ablation that this many seeds do not notice is not noticed."""


@dataclass
class Batch:
    """What came of some seeds: those in which something was wrong, and all tallies added up."""

    seeds: int = 0
    virtual_s: float = 0.0
    failed: list[tuple[int, list[str]]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def add(self, report: Report) -> None:
        """Add one seed."""
        self.seeds += 1
        self.virtual_s += report.virtual_s
        self.tally += report.tally
        if report.wrong:
            self.failed.append((report.seed, report.wrong))

    def join(self, other: "Batch") -> None:
        """Add the seeds of another process."""
        self.seeds += other.seeds
        self.virtual_s += other.virtual_s
        self.tally += other.tally
        self.failed += other.failed

    @property
    def never(self) -> list[str]:
        """What should have happened now and then, and never did."""
        return [name for name in SOMETIMES if not self.tally.sometimes[name]]


def batches(seeds: Sequence[int]) -> Iterator[Batch]:
    """Run all `seeds`; give what came of a few at a time, as they are done."""
    chunks = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    with _pool() as pool:
        for done in as_completed([pool.submit(_run, chunk) for chunk in chunks]):
            yield done.result()


def caught_after() -> Iterator[tuple[str, int | None, str]]:
    """Take each mechanism out; give its name, after how many seeds that is noticed, and how.

    None: `SEEDS_MAX` seeds do not notice.
    """
    with _pool() as pool:
        runs = [pool.submit(_caught, number) for number in range(len(ABLATIONS))]
        for ablation, run in zip(ABLATIONS, runs, strict=True):
            yield (ablation.mechanism, *run.result())


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))


def _run(seeds: Sequence[int]) -> Batch:
    batch = Batch()
    for seed in seeds:
        batch.add(simulate(seed))
    return batch


def _caught(number: int) -> tuple[int | None, str]:
    with ABLATIONS[number].without():
        for seed in range(SEEDS_MAX):
            if wrong := simulate(seed).wrong:
                return seed + 1, wrong[0]
    return None, ""
