"""Load whose every command is repeated until it is answered, as a careful backend does."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from .recorder import ADMISSION, CHECK, REPORT, Answer, Recorder, Request

RETRY_S = 0.05
"""How long a worker waits before it repeats: less than the engine proposes, to press harder."""

INSIST_S_MAX = 60.0
"""How long a worker repeats one command before the test has failed."""

REPLAY_SHARE = 0.1
"""How often a worker repeats a command that was acknowledged long ago."""

REPEATABLE = 5_000
"""How many acknowledged commands are remembered to be repeated."""

RELEASE_SHARE = 0.2
"""How many calls never connect."""


HANG_UP_S_MAX = 0.02
"""When somebody hangs up at the latest: about as long as an answer takes."""


class Traffic:
    """Workers who spend, pay in, look, place calls and repeat themselves, over some wallets.

    `think_s`: how long a worker thinks between two commands, on average.  `hang_up_share`: how
    often it hangs up before the answer, to ask again.  `numbered_from`: keys have numbers after
    this one, so that workers who come later use none again.
    """

    def __init__(
        self,
        recorder: Recorder,
        org_ids: Sequence[str],
        *,
        seed: int,
        think_s: float = 0.0,
        hang_up_share: float = 0.0,
        numbered_from: int = 0,
    ) -> None:
        self._recorder = recorder
        self._org_ids = org_ids
        self._random = random.Random(seed)
        self._think_s = think_s
        self._hang_up_share = hang_up_share
        self._stopped = asyncio.Event()
        self._done: deque[Request] = deque(maxlen=REPEATABLE)
        self._numbers = numbered_from

    @asynccontextmanager
    async def running(self, workers: int) -> AsyncIterator[None]:
        """Have workers at work for as long as the block runs; in the end all have their answers."""
        self._stopped.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())
            try:
                yield
            finally:
                self._stopped.set()

    async def acknowledged(self, more: int) -> None:
        """Wait until so many more commands are acknowledged."""
        wanted = self._recorder.acknowledged + more
        async with asyncio.timeout(INSIST_S_MAX):
            while self._recorder.acknowledged < wanted:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(RETRY_S)

    async def insist(self, request: Request) -> Answer:
        """Send a command until it is answered yes or no."""
        async with asyncio.timeout(INSIST_S_MAX):
            while not (answer := await self._asked(request)).settled:  # noqa: ASYNC110
                await asyncio.sleep(RETRY_S)
        if answer.acknowledged and request.stored_key:
            self._done.append(request)
        return answer

    async def _asked(self, request: Request) -> Answer:
        hangs_up = self._random.random() < self._hang_up_share
        patience_s = self._random.uniform(0, HANG_UP_S_MAX) if hangs_up else None
        return await self._recorder.ask(request, patience_s=patience_s)

    async def _work(self) -> None:
        works = (self._spend, self._buy, self._pay_in, self._call, self._phone_call, self._look)
        while not self._stopped.is_set():
            await asyncio.sleep(self._random.uniform(0, 2 * self._think_s))
            if self._done and self._random.random() < REPLAY_SHARE:
                await self._repeat(self._random.choice(self._done))
            else:
                await self._random.choice(works)()

    async def _repeat(self, request: Request) -> None:
        """Ask again for what was acknowledged; Vapi's messages do not say that they repeat."""
        if request.verb == ADMISSION:
            return  # the call may be over: then it is not let in again
        again = await self.insist(request)
        if request.verb != REPORT and again.acknowledged:
            assert again.duplicate, f"a repeat was decided anew: {again}"

    async def _spend(self) -> None:
        fields = {
            "amount_pence": self._random.randint(1, 90),
            "class": "call",
            "type": "call_deduction",
        }
        await self.insist(self._request("deduct", fields))

    async def _buy(self) -> None:
        fields = {"amount_pence": self._random.randint(1, 500), "class": "asset", "type": "sms"}
        await self.insist(self._request("deduct", fields))

    async def _pay_in(self) -> None:
        fields = {"amount_pence": self._random.randint(1, 700), "type": "topup"}
        await self.insist(self._request("credit", fields))

    async def _call(self) -> None:
        reserve = self._request("reserve", {})
        call = {"call_id": reserve.key}
        reserve = Request(verb="reserve", org_id=reserve.org_id, fields=call)
        if not (await self.insist(reserve)).acknowledged:
            return
        if self._random.random() < RELEASE_SHARE:
            end = Request(
                verb="release",
                org_id=reserve.org_id,
                fields={**call, "reason": "nobody answered"},
            )
        else:
            end = Request(
                verb="commit",
                org_id=reserve.org_id,
                fields={**call, "actual_seconds": self._random.randint(1, 400)},
            )
        await self.insist(end)

    async def _phone_call(self) -> None:
        """A call as Vapi tells of it: may it start, and how long did it take."""
        ringing = self._request(ADMISSION, {})
        call = {"call_id": ringing.key}
        ringing = Request(verb=ADMISSION, org_id=ringing.org_id, fields=call)
        if (await self.insist(ringing)).acknowledged:
            fields = {**call, "seconds": self._random.randint(1, 400)}
            await self.insist(Request(verb=REPORT, org_id=ringing.org_id, fields=fields))

    async def _look(self) -> None:
        await self.insist(self._request(CHECK, {"call_id": "no call of ours"}))

    def _request(self, verb: str, fields: dict[str, object]) -> Request:
        self._numbers += 1
        return Request(
            verb=verb,
            org_id=self._random.choice(self._org_ids),
            fields=fields,
            key="" if verb == CHECK else f"{verb}-{self._numbers}",
        )
