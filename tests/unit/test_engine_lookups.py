"""A bounded cache of look-ups: what is kept, for how long, and who looks."""

import asyncio

import pytest

from wallet_engine.lookups import Lookups


class Source:
    """Answers look-ups, one after the other, when a test says so."""

    def __init__(self) -> None:
        self.ms = 0
        self.calls = 0
        self.values: dict[str, str] = {}
        self.trouble: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.kept: Lookups[str, str] = Lookups(
            lambda: self.ms, capacity=3, found_ms=10_000, missing_ms=1_000
        )

    async def get(self, key: str) -> str | None:
        return await self.kept.get(key, lambda: self._look(key))

    async def _look(self, key: str) -> str | None:
        self.calls += 1
        await self.open.wait()
        if self.trouble is not None:
            raise self.trouble
        return self.values.get(key)


async def step() -> None:
    """Let every task that can run do so: a few turns of the loop reach them all."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_what_was_found_is_kept_for_its_time(source: Source) -> None:
    """A value is looked up once until its time is over, then again."""
    source.values["a"] = "1"
    assert await source.get("a") == "1"
    source.ms = 9_999
    assert await source.get("a") == "1"
    assert source.calls == 1

    source.ms = 10_000
    source.values["a"] = "2"
    assert await source.get("a") == "2"
    assert source.calls == 2


async def test_what_was_not_found_is_kept_briefly(source: Source) -> None:
    """An absence is believed for a second, so that a new value is soon seen."""
    assert await source.get("a") is None
    source.values["a"] = "1"
    source.ms = 999
    assert await source.get("a") is None
    source.ms = 1_000

    assert await source.get("a") == "1"
    assert source.calls == 2


async def test_concurrent_misses_share_one_look_up(source: Source) -> None:
    """However many ask for one key at the same time, the source is asked once."""
    source.values["a"] = "1"
    source.open.clear()
    asking = [asyncio.create_task(source.get("a")) for _ in range(20)]
    await step()
    source.open.set()

    assert await asyncio.gather(*asking) == ["1"] * 20
    assert source.calls == 1


async def test_a_failure_reaches_everyone_and_is_not_kept(source: Source) -> None:
    """All who wait hear of a failure; the next one looks again."""
    source.trouble = OSError("away")
    source.open.clear()
    asking = [asyncio.create_task(source.get("a")) for _ in range(3)]
    await step()
    source.open.set()

    heard = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(one) for one in heard] == ["away"] * 3
    source.trouble = None
    assert await source.get("a") is None
    assert source.calls == 2


async def test_another_takes_over_from_a_caller_who_gives_up(source: Source) -> None:
    """The caller who looks is cancelled: one of those who wait looks instead."""
    source.values["a"] = "1"
    source.open.clear()
    first = asyncio.create_task(source.get("a"))
    await step()
    second = asyncio.create_task(source.get("a"))
    await step()
    first.cancel()
    await step()
    assert source.calls == 2
    source.open.set()

    assert await second == "1"
    assert first.cancelled()


async def test_a_waiting_caller_who_gives_up_disturbs_nobody(source: Source) -> None:
    """The caller who only waits is cancelled: the look-up goes on."""
    source.values["a"] = "1"
    source.open.clear()
    first = asyncio.create_task(source.get("a"))
    await step()
    second = asyncio.create_task(source.get("a"))
    await step()
    second.cancel()
    source.open.set()

    assert await first == "1"
    assert source.calls == 1


async def test_the_least_recently_used_leaves_first(source: Source) -> None:
    """There is room for three; the one that nobody asked for longest makes room."""
    source.values = {"a": "1", "b": "2", "c": "3", "d": "4"}
    for key in ("a", "b", "c", "a", "d"):
        await source.get(key)
    assert len(source.kept) == 3
    assert source.kept.remembered("b") is None

    assert source.kept.remembered("a") == "1"
    await source.get("b")
    assert source.calls == 5


@pytest.mark.parametrize("how", ["forget", "clear", "keep"])
async def test_what_changes_during_a_look_up_is_not_overwritten_by_it(
    source: Source, how: str
) -> None:
    """A look-up that began before the change answers its caller, and is not remembered."""
    source.values["a"] = "old"
    source.open.clear()
    asking = asyncio.create_task(source.get("a"))
    await step()
    match how:
        case "forget":
            source.kept.forget("a")
        case "clear":
            source.kept.clear()
        case _:
            source.kept.keep("a", "new")
    source.open.set()
    assert await asking == "old"

    source.values["a"] = "new"
    assert await source.get("a") == "new"


async def test_memory_alone_is_asked_when_nobody_may_wait(source: Source) -> None:
    """`remembered` looks nothing up, and knows neither absences nor what is over."""
    source.values["a"] = "1"
    assert source.kept.remembered("a") is None
    await source.get("a")
    await source.get("b")
    assert source.kept.remembered("a") == "1"
    assert source.kept.remembered("b") is None
    source.ms = 10_000

    assert source.kept.remembered("a") is None
    assert source.calls == 2
