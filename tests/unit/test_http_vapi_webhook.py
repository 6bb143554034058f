"""What each message does, and what becomes of those that mean nothing or make no sense."""

import asyncio
import json
from typing import Any

import pytest

from wallet_engine.errors import LedgerBusy, LedgerFault, LedgerUnavailable, Overloaded
from wallet_http.options import EdgeOptions
from wallet_http.vapi.webhook import IGNORED
from wallet_testing.vapi_world import (
    CALL,
    NOW_MS,
    NUMBER_ID,
    ORG,
    ORG_WEBHOOK,
    RECORDED_CALL,
    WEBHOOK,
    fixture,
    message,
    vapi_world,
)


async def test_the_recorded_call_from_ring_to_report() -> None:
    """280 p are held; 180 s charge 168 p and release 112 p; the same again changes nothing."""
    async with vapi_world(pence=1000) as world:
        for name in RECORDED_CALL:
            assert (await world.post(WEBHOOK, fixture(name)))[0] == 200
        assert world.outcomes == [
            "admitted",
            "started",
            "ignored",
            "ignored",
            "ignored",
            "noted",
            "ended",
            "settled",
        ]
        wallet = world.calls.wallet()
        assert (wallet.balance_pence, wallet.held_pence) == (832, 0)
        assert world.calls.started_calls == [(ORG, CALL, NOW_MS)]
        assert world.calls.ended_calls == [(ORG, CALL, 180_000)]
        settled = world.notes.deliveries[-1].detail
        assert (settled["charged_pence"], settled["released_pence"]) == (168, 112)

        journal = list(world.calls.journal)
        assert (await world.post(WEBHOOK, fixture("assistant-request")))[1]["code"] == "call_ended"
        for name in RECORDED_CALL[1:]:
            assert await world.post(WEBHOOK, fixture(name)) == (200, {})
        assert world.calls.journal == journal
        assert world.outcomes[-1] == "duplicate"


async def test_the_clock_starts_when_in_progress_is_heard() -> None:
    """The control URL is learned, for the recorder alone."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        world.clock.advance(ms=2_500)
        await world.post(WEBHOOK, fixture("status-update-in-progress"))

        assert world.calls.started_calls == [(ORG, CALL, NOW_MS + 2_500)]
        facts = world.notes.facts[-1]
        assert facts.heard_started_ms == NOW_MS + 2_500
        assert facts.control_url is not None
        assert "vapi.ai" not in json.dumps([dict(d.detail) for d in world.notes.deliveries])


async def test_forwarding_is_still_live() -> None:
    """A forwarded call goes on, and goes on costing."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        await world.post(WEBHOOK, fixture("status-update-forwarding"))

        assert world.calls.ended_calls == []
        assert world.calls.wallet().held_pence == 280


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"endedReason": "assistant-request-failed"}, 0),
        ({"durationSeconds": 12.34}, 12_340),
    ],
)
async def test_an_end_waits_for_its_report(fields: dict[str, Any], expected: int | None) -> None:
    """The engine hears what is known of the length by now."""
    async with vapi_world() as world:
        body = message("status-update", status="ended", phoneNumber={"id": NUMBER_ID}, **fields)
        assert await world.post(WEBHOOK, body) == (200, {})

        assert world.calls.ended_calls == [(ORG, CALL, expected)]
        assert world.notes.facts[-1].ended_ms == NOW_MS


async def test_a_report_with_a_duration_alone() -> None:
    """A call without a hold is booked all the same: 42.7 s are one minute."""
    async with vapi_world() as world:
        assert await world.post(WEBHOOK, fixture("end-of-call-report-duration-only")) == (200, {})

        assert world.calls.wallet().balance_pence == 944
        assert world.outcomes == ["settled"]


async def test_a_report_of_nothing_releases() -> None:
    """A call that never connected costs nothing."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        await world.post(WEBHOOK, message("end-of-call-report", durationSeconds=0))

        wallet = world.calls.wallet()
        assert (wallet.balance_pence, wallet.held_pence) == (1000, 0)
        assert world.outcomes[-1] == "released"


async def test_a_report_without_a_length() -> None:
    """Nothing is charged on a guess; the engine asks the provider later."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        report = message("end-of-call-report", durationSeconds=-5)
        assert await world.post(WEBHOOK, report) == (200, {})

        assert world.outcomes[-1] == "unknown_duration"
        assert world.calls.wallet().held_pence == 280


