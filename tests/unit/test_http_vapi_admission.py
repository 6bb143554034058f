"""May this call start?  What Vapi is answered, in both forms, and whatever goes wrong inside."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from wallet_engine.commands import Commit, Proof
from wallet_engine.errors import (
    DeadlinePassed,
    LedgerFault,
    LedgerUnavailable,
    Overloaded,
    UnknownOrg,
)
from wallet_engine.ports import Assistant, PhoneNumber
from wallet_engine.settings import Settings
from wallet_http.options import EdgeOptions, VapiOptions
from wallet_testing.vapi_world import (
    ASSISTANT,
    CALL,
    NUMBER,
    NUMBER_ID,
    ORG,
    ORG_WEBHOOK,
    WEBHOOK,
    VapiWorld,
    fixture,
    message,
    vapi_world,
)

SPOKEN = VapiOptions()
ADMITTED = {
    "assistantId": ASSISTANT,
    "assistantOverrides": {
        "maxDurationSeconds": 600,
        "metadata": {"orgId": ORG, "callId": CALL},
    },
}


@pytest.mark.parametrize("path", [WEBHOOK, ORG_WEBHOOK])
async def test_an_admitted_call(path: str) -> None:
    """The money is held, and Vapi hears who answers and for how long."""
    async with vapi_world(pence=1000) as world:
        assert await world.post(path, fixture("assistant-request")) == (200, ADMITTED)

        assert world.calls.wallet().held_pence == 280
        [delivery] = world.notes.deliveries
        assert (delivery.org_id, delivery.call_id) == (ORG, CALL)
        assert (delivery.type, delivery.outcome) == ("assistant-request", "admitted")
        assert delivery.http_status == 200
        assert delivery.detail == {"held_pence": 280, "max_duration_seconds": 600}
        [facts] = world.notes.facts
        assert (facts.assistant_id, facts.phone_number_id) == (ASSISTANT, NUMBER_ID)


async def test_the_cap_is_what_the_money_pays_for() -> None:
    """100 p pay for one minute at 56 p."""
    async with vapi_world(pence=100) as world:
        _, body = await world.post(WEBHOOK, fixture("assistant-request"))

        assert body["assistantOverrides"]["maxDurationSeconds"] == 60
        assert world.calls.wallet().held_pence == 100


async def test_a_request_that_names_an_assistant() -> None:
    """The org is found by the assistant, who then answers."""
    async with vapi_world() as world:
        status, body = await world.post(WEBHOOK, fixture("assistant-request-by-assistant-id"))

        assert (status, body["assistantId"]) == (200, ASSISTANT)


async def test_a_repeated_request_is_answered_as_the_first_time() -> None:
    """Also when the wallet is empty by now: the hold is there already."""
    async with vapi_world(pence=280) as world:
        first = await world.post(WEBHOOK, fixture("assistant-request"))
        assert await world.post(WEBHOOK, fixture("assistant-request")) == first

        assert world.outcomes == ["admitted", "duplicate"]
        assert world.calls.wallet().held_pence == 280


async def test_a_refusal_for_want_of_money() -> None:
    """402 with the numbers, no assistant, and nothing written."""
    async with vapi_world(pence=0) as world:
        status, body = await world.post(WEBHOOK, fixture("assistant-request"))

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
        assert world.calls.journal == []
        [delivery] = world.notes.deliveries
        assert (delivery.outcome, delivery.http_status) == ("refused:insufficient_credits", 402)
        assert delivery.detail["deficit_pence"] == 79


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (ORG_WEBHOOK, EdgeOptions(environment="test")),
        (WEBHOOK, EdgeOptions(environment="test", vapi=VapiOptions(refusal="spoken"))),
    ],
)
async def test_a_refusal_as_it_is_spoken(path: str, options: EdgeOptions) -> None:
    """A status other than 2xx would be read to the caller in technical words."""
    async with vapi_world(options, pence=78) as world:
        answer = await world.post(path, fixture("assistant-request"))

        assert answer == (200, {"error": SPOKEN.spoken_insufficient})
        assert world.notes.deliveries[0].http_status == 200
        assert world.outcomes == ["refused:insufficient_credits"]


def suspend(world: VapiWorld) -> None:
    world.calls.wallet().suspended = True


def end(world: VapiWorld) -> None:
    commit = Commit(org_id=ORG, call_id=CALL, actual_ms=0, proof=Proof.ENDED, strict=False)
    world.calls._ask(commit)


def unmap(world: VapiWorld) -> None:
    world.store.assistants.clear()
    world.store.numbers[NUMBER_ID] = PhoneNumber(
        phone_number_id=NUMBER_ID, org_id=ORG, number=NUMBER, assistant_id=None
    )


def forget_org(world: VapiWorld) -> None:
    world.store.orgs.clear()
    world.store.numbers.clear()
    world.store.assistants.clear()


@pytest.mark.parametrize(
    ("prepare", "settings", "status", "code"),
    [
        (suspend, Settings(), 403, "wallet_suspended"),
        (end, Settings(), 409, "call_ended"),
        (unmap, Settings(), 409, "no_assistant"),
        (forget_org, Settings(), 404, "unknown_org"),
        (lambda _: None, Settings(prepaid_billing=False), 403, "feature_disabled"),
    ],
)
async def test_other_refusals(
    prepare: Callable[[VapiWorld], None], settings: Settings, status: int, code: str
) -> None:
    """Each has its status on the first path, and is spoken on the path of the org."""
    async with vapi_world(settings=settings) as world:
        prepare(world)
        got, body = await world.post(WEBHOOK, fixture("assistant-request"))
        assert (got, body["code"]) == (status, code)
        assert "assistantId" not in body

        spoken = await world.post(ORG_WEBHOOK, fixture("assistant-request"))
        assert spoken == (200, {"error": SPOKEN.spoken_refused})
        assert world.outcomes == [f"refused:{code}"] * 2
        assert world.calls.wallet().holds == {}


async def test_the_concurrency_limit() -> None:
    """Its numbers are told in the names of this interface."""
    async with vapi_world(settings=Settings(max_concurrent_calls=1)) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        request = fixture("assistant-request")
        request["message"]["call"]["id"] = "second"
        status, body = await world.post(WEBHOOK, request)

        assert (status, body["code"]) == (409, "concurrency_limit")
        assert (body["liveCalls"], body["maxConcurrentCalls"]) == (1, 1)


async def test_a_path_that_contradicts_the_call() -> None:
    """A call is known to belong to another org: 409, and nothing happens."""
    async with vapi_world() as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        for kind in ("assistant-request", "end-of-call-report", "status-update-ended", "hang"):
            status, body = await world.post("/api/vapi/orgs/other/webhook", fixture(kind))
            assert (status, body["code"]) == (409, "org_mismatch")

        assert world.outcomes == ["admitted", *["conflict"] * 4]
        assert len(world.calls.journal) == 2
        assert world.calls.ended_calls == []


async def test_an_unknown_org_in_the_path() -> None:
    """The number in the message does not stand in for a path that is wrong."""
    async with vapi_world() as world:
        answer = await world.post("/api/vapi/orgs/nobody/webhook", fixture("assistant-request"))

        assert answer == (200, {"error": SPOKEN.spoken_refused})
        assert world.outcomes == ["refused:unknown_org"]


@pytest.mark.parametrize("call", [{}, {"id": 5}, {"id": "a\0"}, None])
async def test_a_request_without_a_call(call: object) -> None:
    """A hold needs a name: 400, or a sentence."""
    async with vapi_world() as world:
        body = message("assistant-request", phoneNumber={"id": NUMBER_ID})
        body["message"]["call"] = call
        status, told = await world.post(WEBHOOK, body)

        assert (status, told["code"], told["field"]) == (400, "invalid_request", "message.call.id")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownOrg(ORG), 404, "unknown_org"),
        (Overloaded("full"), 503, "overloaded"),
        (DeadlinePassed("late"), 503, "deadline_passed"),
        (LedgerUnavailable("away"), 503, "database_unavailable"),
        (LedgerFault("poison"), 500, "ledger_fault"),
        (RuntimeError("secret detail"), 500, "internal"),
    ],
)
async def test_no_decision(
    error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is never a 402, tells nothing of the inside, and is a sentence on the org's path."""
    caplog.set_level(logging.CRITICAL)
    async with vapi_world() as world:
        world.calls.trouble = error
        async with world.client.post(
            WEBHOOK, data=json.dumps(fixture("assistant-request"))
        ) as response:
            body = await response.json()
            assert (response.status, body["code"]) == (status, code)
            assert ("Retry-After" in response.headers) is (status == 503)
            assert "secret detail" not in json.dumps(body)

        got, spoken = await world.post(ORG_WEBHOOK, fixture("assistant-request"))
        unknown = isinstance(error, UnknownOrg)
        assert got == 200
        assert spoken == {"error": SPOKEN.spoken_refused if unknown else SPOKEN.spoken_unavailable}
        assert world.outcomes == [f"refused:{code}"] * 2


