"""`/v1` on a real node and a real database: every verb, every repeat, every bad input."""

import asyncio
import json
from io import BytesIO
from typing import Any

import pytest

from wallet_testing.edge import ORG, edge, token

DEDUCT: dict[str, Any] = {
    "org_id": ORG,
    "amount_pence": 5,
    "class": "call",
    "type": "call_deduction",
    "description": "five",
}
RESERVE: dict[str, Any] = {"org_id": ORG, "call_id": "call-1"}


async def test_a_call_from_hold_to_settlement(database: str) -> None:
    """1000 p: 280 p held, 90 s cost 112 p, 168 p are released; all of it again changes nothing."""
    async with edge(database) as api:
        await api.open(1000)
        held = await api.v1("reserve", call_id="call-1")
        assert held.status == 201
        assert held.body == {
            "org_id": ORG,
            "duplicate": False,
            "seq": 2,
            "type": "reservation",
            "balance_before_pence": 1000,
            "balance_after_pence": 1000,
            "effective_balance_pence": 720,
            "held_pence": 280,
            "call_id": "call-1",
            "reserved_pence": 280,
            "max_duration_seconds": 600,
            "paid_seconds": 300,
        }
        longer = await api.v1("extend", call_id="call-1", seconds=60)
        assert (longer.status, longer["extended_pence"], longer["paid_seconds"]) == (201, 56, 360)

        question = await api.v1("check", call_id="call-1", elapsed_seconds=89.2)
        assert question.status == 200
        assert (question["end_call"], question["accrued_pence"]) == (False, 112)
        assert (question["held_pence"], question["duplicate"]) == (336, False)

        settled = await api.v1("commit", call_id="call-1", actual_seconds=89.2)
        assert (settled.status, settled["charged_pence"]) == (201, 112)
        assert (settled["released_pence"], settled["uncollected_pence"]) == (224, 0)
        assert settled["balance_after_pence"] == settled["effective_balance_pence"] == 888

        for first, again in (
            (held, await api.v1("reserve", call_id="call-1")),
            (settled, await api.v1("commit", call_id="call-1", actual_seconds=89.2)),
        ):
            assert again.status == 200
            assert again.body == {**first.body, "duplicate": True}
        other = await api.v1("commit", call_id="call-1", actual_seconds=10)
        assert (other.status, other["code"]) == (422, "idempotency_key_reuse")
        late = await api.v1("extend", call_id="call-1", seconds=60)
        assert (late.status, late["code"]) == (409, "call_ended")
        assert (await api.wallet())["balance_pence"] == 888


async def test_money_to_the_penny(database: str) -> None:
    """Exactly at the debt limit succeeds, one penny over is refused whole."""
    async with edge(database) as api:
        await api.open(100)
        refused = await api.ask("POST", "/v1/deduct", {**DEDUCT, "amount_pence": 601}, key="k1")
        assert refused.status == 402
        assert refused.body == {
            "error": "This charge would go past the debt limit.",
            "code": "debt_limit_exceeded",
            "current_balance_pence": 100,
            "effective_balance_pence": 100,
            "debt_limit_pence": 500,
            "attempted_pence": 601,
            "new_balance_would_be_pence": -501,
            "amount_over_limit_pence": 1,
        }
        done = await api.ask("POST", "/v1/deduct", {**DEDUCT, "amount_pence": 600}, key="k1")
        assert (done.status, done["balance_after_pence"]) == (201, -500)
        assert (done["in_debt"], done["needs_recharge"]) == (True, True)
        assert done["remaining_debt_capacity_pence"] == 0
        again = await api.ask("POST", "/v1/deduct", {**DEDUCT, "amount_pence": 600}, key="k1")
        assert (again.status, again["duplicate"]) == (200, True)
        asset = {"amount_pence": 1, "class": "asset", "type": "sms", "description": ""}
        assert (await api.v1("deduct", key="k2", **asset)).status == 402
        adjusted = await api.v1("credit", key="k3", amount_pence=-1000, type="adjustment")
        assert (adjusted.status, adjusted["balance_after_pence"]) == (201, -1500)


