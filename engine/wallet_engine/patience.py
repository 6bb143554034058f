"""The deadlines of those who wait: one line per time-out, of which only the head is looked at."""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from .errors import DeadlinePassed
from .mailbox import Envelope

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

TICK_S = 0.05
"""How late a deadline may be noticed."""


class Patience:
    """Fails those whose deadline has passed, and lets wallets rest that are not used."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._lines: dict[float, deque[Envelope]] = {}
        self._wake = asyncio.Event()

    def wait_in_line(self, envelope: Envelope, timeout_s: float) -> None:
        """Have the deadline of `envelope` watched, with all others of the same time-out."""
        line = self._lines.get(timeout_s)
        if line is None:
            line = self._lines[timeout_s] = deque()
        line.append(envelope)
        self._wake.set()

    def wake(self) -> None:
        """There is a wallet that may rest some time."""
        self._wake.set()

    def fail_all(self, error: Exception) -> None:
        """Fail everyone who waits."""
        for line in self._lines.values():
            for envelope in line:
                envelope.fail(error)

    async def run(self) -> None:
        """Look at deadlines and at resting wallets, for as long as there are any."""
        while True:
            await self._wake.wait()
            try:
                self._tick()
            except Exception:
                log.exception("looking at deadlines met a bug; it goes on")
            if not self._lines and not self._node.residents.any_remembers:
                self._wake.clear()
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        now_s = self._node.loop_time()
        residents = self._node.residents
        late: dict[str, None] = {}
        for line in self._lines.values():
            while line and (line[0].given_up or line[0].deadline_s <= now_s):
                envelope = line.popleft()
                if not envelope.given_up:
                    late[envelope.ask.org_id] = None
                envelope.fail(
                    DeadlinePassed("No answer in time; a retry with the same key tells more.")
                )
        self._lines = {timeout_s: line for timeout_s, line in self._lines.items() if line}
        for org_id in late:
            if (actor := residents.get(org_id)) is not None:
                actor.purge()
        residents.rest(now_s)
