"""Timers of live holds: a heap in memory, a cache of the deadlines that Postgres holds."""

import asyncio
import heapq
import logging
from typing import TYPE_CHECKING, NamedTuple

from . import deadlines
from .mailbox import Due
from .reasons import CAP_REACHED, OUT_OF_MONEY
from .wallet import Hold

if TYPE_CHECKING:
    from .node import Node

LONGEST_SLEEP_S = 0.5
"""Wake at least this often: the clock may be corrected, and the machine may have slept."""


AGAIN_MS = 1000
"""A hold that needs a decision and got none is looked at again after this."""

OUTDATED_MAX = 1000
"""So many outdated entries the heap may hold beyond those that count."""

log = logging.getLogger(__name__)

Key = tuple[str, str]


class Armed(NamedTuple):
    """What is known durably of a live hold: when to look, when its paid time is over.

    `end_reason` is empty unless the engine ends this call and has not told it to end yet;
    `fired`: it was due before, and no decision came of it.  `spared`: its call would have been
    ended, but for a write under way.
    """

    due_ms: int
    ends_ms: int
    started_ms: int
    end_reason: str
    fired: bool = False
    spared: bool = False


class Timers:
    """Wakes actors when their holds are due.  Entries of the heap that are outdated are skipped.

    A timer that fired fires again, at the end of the paid time and then each second, until
    the hold is armed anew or dropped: while the ledger is away nothing else would end the call.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._armed: dict[tuple[str, str], Armed] = {}
        self._heap: list[tuple[int, str, str]] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many live holds have a timer."""
        return len(self._armed)

    def arm(self, org_id: str, hold: Hold, started_ms: int) -> None:
        """Set, or set anew, the timer of a live hold, as it is durably."""
        due_ms = deadlines.next_due_ms(hold, started_ms, self._node.clock.now_ms())
        ends_ms = deadlines.ends_ms(hold, started_ms)
        reason = ""
        if hold.managed and not hold.killed:
            reason = OUT_OF_MONEY if deadlines.may_grow(hold) else CAP_REACHED
        armed = Armed(due_ms, ends_ms, started_ms, reason)
        self._set((org_id, hold.call_id), armed)

    def move(self, org_id: str, call_id: str, started_ms: int) -> None:
        """The clock of a call turns out to have started at `started_ms`: all moves with it."""
        armed = self._armed.get((org_id, call_id))
        if armed is None or armed.started_ms == started_ms:
            return
        later_ms = started_ms - armed.started_ms
        moved = armed._replace(
            due_ms=armed.due_ms + later_ms,
            ends_ms=armed.ends_ms + later_ms,
            started_ms=started_ms,
            fired=False,
        )
        self._set((org_id, call_id), moved)

    def spare(self, org_id: str, call_id: str) -> bool:
        """Let a call go on until its timer fires next, once.  Say whether that is granted."""
        armed = self._armed[org_id, call_id]
        self._armed[org_id, call_id] = armed._replace(spared=True)
        return not armed.spared

    def has(self, org_id: str, call_id: str) -> bool:
        """Whether a hold has a timer."""
        return (org_id, call_id) in self._armed

    def drop(self, org_id: str, call_id: str) -> None:
        """Forget a hold that is no longer live, or no longer ours."""
        self._armed.pop((org_id, call_id), None)

    def _set(self, key: Key, armed: Armed) -> None:
        self._armed[key] = armed
        heapq.heappush(self._heap, (armed.due_ms, *key))
        if self._heap[0][0] == armed.due_ms:
            self._wake.set()
        if len(self._heap) > 2 * len(self._armed) + OUTDATED_MAX:
            self._heap = [(known.due_ms, *name) for name, known in self._armed.items()]
            heapq.heapify(self._heap)

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
            if armed is None or armed.due_ms != due_ms:
                continue
            again_ms = armed.ends_ms if armed.ends_ms > now_ms else now_ms + AGAIN_MS
            self._set((org_id, call_id), armed._replace(due_ms=again_ms, fired=True))
            try:
                self._node.hold_due(Due(org_id=org_id, call_id=call_id), armed, now_ms)
            except Exception:
                log.exception("the timer of call %s of %s met a bug", call_id, org_id)
