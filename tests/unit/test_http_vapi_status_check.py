"""The kill switch's question: what is answered, field by field."""

from typing import Any

import pytest

from wallet_engine.commands import Kill
from wallet_engine.errors import LedgerBusy, LedgerUnavailable, UnknownOrg
from wallet_engine.settings import CapPolicy, Settings
from wallet_http.options import VapiOptions
from wallet_testing.vapi_world import (
    ASSISTANT,
    CALL,
    NUMBER_ID,
    ORG,
    STATUS_CHECK,
    WEBHOOK,
    fixture,
    vapi_world,
)

SAID = VapiOptions()
GOES_ON = {
    "endCall": False,
    "balance_pence": 1000,
    "effective_balance_pence": 720,
    "held_pence": 280,
    "accrued_pence": 56,
    "remaining_seconds": 1008,
}
OF_NOBODY = {
    "endCall": False,
    "balance_pence": 0,
    "effective_balance_pence": 0,
    "held_pence": 0,
    "accrued_pence": 0,
    "remaining_seconds": 0,
}


@pytest.mark.parametrize(
    "body",
    [
        {"message": {"call": {"id": CALL}}, "elapsedSeconds": 12},
        {"message": {"call": {"id": CALL}, "elapsedSeconds": 11.5}},
        {"call": {"id": CALL}, "elapsedSeconds": 12},
        {"callId": CALL, "elapsedSeconds": 11.0001},
        {"callId": CALL, "elapsedSeconds": 12, "message": {"elapsedSeconds": "nonsense"}},
        {"callId": CALL, "elapsedSeconds": None, "message": {"elapsedSeconds": 12}},
        {"callId": CALL, "elapsedSeconds": 12, "extra": [1, {}], "message": 7, "call": []},
    ],
)
async def test_a_call_that_may_go_on(body: dict[str, Any]) -> None:
    """Each form of the question is answered with the same numbers."""
    async with vapi_world(pence=1000) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))

        assert await world.post(STATUS_CHECK, body) == (200, GOES_ON)
        assert len(world.notes.deliveries) == 1


async def test_without_elapsed_seconds_the_engines_clock_counts() -> None:
    """The clock runs from what was heard, here from the admission."""
    async with vapi_world(pence=1000) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        world.clock.advance(ms=12_000)

        assert await world.post(STATUS_CHECK, {"callId": CALL}) == (200, GOES_ON)


@pytest.mark.parametrize(
    ("elapsed", "remaining"),
    [(239, None), (240, 60), (241, 59), (299, 1)],
)
async def test_the_last_minute(elapsed: int, remaining: int | None) -> None:
    """A caller is warned while there is time to say so."""
    async with vapi_world(pence=280) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        _, body = await world.post(STATUS_CHECK, {"callId": CALL, "elapsedSeconds": elapsed})

        assert body["endCall"] is False
        if remaining is None:
            assert "warning" not in body
        else:
            warning = {"message": SAID.spoken_warning, "remainingSeconds": remaining}
            assert body["warning"] == warning
            assert body["remaining_seconds"] == remaining
        assert "message" not in body


async def test_the_money_is_gone() -> None:
    """The call must end, and hears why; a paid minute was not cut."""
    settings = Settings(cap_policy=CapPolicy.MAX_CALL)
    async with vapi_world(pence=280, settings=settings) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        _, body = await world.post(STATUS_CHECK, {"callId": CALL, "elapsedSeconds": 300})

        assert body == {
            "endCall": True,
            "message": SAID.spoken_ending,
            "balance_pence": 280,
            "effective_balance_pence": 0,
            "held_pence": 280,
            "accrued_pence": 280,
            "remaining_seconds": 0,
        }
        last = world.notes.deliveries[-1]
        assert (last.type, last.outcome) == ("status-check", "end_call:money")
        assert (last.org_id, last.call_id) == (ORG, CALL)


