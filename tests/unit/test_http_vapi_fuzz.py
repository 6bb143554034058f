"""Whatever comes: no message is our fault, and none that settles nothing moves money."""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wallet_http.vapi.webhook import IGNORED
from wallet_testing.vapi_world import (
    ORG_WEBHOOK,
    RECORDED_CALL,
    WEBHOOK,
    VapiWorld,
    fixture,
    vapi_world,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
AROUND = ("call", "callId", "assistantId")
KINDS = st.sampled_from([*sorted(IGNORED), "status-update", "transport-update", "", "Hang"])
STATUSES = st.sampled_from(["scheduled", "queued", "ringing", "forwarding", "not-found"])
NAMES = (
    "id", "call", "assistant", "assistantId", "phoneNumber", "customer", "number", "startedAt",
    "endedAt", "durationSeconds", "costs", "minutes", "artifact", "monitor", "controlUrl", "cost",
)  # fmt: skip
PARTS = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class FuzzedWorld:
    """One world for many examples, on an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, world: VapiWorld) -> None:
        self._runner = runner
        self._world = world

    def post(self, path: str, body: object) -> int:
        """Post `body`, look at the wallet, and return the status."""
        status, _ = self._runner.run(self._world.post(path, body))
        wallet = self._world.calls.wallet()
        assert wallet.effective_pence >= -wallet.settings.debt_limit_pence
        return status

    def moved(self) -> tuple[int, int, int]:
        """Return what would be more if a message had done anything."""
        calls = self._world.calls
        return len(calls.journal), len(calls.started_calls), len(calls.ended_calls)


@contextmanager
def fuzzed_world() -> Iterator[FuzzedWorld]:
    with asyncio.Runner() as runner:
        context = vapi_world()
        world = runner.run(context.__aenter__())
        try:
            runner.run(world.post(WEBHOOK, fixture("assistant-request")))
            yield FuzzedWorld(runner, world)
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_no_message_that_settles_nothing_moves_money() -> None:
    """Whatever shape it has: never a 5xx, never a change of a wallet, never an end of a call."""
    with fuzzed_world() as world:

        @FUZZ
        @given(
            kind=KINDS | JSON,
            status=STATUSES | JSON,
            parts=st.dictionaries(st.sampled_from(NAMES), PARTS, max_size=6),
            around=st.dictionaries(st.sampled_from(AROUND), PARTS, max_size=2),
        )
        def holds(
            kind: object, status: object, parts: dict[str, Any], around: dict[str, Any]
        ) -> None:
            body = {**around, "message": {**parts, "type": kind, "status": status}}
            for path in (WEBHOOK, ORG_WEBHOOK):
                assert world.post(path, body) in (200, 400)

        before = world.moved()
        holds()
        assert world.moved() == before


def test_no_body_is_our_fault() -> None:
    """Any JSON at all is answered with 200 or 400."""
    with fuzzed_world() as world:

        @FUZZ
        @given(body=JSON | st.fixed_dictionaries({"message": PARTS}))
        def holds(body: object) -> None:
            for path in (WEBHOOK, ORG_WEBHOOK):
                assert world.post(path, body) in (200, 400)

        before = world.moved()
        holds()
        assert world.moved() == before


@pytest.mark.parametrize("name", RECORDED_CALL)
def test_recorded_messages_with_parts_replaced(name: str) -> None:
    """Vapi changes its messages without asking: nothing of that is a 5xx here."""
    with fuzzed_world() as world:

        @settings(FUZZ, max_examples=40)
        @given(body=changed(name))
        def holds(body: dict[str, Any]) -> None:
            assert world.post(WEBHOOK, body) in (200, 400, 404, 409, 402)

        holds()


def changed(name: str) -> "st.SearchStrategy[dict[str, Any]]":
    """Give a recorded message with some of its parts replaced by anything."""
    original = fixture(name)
    paths = [path for path in _paths(original) if path[-1] not in ("type", "status")]

    def build(changes: list[tuple[tuple[str, ...], object]]) -> dict[str, Any]:
        found: dict[str, Any] = copy.deepcopy(original)
        for path, value in changes:
            _put(found, path, value)
        return found

    return st.lists(st.tuples(st.sampled_from(paths), JSON), min_size=1, max_size=4).map(build)


def _paths(value: object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [prefix] if prefix else []
    below = [path for key, item in value.items() for path in _paths(item, (*prefix, key))]
    return [*([prefix] if prefix else []), *below]


def _put(target: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            return
        target = inner
    target[path[-1]] = value
