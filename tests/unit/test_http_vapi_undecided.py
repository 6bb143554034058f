"""What a caller gets when no decision is possible in time: as its org wants it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from wallet_engine.directory import MAPPING_MS
from wallet_engine.errors import LedgerBusy, LedgerUnavailable, OwnerUnreachable
from wallet_engine.settings import OnUnavailable, Settings
from wallet_http.options import EdgeOptions
from wallet_testing.vapi_world import (
    ASSISTANT,
    ORG,
    ORG_WEBHOOK,
    WEBHOOK,
    fixture,
    vapi_world,
)

IMPATIENT = EdgeOptions(environment="test", vapi_deadline_s=0.05)
ALLOWS = Settings(on_unavailable=OnUnavailable.ALLOW, max_call_seconds=300)


@pytest.mark.parametrize("path", [WEBHOOK, ORG_WEBHOOK])
async def test_an_org_that_would_rather_answer(path: str) -> None:
    """`on_unavailable` allow: who answers is told, no money is held."""
    async with vapi_world(IMPATIENT, settings=ALLOWS) as world:
        world.calls.stalled = asyncio.Event()
        status, body = await world.post(path, fixture("assistant-request"))

        assert (status, body["assistantId"]) == (200, ASSISTANT)
        assert body["assistantOverrides"]["maxDurationSeconds"] == 300
        assert world.outcomes == ["allowed:deadline_passed"]
        assert world.calls.wallet().holds == {}


async def test_an_org_whose_wallet_is_elsewhere() -> None:
    """The node that has its wallet is the one that died: what is stored says what it wants."""
    async with vapi_world() as world:
        world.calls.elsewhere = True
        overrides = {"on_unavailable": "allow", "max_call_seconds": 300}
        world.store.orgs[ORG] = replace(world.store.orgs[ORG], overrides=overrides)
        world.calls.trouble = OwnerUnreachable("dead")
        for _ in range(3):
            status, body = await world.post(WEBHOOK, fixture("assistant-request"))
            assert (status, body["assistantId"]) == (200, ASSISTANT)
            assert body["assistantOverrides"]["maxDurationSeconds"] == 300

        assert world.store.asked.count(("org", ORG)) == 1


async def test_allowing_needs_somebody_who_answers() -> None:
    """While the directory cannot be asked, nobody knows who would answer."""
    async with vapi_world(settings=ALLOWS) as world:
        world.store.trouble = LedgerBusy("away")
        status, body = await world.post(WEBHOOK, fixture("assistant-request"))

        assert (status, body["code"]) == (503, "database_unavailable")


def another_call() -> dict[str, Any]:
    request = fixture("assistant-request")
    request["message"]["call"]["id"] = "another"
    return request


@pytest.mark.parametrize("path", [WEBHOOK, ORG_WEBHOOK])
async def test_who_answered_last_answers_while_nothing_can_be_asked(path: str) -> None:
    """Also when what was looked up is out of date; the next call, of which nobody ever heard."""
    async with vapi_world(settings=ALLOWS) as world:
        assert (await world.post(path, fixture("assistant-request")))[0] == 200
        world.clock.advance(ms=10 * MAPPING_MS)
        world.store.trouble = LedgerBusy("away")
        world.calls.trouble = LedgerUnavailable("away")
        status, body = await world.post(path, another_call())

        assert (status, body["assistantId"]) == (200, ASSISTANT)
        assert body["assistantOverrides"]["maxDurationSeconds"] == 300
        assert world.outcomes[-1] == "allowed:database_unavailable"


async def test_only_the_directory_is_away() -> None:
    """A decision is possible, so there is one: nobody is let in for want of it."""
    async with vapi_world(settings=ALLOWS, pence=280) as world:
        assert (await world.post(WEBHOOK, fixture("assistant-request")))[0] == 200
        world.store.trouble = LedgerBusy("away")

        assert (await world.post(WEBHOOK, another_call()))[0] == 402


async def test_an_org_that_refuses_is_refused_from_memory_too() -> None:
    """What is remembered does not say yes by itself."""
    async with vapi_world() as world:
        assert (await world.post(WEBHOOK, fixture("assistant-request")))[0] == 200
        world.store.trouble = LedgerBusy("away")
        world.calls.trouble = LedgerUnavailable("away")

        assert (await world.post(WEBHOOK, another_call()))[0] == 503


async def test_who_is_named_and_not_known_is_not_replaced_from_memory() -> None:
    """Another assistant may be meant than the one that is remembered."""
    async with vapi_world(settings=ALLOWS) as world:
        assert (await world.post(WEBHOOK, fixture("assistant-request")))[0] == 200
        world.store.trouble = LedgerBusy("away")
        world.calls.trouble = LedgerUnavailable("away")
        request = another_call()
        request["message"]["assistantId"] = "never-heard-of"

        assert (await world.post(WEBHOOK, request))[0] == 503


async def test_a_refusal_by_the_rules_is_never_allowed() -> None:
    """The policy is for want of a decision; a no is a decision."""
    async with vapi_world(settings=ALLOWS, pence=0) as world:
        assert (await world.post(WEBHOOK, fixture("assistant-request")))[0] == 402
