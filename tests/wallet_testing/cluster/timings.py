"""How long answers took, and what they were, as lists that can be cut into windows."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from wallet_testing.recorder import Recorded

RANKS = (("min", 0.0), ("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer: whose, when it was asked for and when it came, and what it was."""

    org_id: str
    sent_s: float
    came_s: float
    status: int

    @property
    def took_s(self) -> float:
        """How long its caller waited."""
        return self.came_s - self.sent_s

    @property
    def failed(self) -> bool:
        """Whether its caller was told neither yes nor no."""
        return self.status in {0, 500, 502, 503, 504}


@dataclass(slots=True)
class Timings:
    """Hears every answer; a listener of `Recorder`."""

    all: list[Timing] = field(default_factory=list)
    now: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)

    def __call__(self, recorded: Recorded) -> None:
        """Hear of one."""
        request, status = recorded.request, recorded.answer.status
        self.all.append(Timing(request.org_id, recorded.sent_s, self.now(), status))

    def within(
        self, began_s: float, ended_s: float, org_ids: Collection[str] | None = None
    ) -> list[Timing]:
        """Return the answers to what was sent or under way in a window, about some wallets."""
        return [
            it
            for it in self.all
            if it.came_s >= began_s
            and it.sent_s <= ended_s
            and (org_ids is None or it.org_id in org_ids)
        ]

    def rate(self, began_s: float, ended_s: float) -> float:
        """Return the decisions a second of a window."""
        good = sum(began_s <= it.came_s <= ended_s and not it.failed for it in self.all)
        return good / (ended_s - began_s)


def figures(seconds: Sequence[float], *, unit_s: float = 1.0) -> str:
    """Return a distribution in one line, in units of `unit_s`."""
    if not seconds:
        return "nothing"
    ordered = sorted(seconds)
    places = 1 if unit_s < 1 else 3
    told = (
        f"{name} {ordered[round(rank * (len(ordered) - 1))] / unit_s:.{places}f}"
        for name, rank in RANKS
    )
    return f"{', '.join(told)} ({len(ordered)} figures)"


def failures(timings: Sequence[Timing]) -> str:
    """Return how many failed, by status; 0 is: no answer."""
    counts = Counter(it.status for it in timings if it.failed)
    told = ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
    return f"{sum(counts.values())} of {len(timings)} failed" + (f" ({told})" if told else "")
