"""How much work a process did: CPU seconds from /proc, and what /metrics counted."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import psutil

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

USER, SYSTEM, REAPED_USER, REAPED_SYSTEM = 11, 12, 13, 14
"""Where times stand in /proc/<pid>/stat, counted after the name.  Source: proc(5)."""


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes, and children of theirs that ended, have used."""
    ticks = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = text.rpartition(")")[2].split()
        ticks += sum(int(fields[place]) for place in (USER, SYSTEM, REAPED_USER, REAPED_SYSTEM))
    return ticks / TICKS_PER_S


def family(pid: int) -> list[int]:
    """Return `pid` and all that it has started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def counted(metrics: str, name: str) -> float:
    """Return the sum of a metric over its labels, 0 if there is none of that name."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)", re.MULTILINE)
    return sum(float(value) for value in pattern.findall(metrics))
