"""Load whose every command is repeated until it is answered, as a careful backend does."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from .recorder import Answer, Recorder, Request

RETRY_S = 0.05
"""How long a worker waits before it repeats: less than the engine proposes, to press harder."""

INSIST_S_MAX = 60.0
"""How long a worker repeats one command before the test has failed."""

REPLAY_SHARE = 0.1
"""How often a worker repeats a command that was acknowledged long ago."""

RELEASE_SHARE = 0.2
"""How many calls never connect."""


class Traffic:
    """Workers who spend, pay in, place calls and repeat themselves, over some wallets."""

    def __init__(self, recorder: Recorder, org_ids: Sequence[str], *, seed: int) -> None:
        self._recorder = recorder
        self._org_ids = org_ids
        self._random = random.Random(seed)
        self._stopped = asyncio.Event()
        self._done: list[Request] = []
        self._numbers = 0

    @asynccontextmanager
    async def running(self, workers: int) -> AsyncIterator[None]:
        """Have workers at work for as long as the block runs; in the end all have their answers."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())
            try:
                yield
            finally:
                self._stopped.set()

    async def acknowledged(self, more: int) -> None:
        """Wait until so many more commands are acknowledged."""
        wanted = len(self._recorder.acknowledged) + more
        async with asyncio.timeout(INSIST_S_MAX):
            while len(self._recorder.acknowledged) < wanted:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(RETRY_S)

    async def insist(self, request: Request) -> Answer:
        """Send a command until it is answered yes or no."""
        async with asyncio.timeout(INSIST_S_MAX):
            while not (answer := await self._recorder.ask(request)).settled:  # noqa: ASYNC110
                await asyncio.sleep(RETRY_S)
        if answer.acknowledged:
            self._done.append(request)
        return answer

    async def _work(self) -> None:
        while not self._stopped.is_set():
            if self._done and self._random.random() < REPLAY_SHARE:
                again = await self.insist(self._random.choice(self._done))
                assert again.duplicate, f"a repeat was decided anew: {again}"
                continue
            await self._random.choice((self._spend, self._buy, self._pay_in, self._call))()

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

    def _request(self, verb: str, fields: dict[str, object]) -> Request:
        self._numbers += 1
        return Request(
            verb=verb,
            org_id=self._random.choice(self._org_ids),
            fields=fields,
            key=f"{verb}-{self._numbers}",
        )