IMPATIENT = EdgeOptions(environment="test", vapi_deadline_s=0.05)


@pytest.mark.parametrize("where", ["calls", "store"])
async def test_an_answer_in_time_whatever_happens_inside(where: str) -> None:
    """The engine or the directory hangs: Vapi is answered all the same."""
    async with vapi_world(IMPATIENT) as world:
        target: Any = getattr(world, where)
        target.stalled = asyncio.Event()
        status, body = await world.post(WEBHOOK, fixture("assistant-request"))
        assert (status, body["code"]) == (503, "deadline_passed")

        answer = await world.post(ORG_WEBHOOK, fixture("assistant-request"))
        assert answer == (200, {"error": SPOKEN.spoken_unavailable})


async def test_the_public_address_is_sent_along() -> None:
    """An assistant that is configured elsewhere cannot bypass settlement."""
    options = EdgeOptions(
        environment="test",
        public_url="https://wallet.example.com",
        vapi=VapiOptions(server_credential_id="cred-1"),
    )
    async with vapi_world(options) as world:
        _, body = await world.post(WEBHOOK, fixture("assistant-request"))

    overrides = body["assistantOverrides"]
    assert overrides["serverMessages"] == ["status-update", "end-of-call-report"]
    server = overrides["server"]
    assert server["url"] == "https://wallet.example.com/api/vapi/orgs/demo-org/webhook"
    assert server["credentialId"] == "cred-1"
    assert server["timeoutSeconds"] == 20
    plan = server["backoffPlan"]
    assert plan["type"] == "exponential"
    assert 0 < plan["maxRetries"] <= 10
    assert 0 < plan["baseDelaySeconds"] <= 10
    assert 503 not in plan["excludedStatusCodes"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "Front desk"}, 600),
        ({"maxDurationSeconds": 120}, 120),
        ({"maxDurationSeconds": 3600}, 600),
        ({"maxDurationSeconds": "x"}, 600),
    ],
)
async def test_a_stored_assistant_is_answered_whole(config: dict[str, Any], expected: int) -> None:
    """Its own cap stays if it is the shorter one."""
    async with vapi_world() as world:
        world.store.assistants[ASSISTANT] = Assistant(
            assistant_id=ASSISTANT, org_id=ORG, default=True, config_json=json.dumps(config)
        )
        _, body = await world.post(WEBHOOK, fixture("assistant-request"))

        assert body["assistant"] == config
        assert "assistantId" not in body
        assert body["assistantOverrides"]["maxDurationSeconds"] == expected