async def test_the_cap_suspension_and_a_kill_end_a_call() -> None:
    """Whatever money there is."""
    async with vapi_world(settings=Settings(max_call_seconds=120)) as world:
        await world.post(WEBHOOK, fixture("assistant-request"))
        question = {"callId": CALL, "elapsedSeconds": 119}
        assert (await world.post(STATUS_CHECK, question))[1]["endCall"] is False
        assert (await world.post(STATUS_CHECK, {**question, "elapsedSeconds": 120}))[1]["endCall"]
        world.calls.wallet().suspended = True
        assert (await world.post(STATUS_CHECK, question))[1]["endCall"]
        world.calls.wallet().suspended = False
        world.calls._ask(Kill(org_id=ORG, call_id=CALL, reason="fraud", strict=False))
        assert (await world.post(STATUS_CHECK, question))[1]["endCall"]

        ends = [outcome for outcome in world.outcomes if outcome.startswith("end_call")]
        assert ends == ["end_call:cap", "end_call:suspended", "end_call:fraud"]


async def test_a_call_of_no_known_org() -> None:
    """It is not ours to end; it is counted."""
    async with vapi_world() as world:
        assert await world.post(STATUS_CHECK, {"callId": "stranger"}) == (200, OF_NOBODY)
        world.store.calls["lost"] = "gone-org"
        assert await world.post(STATUS_CHECK, {"callId": "lost"}) == (200, OF_NOBODY)

        assert world.outcomes == ["unknown_org", "unknown_org"]


@pytest.mark.parametrize(
    "named",
    [
        {"message": {"call": {"id": "other"}, "phoneNumber": {"id": NUMBER_ID}}},
        {"callId": "other", "assistantId": ASSISTANT},
        {"call": {"id": "other", "assistantId": ASSISTANT}},
    ],
)
@pytest.mark.parametrize(("pence", "ends"), [(0, True), (100, False)])
async def test_a_known_org_without_a_hold(named: dict[str, Any], pence: int, ends: bool) -> None:
    """Its number or assistant tells the org; the call ends when the wallet is empty."""
    async with vapi_world(pence=pence) as world:
        _, body = await world.post(STATUS_CHECK, named)

        assert (body["endCall"], body["held_pence"]) == (ends, 0)
        assert body["balance_pence"] == pence


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "callId"),
        ({"callId": 5}, "callId"),
        ({"callId": ""}, "callId"),
        ({"callId": "a\0"}, "callId"),
        ({"callId": CALL, "elapsedSeconds": -1}, "elapsedSeconds"),
        ({"callId": CALL, "elapsedSeconds": True}, "elapsedSeconds"),
        ({"callId": CALL, "elapsedSeconds": "12"}, "elapsedSeconds"),
        ({"callId": CALL, "elapsedSeconds": 1e300}, "elapsedSeconds"),
        (b'{"callId":"c","elapsedSeconds":NaN}', "elapsedSeconds"),
        ([], "body"),
        (b"{", "body"),
    ],
)
async def test_questions_that_make_no_sense(body: object, field: str) -> None:
    """The part that is wrong is named."""
    async with vapi_world() as world:
        status, told = await world.post(STATUS_CHECK, body)

        assert (status, told["code"], told["field"]) == (400, "invalid_request", field)


async def test_while_nobody_can_be_asked() -> None:
    """503, never a made-up answer: neither to end a call nor to let it go on."""
    async with vapi_world() as world:
        world.store.trouble = LedgerBusy("away")
        assert (await world.post(STATUS_CHECK, {"callId": CALL}))[0] == 503
        world.store.trouble = None
        await world.post(WEBHOOK, fixture("assistant-request"))
        world.calls.trouble = LedgerUnavailable("away")
        assert (await world.post(STATUS_CHECK, {"callId": CALL}))[0] == 503
        world.calls.trouble = UnknownOrg(ORG)
        assert await world.post(STATUS_CHECK, {"callId": CALL}) == (200, OF_NOBODY)
