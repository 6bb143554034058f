"""Recorded calls against a whole node on a real Postgres, from ring to report."""

import asyncio
from typing import Any

import asyncpg
import pytest

from wallet_testing.processes import until
from wallet_testing.vapi_platform import VapiPlatform, vapi_platform
from wallet_testing.vapi_world import (
    ASSISTANT,
    CALL,
    ORG,
    ORG_WEBHOOK,
    RECORDED_CALL,
    STATUS_CHECK,
    WEBHOOK,
    fixture,
)

LOCK = "SELECT FROM organizations WHERE id = $1 FOR UPDATE"


def ringing(number: int) -> dict[str, Any]:
    """Return a recorded assistant-request of another call."""
    request = fixture("assistant-request")
    request["message"]["call"]["id"] = f"call-{number}"
    return request


async def test_the_recorded_call(database: str) -> None:
    """280 p held, 600 s granted; 180 s charge 168 p and release 112 p; a replay changes nothing."""
    async with vapi_platform(database, pence=1000) as platform:
        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
        assert (status, body["assistantId"]) == (200, ASSISTANT)
        assert body["assistantOverrides"]["maxDurationSeconds"] == 600
        assert await platform.wallet() == (1000, 280, 2)

        question = {"message": {"call": {"id": CALL}}, "elapsedSeconds": 60}
        assert await platform.vapi(STATUS_CHECK, question) == (
            200,
            {
                "endCall": False,
                "balance_pence": 1000,
                "effective_balance_pence": 720,
                "held_pence": 280,
                "accrued_pence": 56,
                "remaining_seconds": 960,
            },
        )
        for name in RECORDED_CALL[1:]:
            assert await platform.vapi(WEBHOOK, fixture(name)) == (200, {})
        assert await platform.wallet() == (832, 0, 3)
        assert await platform.types() == ["reservation", "call_deduction"]

        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
        assert (status, body["code"]) == (409, "call_ended")
        for name in RECORDED_CALL[1:]:
            assert await platform.vapi(WEBHOOK, fixture(name)) == (200, {})
        assert await platform.wallet() == (832, 0, 3)
        logged = await platform.deliveries(2 * len(RECORDED_CALL))
        outcomes = [row["outcome"] for row in logged]
        assert outcomes[0] == "admitted"
        assert outcomes[7] == "settled"
        assert outcomes[8] == "refused:call_ended"
        assert outcomes[15] == "duplicate"
        assert {row["org_id"] for row in logged} == {ORG}
        assert {row["call_id"] for row in logged} == {CALL}


async def test_the_calls_of_the_other_fixtures(database: str) -> None:
    """An org found by its assistant; a report of 42.7 s for a call that had no hold."""
    async with vapi_platform(database, pence=1000) as platform:
        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request-by-assistant-id"))
        assert (status, body["assistantId"]) == (200, ASSISTANT)
        report = fixture("end-of-call-report-duration-only")
        assert await platform.vapi(WEBHOOK, report) == (200, {})

        assert await platform.wallet() == (944, 280, 3)


async def test_without_money(database: str) -> None:
    """402 with the fields, or a sentence; nothing is written but the delivery log."""
    async with vapi_platform(database, pence=0) as platform:
        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
        assert status == 402
        assert body.pop("error").startswith("Insufficient credits")
        assert body == {
            "code": "insufficient_credits",
            "currentBalance": 0,
            "effectiveBalance": 0,
            "requiredBalance": 79,
            "deficit": 79,
            "autoRechargeEnabled": False,
        }
        status, body = await platform.vapi(ORG_WEBHOOK, fixture("assistant-request"))
        assert (status, list(body)) == (200, ["error"])

        assert await platform.wallet() == (0, 0, 0)
        assert await platform.connection.fetchval("SELECT count(*) FROM credit_reservations") == 0
        logged = await platform.deliveries(2)
        assert [row["outcome"] for row in logged] == ["refused:insufficient_credits"] * 2
        assert [row["http_status"] for row in logged] == [402, 200]

        credit = {"org_id": ORG, "amount_pence": 79, "type": "topup"}
        assert (await platform.operator("POST", "/v1/credit", credit, key="later"))[0] == 201
        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
        assert (status, body["assistantOverrides"]["maxDurationSeconds"]) == (200, 60)


async def test_thirty_calls_on_the_money_for_one(database: str) -> None:
    """They ring at the same moment: one is answered."""
    async with vapi_platform(database, pence=280) as platform:
        asked = [platform.vapi(WEBHOOK, ringing(number)) for number in range(30)]
        statuses = [status for status, _ in await asyncio.gather(*asked)]

        assert sorted(statuses) == [200] + [402] * 29
        assert await platform.wallet() == (280, 280, 2)


async def test_one_request_delivered_thirty_times_at_once(database: str) -> None:
    """Each is answered as the first; there is one hold."""
    async with vapi_platform(database, pence=280) as platform:
        asked = [platform.vapi(WEBHOOK, fixture("assistant-request")) for _ in range(30)]
        answers = await asyncio.gather(*asked)

        assert all(answer == answers[0] for answer in answers)
        assert answers[0][0] == 200
        assert await platform.wallet() == (280, 280, 2)


async def test_one_report_delivered_thirty_times_at_once(database: str) -> None:
    """The call is charged once."""
    async with vapi_platform(database, pence=1000) as platform:
        await platform.vapi(WEBHOOK, fixture("assistant-request"))
        asked = [platform.vapi(ORG_WEBHOOK, fixture("end-of-call-report")) for _ in range(30)]
        answers = await asyncio.gather(*asked)

        assert answers == [(200, {})] * 30
        assert await platform.wallet() == (832, 0, 3)


