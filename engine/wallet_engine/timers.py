"""Timers of live holds: a heap in memory, a cache of the deadlines that Postgres holds."""

import asyncio
import heapq
from typing import TYPE_CHECKING, NamedTuple

from . import deadlines
from .mailbox import Due
from .wallet import Hold

if TYPE_CHECKING:
    from .node import Node

LONGEST_SLEEP_S = 0.5
"""Wake at least this often: the clock may be corrected, and the machine may have slept."""


class Armed(NamedTuple):
    """What is known durably of a live hold: when to look, when its paid time is over."""

    due_ms: int
    ends_ms: int
    managed: bool
    killed: bool


class Timers:
    """Wakes actors when their holds are due.  Entries of the heap that are outdated are skipped."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._armed: dict[tuple[str, str], Armed] = {}
        self._heap: list[tuple[int, str, str]] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many live holds have a timer."""
        return len(self._armed)

    def arm(self, org_id: str, hold: Hold, started_ms: int) -> None:
        """Set, or set anew, the timer of a live hold."""
        now_ms = self._node.clock.now_ms()
        due_ms = deadlines.next_due_ms(hold, started_ms, now_ms)
        ends_ms = deadlines.ends_ms(hold, started_ms)
        self._armed[org_id, hold.call_id] = Armed(due_ms, ends_ms, hold.managed, hold.killed)
        earliest = self._heap[0][0] if self._heap else None
        heapq.heappush(self._heap, (due_ms, org_id, hold.call_id))
        if earliest is None or due_ms < earliest:
            self._wake.set()

    def drop(self, org_id: str, call_id: str) -> None:
        """Forget a hold that is no longer live."""
        self._armed.pop((org_id, call_id), None)
        if len(self._heap) > 2 * len(self._armed) + 1000:
            self._heap = [(a.due_ms, *key) for key, a in self._armed.items()]
            heapq.heapify(self._heap)

    def drop_org(self, org_id: str) -> None:
        """Forget a wallet that is no longer ours."""
        for key in [key for key in self._armed if key[0] == org_id]:
            del self._armed[key]

    async def run(self) -> None:
        """Wake what is due, for ever."""
        while True:
            now_ms = self._node.clock.now_ms()
            self._fire(now_ms)
            self._wake.clear()
            wait_s = LONGEST_SLEEP_S
            if self._heap:
                wait_s = min(wait_s, max(0.0, (self._heap[0][0] - now_ms) / 1000))
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _fire(self, now_ms: int) -> None:
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, org_id, call_id = heapq.heappop(self._heap)
            armed = self._armed.get((org_id, call_id))
            if armed is not None and armed.due_ms == due_ms:
                self._node.hold_due(Due(org_id=org_id, call_id=call_id), armed)
