"""What a run of faults came to, as it is printed."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from wallet_testing.witness import Finding, Wrong

from .scene import Recovery

SHOWN_MAX = 20
"""How many of the things that are wrong are told of one sort: the first say the most."""

Recoveries = Sequence[Recovery]


@dataclass(slots=True, kw_only=True)
class Result:
    """A whole run: what was suffered, and what was wrong."""

    seed: int
    answers: int = 0
    acknowledged: int = 0
    unavailable: int = 0
    unanswered: int = 0
    suffered: list[tuple[str, list[Recovery]]] = field(default_factory=list)
    fences: Mapping[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def of(self, wrong: Wrong) -> list[str]:
        """Return the disagreements of one sort."""
        return [it.text for it in self.findings if it.wrong is wrong]

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.findings or self.drift or self.troubles)


def show(result: Result, console: Console) -> None:
    """Print it."""
    by_kind: defaultdict[str, list[Recovery]] = defaultdict(list)
    counts: defaultdict[str, int] = defaultdict(int)
    for kind, recoveries in result.suffered:
        by_kind[kind] += recoveries
        counts[kind] += 1
    for title, seconds_of in (
        ("Seconds from the end of a fault to the first new decision", lambda it: it.first_s),
        ("Seconds from the end of a fault until every wallet had one", lambda it: it.all_s),
    ):
        console.print(_table(title, by_kind, counts, seconds_of))
    wrong = {
        "acknowledged and lost": result.of(Wrong.LOST),
        "charged twice": result.of(Wrong.TWICE),
        "told otherwise than journaled": result.of(Wrong.OTHER),
        "drift": result.drift,
        "other trouble": result.troubles,
    }
    console.print(
        f"seed {result.seed}, {len(result.suffered)} faults, {result.answers:,} answers:"
        f" {result.acknowledged:,} acknowledged, {result.unavailable:,} told to come again (503),"
        f" {result.unanswered:,} without an answer"
    )
    met = ", ".join(f"{cause} {count:,}" for cause, count in sorted(result.fences.items()))
    console.print(f"what nodes met while they wrote: {met}")
    for name, texts in wrong.items():
        console.print(f"{name}: {len(texts)}")
        for text in texts[:SHOWN_MAX]:
            console.print(f"  {text}", markup=False, highlight=False)


def _table(
    title: str,
    by_kind: dict[str, list[Recovery]],
    counts: dict[str, int],
    seconds_of: Callable[[Recovery], float],
) -> Table:
    table = Table(title=title)
    for name in ("", "faults", "min", "median", "p90", "p99", "max"):
        table.add_column(name, justify="right" if name else "left")
    for kind in sorted(by_kind):
        times = [seconds_of(it) for it in by_kind[kind]]
        table.add_row(kind, str(counts[kind]), *_figures(times))
    table.add_section()
    everything = [seconds_of(it) for recoveries in by_kind.values() for it in recoveries]
    table.add_row("all", str(sum(counts.values())), *_figures(everything))
    return table


def _figures(times: Sequence[float]) -> list[str]:
    ordered = sorted(times)
    ranks = (0.0, 0.5, 0.9, 0.99, 1.0)
    return [f"{ordered[round(rank * (len(ordered) - 1))]:.3f}" for rank in ranks] if ordered else []
