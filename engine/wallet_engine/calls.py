"""The life of a call as its provider tells it: admitted, started, ended, reported.

A call is settled by the first proof of its length.  `ended` waits a grace for the report,
which knows better; if the process dies meanwhile, the sweep finds the call again.
"""

import asyncio
import logging
import random
from dataclasses import dataclass

from .backoff import Backoff
from .commands import Check, Commit, NoteStart, Proof, Reserve
from .endings import Endings
from .errors import InvalidCommand, LedgerFault, UnknownOrg, WalletError
from .journal import Answer
from .node import Node
from .ports import Clock, History

log = logging.getLogger(__name__)

SETTLE_TIMEOUT_S = 5.0
SWEEP_S = 5.0
SWEEP_LIMIT = 500
PENDING_MAX = 200_000
"""More ended calls than this may not wait for their report; the sweep settles the rest."""

Key = tuple[str, str]


@dataclass(slots=True)
class Ended:
    """A call that ended and waits for its report: the length we know, and the alarm."""

    duration_ms: int
    alarm: asyncio.TimerHandle


class Calls:
    """Admits and settles calls on behalf of a provider's webhooks."""

    def __init__(
        self, *, node: Node, history: History, endings: Endings, clock: Clock, grace_s: float
    ) -> None:
        self._node = node
        self._history = history
        self._endings = endings
        self._clock = clock
        self._grace_s = grace_s
        self._ended: dict[Key, Ended] = {}
        self._settling: dict[Key, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start looking for calls that ended and were never settled."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="wallet-unsettled")

    async def stop(self) -> None:
        """Stop; what still waits for its report is found by the next process."""
        for ended in self._ended.values():
            ended.alarm.cancel()
        self._ended.clear()
        tasks = [*self._settling.values(), *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def admit(
        self, org_id: str, call_id: str, *, let_in_undecided: bool, timeout_s: float
    ) -> Answer:
        """Open a hold for a call that rings.

        One that comes too late is given back, unless the caller was let in without it.
        """
        reserve = Reserve(
            org_id=org_id,
            call_id=call_id,
            managed=True,
            strict=False,
            give_back=not let_in_undecided,
            attempt=random.getrandbits(62) + 1,  # tells attempts apart, hides nothing
        )
        return await self._node.ask(reserve, timeout_s=timeout_s)

    async def check(
        self, org_id: str, call_id: str, *, elapsed_ms: int | None, timeout_s: float
    ) -> Answer:
        """Ask whether a call may go on."""
        check = Check(org_id=org_id, call_id=call_id, elapsed_ms=elapsed_ms)
        return await self._node.ask(check, timeout_s=timeout_s)

    async def started(self, org_id: str, call_id: str, *, heard_ms: int, timeout_s: float) -> None:
        """Start the clock of a call."""
        note = NoteStart(org_id=org_id, call_id=call_id, heard_ms=heard_ms)
        await self._node.ask(note, timeout_s=timeout_s)

    def ended(self, org_id: str, call_id: str, duration_ms: int | None) -> None:
        """A call ended: settle it after the grace, unless its report comes first.

        `duration_ms` 0 means it never connected, None that nobody knows: then the report, or
        the expiry of the hold, decides.
        """
        key = (org_id, call_id)
        self._endings.confirm(org_id, call_id)
        if duration_ms is None or key in self._ended or len(self._ended) >= PENDING_MAX:
            return
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(self._grace_s, self._grace_over, key)
        self._ended[key] = Ended(duration_ms, alarm)

    async def report(
        self, org_id: str, call_id: str, duration_ms: int | None, *, timeout_s: float
    ) -> Answer | None:
        """The report of a call is here: settle it now.  None: nobody knows its length."""
        self._endings.confirm(org_id, call_id)
        known = self._ended.get((org_id, call_id))
        if duration_ms is None and known is None:
            return None
        proof = Proof.ENDED if duration_ms is None else Proof.REPORT
        if duration_ms is None and known is not None:
            duration_ms = known.duration_ms
        commit = Commit(
            org_id=org_id, call_id=call_id, actual_ms=duration_ms, proof=proof, strict=False
        )
        answer = await self._node.ask(commit, timeout_s=timeout_s)
        if (known := self._ended.pop((org_id, call_id), None)) is not None:
            known.alarm.cancel()
        return answer

    def _grace_over(self, key: Key) -> None:
        ended = self._ended.pop(key, None)
        if ended is not None and key not in self._settling:
            self._settle_soon(key, ended.duration_ms)

    def _settle_soon(self, key: Key, duration_ms: int) -> None:
        task = asyncio.create_task(self._settle(key, duration_ms), name="wallet-settle")
        self._settling[key] = task
        task.add_done_callback(lambda _: self._settling.pop(key, None))

    async def _settle(self, key: Key, duration_ms: int) -> None:
        """Settle a call on the evidence of its end, for as long as it takes."""
        org_id, call_id = key
        commit = Commit(
            org_id=org_id,
            call_id=call_id,
            actual_ms=duration_ms,
            proof=Proof.ENDED,
            strict=False,
        )
        backoff = Backoff()
        while True:
            try:
                await self._node.ask(commit, timeout_s=SETTLE_TIMEOUT_S)
            except (UnknownOrg, InvalidCommand, LedgerFault) as error:
                log.error("call %s cannot be settled: %s", call_id, error)  # noqa: TRY400
                return
            except WalletError as error:
                log.warning("call %s is not settled yet: %s", call_id, error)
                await asyncio.sleep(backoff.wait_s())
            else:
                return

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweep()
            except WalletError as error:
                log.warning("ended calls cannot be looked for: %s", error)
            except Exception:
                log.exception("the sweep of ended calls met a bug; it goes on")
            await asyncio.sleep(SWEEP_S)

    async def _sweep(self) -> None:
        """Settle calls whose provider said they ended, but whose hold is still live."""
        before_ms = self._clock.now_ms() - int((self._grace_s + SWEEP_S) * 1000)
        unsettled = await self._history.unsettled(ended_before_ms=before_ms, limit=SWEEP_LIMIT)
        for call in unsettled:
            key = (call.org_id, call.call_id)
            if (
                key not in self._ended
                and key not in self._settling
                and len(self._settling) < SWEEP_LIMIT
            ):
                self._settle_soon(key, call.duration_ms)
