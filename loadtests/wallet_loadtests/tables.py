"""How measurements are written down: a table in Markdown, and the conditions below it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .measure import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is to be reached: against the echo, and in latency.  Source: SPEC §10."""

    throughput: float
    cpu: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one workload, beside the echo of the same rounds."""

    name: str
    reach: Reach
    echoes: Sequence[Sample]
    peaks: Sequence[Sample]
    halves: Sequence[Sample]


COLUMNS = (
    "",
    "requests/s",
    "against echo",
    "p50 ms",
    "p99 ms",
    "p99 ms at half the peak",
    "CPU µs/request",
    "against echo",
    "Postgres CPU µs/request",
    "entries per commit",
)


def markdown(rows: Sequence[Row]) -> str:
    """Return all measurements as a table."""
    lines = [_line(COLUMNS), _line(["---", *["---:"] * (len(COLUMNS) - 1)])]
    known: list[Sequence[Sample]] = []
    for row in rows:
        if not any(echoes is row.echoes for echoes in known):
            known.append(row.echoes)
            lines.append(_line(_echo_cells(f"echo of {row.name.split(',')[0]}", row.echoes)))
        lines.append(_line(_cells(row)))
    return "\n".join(lines)


def conditions_text(conditions: Mapping[str, str]) -> str:
    """Return the conditions as a list."""
    return "\n".join(f"- {name}: {text}" for name, text in conditions.items())


def _echo_cells(name: str, echoes: Sequence[Sample]) -> list[str]:
    return [
        name,
        _figure(echoes, lambda it: it.rate, "{:,.0f}"),
        "1",
        _figure(echoes, lambda it: it.p50_ms, "{:.1f}"),
        _figure(echoes, lambda it: it.p99_ms, "{:.1f}"),
        "",
        _figure(echoes, lambda it: it.server_us, "{:.0f}"),
        "1",
        "",
        "",
    ]


def _cells(row: Row) -> list[str]:
    throughput = [mine.rate / its.rate for mine, its in zip(row.peaks, row.echoes, strict=True)]
    cpu = [mine.server_us / its.server_us for mine, its in zip(row.peaks, row.echoes, strict=True)]
    at_half = _figure(row.halves, lambda it: it.p99_ms, "{:.1f}")
    half_rate = median(it.rate for it in row.halves)
    batches = [it.batch for it in row.peaks if it.batch]
    return [
        row.name,
        _figure(row.peaks, lambda it: it.rate, "{:,.0f}"),
        f"{_spread(throughput, '{:.2f}')}, wanted ≥ {row.reach.throughput}",
        _figure(row.peaks, lambda it: it.p50_ms, "{:.1f}"),
        _figure(row.peaks, lambda it: it.p99_ms, "{:.1f}"),
        f"{at_half} at {half_rate:,.0f}/s, wanted ≤ {row.reach.p99_ms:.0f}",
        _figure(row.peaks, lambda it: it.server_us, "{:.0f}"),
        f"{_spread(cpu, '{:.2f}')}, wanted ≤ {row.reach.cpu}",
        _figure(row.peaks, lambda it: it.postgres_us, "{:.0f}") if batches else "",
        _spread(batches, "{:.0f}") if batches else "",
    ]


def _figure(samples: Iterable[Sample], what: Callable[[Sample], float], form: str) -> str:
    return _spread([what(sample) for sample in samples], form)


def _spread(figures: Sequence[float], form: str) -> str:
    """Return the median, and from where to where the rest goes."""
    least, most = form.format(min(figures)), form.format(max(figures))
    return f"{form.format(median(figures))} ({least} to {most})"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
