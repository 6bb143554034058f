"""A bounded cache of look-ups: what was found and what was not, each for a while.

Callers that miss the same key at the same time share one look-up.  Nothing runs in the
background: the first caller looks, the others wait for it, and if it gives up one of them
takes over.  What is forgotten while its look-up is under way is answered, but not kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookups(Generic[K, V]):
    """Remembers at most `capacity` keys; the least recently used one leaves first.

    A value stays for `found_ms`, its absence for `missing_ms`.
    """

    def __init__(
        self, now_ms: Callable[[], int], *, capacity: int, found_ms: int, missing_ms: int
    ) -> None:
        assert capacity > 0, "a cache without room would never answer"
        self._now_ms = now_ms
        self._capacity = capacity
        self._found_ms = found_ms
        self._missing_ms = missing_ms
        self._kept: OrderedDict[K, tuple[V | None, int]] = OrderedDict()
        self._under_way: dict[K, asyncio.Future[V | None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def remembered(self, key: K) -> V | None:
        """Return what memory alone knows of `key`; None also for what is not there."""
        kept = self._kept.get(key)
        if kept is None or kept[1] <= self._now_ms():
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def last_known(self, key: K) -> V | None:
        """Return what was found last, however long ago that was; None if it was forgotten."""
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    async def get(self, key: K, look_up: Callable[[], Awaitable[V | None]]) -> V | None:
        """Return what is remembered of `key`, else what `look_up` finds.

        A caller that is cancelled leaves nothing behind.  Raises what `look_up` raises, to
        everyone who waits for it; a failure is not remembered.
        """
        while True:
            kept = self._kept.get(key)
            if kept is not None and kept[1] > self._now_ms():
                self._kept.move_to_end(key)
                return kept[0]
            flight = self._under_way.get(key)
            if flight is None:
                return await self._look(key, look_up)
            await asyncio.wait((flight,))
            if not flight.cancelled():
                return flight.result()

    def keep(self, key: K, value: V | None) -> None:
        """Remember `value` for `key`; None remembers that there is none."""
        self._under_way.pop(key, None)
        life_ms = self._missing_ms if value is None else self._found_ms
        self._kept[key] = (value, self._now_ms() + life_ms)
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    def forget(self, key: K) -> None:
        """Look `key` up again when it is asked for next."""
        self._kept.pop(key, None)
        self._under_way.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._under_way.clear()

    async def _look(self, key: K, look_up: Callable[[], Awaitable[V | None]]) -> V | None:
        flight: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._under_way[key] = flight
        try:
            value = await look_up()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # marks it as seen: nobody else may be waiting
            raise
        else:
            flight.set_result(value)
            if self._under_way.get(key) is flight:
                self.keep(key, value)
            return value
        finally:
            if self._under_way.get(key) is flight:
                del self._under_way[key]