async def test_another_node_knows_the_call(database: str) -> None:
    """After a restart: a repeat is answered as the first time, the report settles the hold."""
    async with vapi_platform(database, pence=1000) as platform:
        first = await platform.vapi(WEBHOOK, fixture("assistant-request"))
    async with vapi_platform(database, fresh=False) as platform:
        await platform.operator("POST", "/admin/orgs", {"org_id": "other", "name": "other"})
        assert await platform.vapi(ORG_WEBHOOK, fixture("assistant-request")) == first
        status, body = await platform.vapi(
            "/api/vapi/orgs/other/webhook", fixture("end-of-call-report")
        )
        assert (status, body["code"]) == (409, "org_mismatch")
        question = {"callId": CALL, "elapsedSeconds": 10}
        assert (await platform.vapi(STATUS_CHECK, question))[1]["held_pence"] == 280
        assert await platform.vapi(WEBHOOK, fixture("end-of-call-report")) == (200, {})

        assert await platform.wallet() == (832, 0, 3)
        assert await platform.wallet("other") == (0, 0, 0)


async def test_an_end_without_a_report_is_settled_after_the_grace(database: str) -> None:
    """A report that comes later says the same, and changes nothing."""
    async with vapi_platform(database, pence=1000, vapi={"report_grace_s": 0}) as platform:
        await platform.vapi(WEBHOOK, fixture("assistant-request"))
        await platform.vapi(WEBHOOK, fixture("status-update-ended"))
        await platform.until_wallet(lambda balance, held: (balance, held) == (832, 0))
        assert await platform.vapi(WEBHOOK, fixture("end-of-call-report")) == (200, {})

        assert await platform.wallet() == (832, 0, 3)


async def test_a_rejected_call_leaves_no_hold_to_come(database: str) -> None:
    """Vapi reports the end of a call that was refused; a late repeat cannot open a hold."""
    async with vapi_platform(database, pence=1000, vapi={"report_grace_s": 0}) as platform:
        ended = fixture("status-update-ended")
        for place in (ended["message"], ended["message"]["call"]):
            place.pop("startedAt", None)
            place.pop("endedAt", None)
            place["endedReason"] = "assistant-request-failed"
        assert await platform.vapi(ORG_WEBHOOK, ended) == (200, {})

        async def ended_here() -> bool:
            return bool(await platform.types())

        await until(ended_here, "the call has a row")
        status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
        assert (status, body["code"]) == (409, "call_ended")
        assert (await platform.wallet())[:2] == (1000, 0)


@pytest.mark.parametrize("path", [WEBHOOK, ORG_WEBHOOK])
async def test_a_hold_that_comes_too_late_is_given_back(database: str, path: str) -> None:
    """The caller was told no while the database hung: the hold does not stay."""
    async with vapi_platform(database, pence=1000, http={"vapi_deadline_s": 0.3}) as platform:
        await awake(platform)
        blocker = await asyncpg.connect(database)
        try:
            async with blocker.transaction():
                await blocker.fetch(LOCK, ORG)
                status, body = await platform.vapi(path, fixture("assistant-request"))
                if path == WEBHOOK:
                    assert (status, body["code"]) == (503, "deadline_passed")
                else:
                    assert (status, list(body)) == (200, ["error"])
        finally:
            await blocker.close()
        question = {"callId": CALL, "assistantId": ASSISTANT}

        async def answered() -> bool:
            status, _ = await platform.vapi(STATUS_CHECK, question)
            return status == 200

        await until(answered, "the lane works again")
        await platform.until_wallet(lambda balance, held: (balance, held) == (1000, 0))
        types = await platform.types()
        assert types in ([], ["reservation", "reservation_release"])


async def awake(platform: VapiPlatform) -> None:
    """Have the wallet loaded, so that only the write has to wait."""
    await platform.vapi(STATUS_CHECK, {"callId": "x", "assistantId": ASSISTANT})


async def test_an_org_that_would_rather_answer(database: str) -> None:
    """It allows calls while nothing can be decided; the hold comes late, and guards the call."""
    async with vapi_platform(database, pence=1000, http={"vapi_deadline_s": 0.3}) as platform:
        change = {"settings": {"on_unavailable": "allow"}}
        changed, _ = await platform.operator("PATCH", f"/admin/orgs/{ORG}", change, key="allow")
        assert changed == 200
        await awake(platform)
        # The mapping is remembered by now: the directory needs no lock either.
        blocker = await asyncpg.connect(database)
        try:
            async with blocker.transaction():
                await blocker.fetch(LOCK, ORG)
                status, body = await platform.vapi(WEBHOOK, fixture("assistant-request"))
                assert (status, body["assistantId"]) == (200, ASSISTANT)
        finally:
            await blocker.close()
        await platform.until_wallet(lambda balance, held: (balance, held) == (1000, 280))

        async def settled() -> bool:
            return await platform.vapi(WEBHOOK, fixture("end-of-call-report")) == (200, {})

        await until(settled, "the lane works again")
        assert (await platform.wallet())[:2] == (832, 0)


async def test_several_megabytes(database: str) -> None:
    """A report of 5 MB settles its call."""
    async with vapi_platform(database, pence=1000) as platform:
        await platform.vapi(WEBHOOK, fixture("assistant-request"))
        report = fixture("end-of-call-report")
        report["message"]["artifact"]["transcript"] = "half an emoji \ud83d " * 300_000
        assert await platform.vapi(WEBHOOK, report) == (200, {})

        assert await platform.wallet() == (832, 0, 3)