@pytest.mark.parametrize("name", ["end-of-call-report", "status-update-in-progress"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("full"), 503),
        (LedgerUnavailable("away"), 503),
        (LedgerFault("poison"), 500),
        (RuntimeError("bug"), 500),
    ],
)
async def test_what_cannot_be_done_now_is_asked_for_again(
    name: str, error: Exception, status: int
) -> None:
    """Vapi repeats what was not answered 2xx, and the repetition settles the call."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        world.calls.trouble = error
        for path in (WEBHOOK, ORG_WEBHOOK):
            assert (await world.post(path, fixture(name)))[0] == status
        world.calls.trouble = None

        assert await world.post(WEBHOOK, fixture(name)) == (200, {})
        assert world.outcomes[1:3] == ["error", "error"]
        assert world.notes.facts[-1].call_id == CALL


async def test_a_settlement_that_hangs_is_answered_503() -> None:
    """Vapi must not be left waiting, nor be told that it is done."""
    async with vapi_world(EdgeOptions(environment="test", vapi_deadline_s=0.05)) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        world.calls.stalled = asyncio.Event()
        status, body = await world.post(WEBHOOK, fixture("end-of-call-report"))

        assert (status, body["code"]) == (503, "deadline_passed")


@pytest.mark.parametrize("kind", sorted(IGNORED))
async def test_what_means_nothing_is_answered_cheaply(kind: str) -> None:
    """No money moves, and for a call that is remembered nobody is asked."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        asked = len(world.store.asked)
        assert await world.post(WEBHOOK, message(kind)) == (200, {})

        assert len(world.store.asked) == asked
        assert len(world.calls.journal) == 2
        last = world.notes.deliveries[-1]
        assert (last.org_id, last.outcome) == (ORG, "ignored")


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (message("brand-new-type"), "unknown_type"),
        ({"message": {"call": {"id": CALL}}}, "unknown_type"),
        ({"message": {"type": 5, "call": {"id": CALL}}}, "unknown_type"),
        ({"message": {"type": "hang"}}, "unknown_org"),
        ({"message": {"type": "end-of-call-report"}}, "unknown_org"),
        ({"message": {"type": "end-of-call-report", "phoneNumber": {"id": NUMBER_ID}}}, "ignored"),
        (
            {
                "message": {
                    "type": "status-update",
                    "status": "ended",
                    "phoneNumber": {"id": NUMBER_ID},
                }
            },
            "ignored",
        ),
    ],
)
async def test_what_cannot_be_placed_is_counted(body: dict[str, Any], outcome: str) -> None:
    """200 `{}`: to have it again would not help."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        assert await world.post(WEBHOOK, body) == (200, {})

        assert world.outcomes[-1] == outcome
        assert len(world.calls.journal) == 2


async def test_a_call_of_nobody_is_counted() -> None:
    """A report for an org that is not known here changes nothing, and is not asked for again."""
    async with vapi_world() as world:
        world.store.numbers.clear()
        world.store.assistants.clear()
        for name in RECORDED_CALL[1:]:
            assert await world.post(WEBHOOK, fixture(name)) == (200, {})

        assert set(world.outcomes) == {"unknown_org"}
        assert world.notes.facts == []


async def test_while_the_directory_is_away() -> None:
    """What matters is asked for again; what does not is let go."""
    async with vapi_world() as world:
        world.store.trouble = LedgerBusy("away")

        assert await world.post(WEBHOOK, fixture("hang")) == (200, {})
        assert (await world.post(WEBHOOK, fixture("end-of-call-report")))[0] == 503
        assert (await world.post(WEBHOOK, fixture("status-update-ended")))[0] == 503


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b"\xff", b'{"message":' + b"[" * 10_000, b'{"message":{"type":"x"']
)
async def test_what_is_no_message_is_400(raw: bytes) -> None:
    """On every path, with a sentence that says what is wrong."""
    async with vapi_world() as world:
        for path in (WEBHOOK, ORG_WEBHOOK):
            status, body = await world.post(path, raw)
            assert (status, body["code"]) == (400, "invalid_request")

        assert world.outcomes == ["invalid", "invalid"]


async def test_bodies_are_bounded() -> None:
    """Several megabytes are normal; more than the bound is 413."""
    options = EdgeOptions(environment="test", vapi_body_max_bytes=6_000_000)
    async with vapi_world(options) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        report = fixture("end-of-call-report")
        report["message"]["artifact"]["transcript"] = "x" * 5_000_000
        assert await world.post(WEBHOOK, report) == (200, {})
        report["message"]["artifact"]["transcript"] = "x" * 6_000_000
        status, body = await world.post(WEBHOOK, report)

        assert (status, body["code"]) == (413, "body_too_large")