async def test_suspension_and_kill(database: str) -> None:
    """A suspended wallet takes money and no calls; a killed call is told so."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="call-1")
        killed = await api.v1("kill", key="k1", call_id="call-1", reason="fraud")
        assert (killed.status, killed["type"]) == (201, "call_kill")
        question = await api.v1("check", call_id="call-1")
        assert (question["end_call"], question["reason"]) == (True, "fraud")
        assert (await api.v1("suspend", key="k2", reason="late payer")).status == 201
        refused = await api.v1("reserve", call_id="call-2")
        assert (refused.status, refused["code"]) == (403, "wallet_suspended")
        assert (await api.v1("credit", key="k3", amount_pence=1, type="topup")).status == 201
        assert (await api.v1("resume", key="k4", reason="paid")).status == 201
        assert (await api.v1("reserve", call_id="call-2")).status == 201
        freed = await api.v1("release", call_id="call-2", reason="never connected")
        assert (freed.status, freed["released_pence"]) == (201, 280)


async def test_a_dry_run_changes_nothing(database: str) -> None:
    """It answers as the command would, and says that it did not happen."""
    async with edge(database) as api:
        await api.open(1000)
        for verb, key, fields in (
            ("reserve", "", {"call_id": "c"}),
            ("deduct", "k", {**DEDUCT}),
            ("credit", "k", {"amount_pence": 5, "type": "bonus"}),
            ("suspend", "k", {"reason": "r"}),
        ):
            tried = await api.v1(verb, key=key, **{**fields, "dry_run": True})
            assert (tried.status, tried["dry_run"]) == (200, True), verb
        wallet = await api.wallet()
        assert (wallet["seq"], wallet["balance_pence"], wallet["held_pence"]) == (1, 1000, 0)


async def test_two_hundred_at_once_under_one_key(database: str) -> None:
    """One is decided, all others hear the same, as duplicates."""
    async with edge(database) as api:
        await api.open(1000)
        heard = await asyncio.gather(
            *(api.ask("POST", "/v1/deduct", DEDUCT, key="same") for _ in range(200))
        )
        assert sorted(one.status for one in heard) == [200] * 199 + [201]
        assert len({one["seq"] for one in heard}) == 1
        assert (await api.wallet())["balance_pence"] == 995


@pytest.mark.parametrize("verb", ["deduct", "credit", "suspend", "resume", "kill"])
async def test_a_key_is_required(database: str, verb: str) -> None:
    """Without one a repeat could not be told from a second request."""
    bodies = {
        "deduct": DEDUCT,
        "credit": {"org_id": ORG, "amount_pence": 5, "type": "topup"},
        "kill": {"org_id": ORG, "call_id": "c", "reason": "r"},
    }
    body = bodies.get(verb, {"org_id": ORG, "reason": "r"})
    async with edge(database) as api:
        heard = await api.ask("POST", f"/v1/{verb}", body)
    assert (heard.status, heard["code"]) == (400, "idempotency_key_required")


@pytest.mark.parametrize(
    ("key", "status"),
    [("k", 201), ("k" * 255, 201), ("k" * 256, 400), ("é", 201), ("a\tb", 400)],
)
async def test_keys_are_printable_and_bounded(database: str, key: str, status: int) -> None:
    """1 to 255 printable characters."""
    async with edge(database) as api:
        await api.open(1000)
        heard = await api.ask("POST", "/v1/deduct", DEDUCT, key=key)
        assert heard.status == status
        if status == 400:
            assert heard["field"] == "Idempotency-Key"


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("deduct", {**DEDUCT, "amount_pence": True}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": 5.0}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": "5"}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": None}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": 0}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": -5}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": 10**12 + 1}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": 2**63}, "amount_pence"),
    ("deduct", {**DEDUCT, "amount_pence": 10**400}, "amount_pence"),
    ("deduct", {**DEDUCT, "class": "loan"}, "class"),
    ("deduct", {**DEDUCT, "type": "sms"}, "type"),
    ("deduct", {**DEDUCT, "type": "bribe"}, "type"),
    ("deduct", {**DEDUCT, "description": "x" * 501}, "description"),
    ("deduct", {**DEDUCT, "description": "a\0b"}, "description"),
    ("deduct", {**DEDUCT, "description": None}, "description"),
    ("deduct", {**DEDUCT, "org_id": ""}, "org_id"),
    ("deduct", {**DEDUCT, "org_id": "a b"}, "org_id"),
    ("deduct", {**DEDUCT, "org_id": "a\0b"}, "org_id"),
    ("deduct", {**DEDUCT, "org_id": "x" * 65}, "org_id"),
    ("deduct", {**DEDUCT, "org_id": ["o"]}, "org_id"),
    ("deduct", {**DEDUCT, "more": 1}, "more"),
    ("deduct", {**DEDUCT, "client_key": "k"}, "client_key"),
    ("deduct", {**DEDUCT, "strict": False}, "strict"),
    ("deduct", {key: value for key, value in DEDUCT.items() if key != "org_id"}, "org_id"),
    ("reserve", {**RESERVE, "call_id": ""}, "call_id"),
    ("reserve", {**RESERVE, "call_id": "a\0b"}, "call_id"),
    ("reserve", {**RESERVE, "call_id": "a\nb"}, "call_id"),
    ("reserve", {**RESERVE, "call_id": "x" * 129}, "call_id"),
    ("reserve", {**RESERVE, "estimated_minutes": 0}, "estimated_minutes"),
    ("reserve", {**RESERVE, "estimated_minutes": True}, "estimated_minutes"),
    ("reserve", {**RESERVE, "estimated_minutes": 5, "amount_pence": 5}, "amount_pence"),
    ("reserve", {**RESERVE, "managed": True}, "managed"),
    ("reserve", {**RESERVE, "give_back": True}, "give_back"),
    ("extend", {**RESERVE}, "seconds"),
    ("extend", {**RESERVE, "seconds": 1.5}, "seconds"),
    ("extend", {**RESERVE, "seconds": 10**9}, "seconds"),
    ("commit", {**RESERVE}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_seconds": True}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_seconds": "60"}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_seconds": -0.001}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_seconds": 10**7 + 1}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_seconds": 60, "amount_pence": 5}, "actual_seconds"),
    ("commit", {**RESERVE, "actual_ms": 60}, "actual_ms"),
    ("commit", {**RESERVE, "actual_seconds": 60, "proof": 3}, "proof"),
    ("release", {**RESERVE}, "reason"),
    ("release", {**RESERVE, "reason": ""}, "reason"),
    ("release", {**RESERVE, "reason": "x" * 201}, "reason"),
    ("check", {**RESERVE, "elapsed_seconds": -1}, "elapsed_seconds"),
    ("credit", {"org_id": ORG, "amount_pence": -5, "type": "topup"}, "amount_pence"),
    ("credit", {"org_id": ORG, "amount_pence": 0, "type": "adjustment"}, "amount_pence"),
    ("credit", {"org_id": ORG, "amount_pence": 5, "type": "clawback"}, "amount_pence"),
    ("credit", {"org_id": ORG, "amount_pence": 5, "type": "gift"}, "type"),
    ("suspend", {"org_id": ORG, "reason": "a\0b"}, "reason"),
    ("kill", {"org_id": ORG, "call_id": "c", "reason": 5}, "reason"),
    ("deduct", b"", "body"),
    ("deduct", b"{", "body"),
    ("deduct", b"\xff\xfe", "body"),
    ("deduct", b'{"org_id": "\\ud800"}', "body"),
    ("deduct", b"[" * 60_000, "body"),
    ("deduct", b'{"a":' * 12_000, "body"),
    ("deduct", b"[]", "body"),
    ("deduct", b'{"org_id":"a","org_id":"b","amount_pence":1,"class":"call","type":"x"}', "org_id"),
]


async def test_every_bad_body_is_400_and_changes_nothing(database: str) -> None:
    """Each names the field; none is a 500, and none reaches the wallet."""
    async with edge(database) as api:
        await api.open(1000)
        for number, (verb, body, field) in enumerate(BAD_BODIES):
            heard = await api.ask("POST", f"/v1/{verb}", body, key=f"k{number}")
            assert heard.status == 400, (verb, body, heard)
            assert (heard["code"], heard["field"]) == ("invalid_request", field), (verb, body)
            assert "Traceback" not in str(heard.body)
        wallet = await api.wallet()
        assert (wallet["seq"], wallet["balance_pence"], wallet["held_pence"]) == (1, 1000, 0)


async def test_a_body_of_ten_megabytes_is_413(database: str) -> None:
    """Refused by its length, without reading it."""
    async with edge(database) as api:
        url = f"http://127.0.0.1:{api.program.port}/v1/deduct"
        headers = {"Authorization": f"Bearer {token('service')}", "Idempotency-Key": "k"}
        raw = BytesIO(b"x" * 10_000_000)
        async with api.session.post(url, data=raw, headers=headers) as response:
            assert response.status == 413
            assert json.loads(await response.read())["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("who", "status"),
    [
        (None, 401),
        ("x.y.z", 401),
        (token("org", ORG), 403),
        (token("org", "other"), 403),
        (token("service"), 404),
        (token("operator"), 404),
    ],
)
async def test_who_may_call(database: str, who: str | None, status: int) -> None:
    """401 before 403 before whatever the body says; then there is no such org."""
    async with edge(database) as api:
        heard = await api.ask("POST", "/v1/reserve", RESERVE, token=who)
        assert heard.status == status
        assert (await api.ask("POST", "/v1/reserve", b"{", token=who)).status in {status, 400}
