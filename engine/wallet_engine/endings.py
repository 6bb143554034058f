"""Making a call end: said to the caller, sent to the provider, retried until it is confirmed.

The decision that a call must end is journaled before anything here begins.  If the process
dies, whoever loads the wallet next begins again: an ending twice is one ending.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field

from .errors import CallControlFailed
from .ports import CallControl, Clock, Stats

log = logging.getLogger(__name__)

CONFIRM_S = (3.0, 3.0, 5.0, 10.0, 20.0, 30.0)
"""How long to wait for an end event after each attempt; the last one repeats."""

ALERT_S = 60.0
"""A call that is told to end and goes on for this long is an alert.  Source: SPEC §5.2."""

GIVE_UP_S = 1800.0
"""After this the expiry of its hold, and reconciliation, take care of the call."""

LIVE_MAX = 200_000
"""More endings than this cannot be under way: more live calls than a node carries."""

Key = tuple[str, str]


@dataclass(slots=True)
class Ending:
    """One call being ended."""

    reason: str
    since_ms: int
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Endings:
    """Ends calls, each in a task of its own."""

    def __init__(self, *, control: CallControl, clock: Clock, stats: Stats) -> None:
        self._control = control
        self._clock = clock
        self._stats = stats
        self._live: dict[Key, Ending] = {}
        self._warnings: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        """How many calls are being ended."""
        return len(self._live)

    def begin(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        """End a call; `since_ms` is when the reason came to be.  Once is enough."""
        key = (org_id, call_id)
        if key in self._live or len(self._live) >= LIVE_MAX:
            return
        ending = self._live[key] = Ending(reason, since_ms)
        ending.task = asyncio.create_task(self._end(key, ending), name="wallet-ending")

    def confirm(self, org_id: str, call_id: str) -> None:
        """The call has ended: its provider said so, or it is settled."""
        ending = self._live.get((org_id, call_id))
        if ending is not None:
            ending.confirmed.set()

    def warn(self, org_id: str, call_id: str, *, ends_ms: int) -> None:
        """Tell the caller that the money runs out; nothing depends on it."""
        seconds = max(0, (ends_ms - self._clock.now_ms()) // 1000)
        task = asyncio.create_task(self._warn(org_id, call_id, seconds), name="wallet-warning")
        self._warnings[task] = None
        task.add_done_callback(self._warnings.pop)

    async def stop(self) -> None:
        """Stop; another node goes on with what is not confirmed."""
        tasks = [*self._warnings, *(one.task for one in self._live.values() if one.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live.clear()

    async def _end(self, key: Key, ending: Ending) -> None:
        org_id, call_id = key
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        alerted = False
        try:
            await self._try(self._control.say_goodbye(org_id, call_id, ending.reason), call_id)
            self._stats.killed(max(0, self._clock.now_ms() - ending.since_ms) / 1000)
            attempt = 0
            while not await self._confirmed(ending, attempt):
                waited_s = loop.time() - began_s
                if waited_s >= ALERT_S and not alerted:
                    alerted = True
                    log.error("call %s of %s was told to end and goes on", call_id, org_id)
                if waited_s >= GIVE_UP_S:
                    return
                await self._try(self._control.hang_up(org_id, call_id), call_id)
                attempt += 1
        finally:
            self._live.pop(key, None)

    async def _confirmed(self, ending: Ending, attempt: int) -> bool:
        try:
            async with asyncio.timeout(CONFIRM_S[min(attempt, len(CONFIRM_S) - 1)]):
                await ending.confirmed.wait()
        except TimeoutError:
            return False
        return True

    async def _try(self, attempt: Awaitable[None], call_id: str) -> None:
        try:
            await attempt
        except CallControlFailed as error:
            log.warning("call %s could not be told to end yet: %s", call_id, error)
        except Exception:
            log.exception("ending call %s met a bug; it is tried again", call_id)

    async def _warn(self, org_id: str, call_id: str, seconds: int) -> None:
        await self._try(self._control.warn(org_id, call_id, seconds), call_id)
