"""What operators set, on a real node and a real database."""

import asyncio
from typing import Any

import pytest

from wallet_testing.edge import ORG, edge, token
from wallet_testing.processes import until

NEW = {"org_id": "new", "name": "New & Co", "settings": {"debt_limit_pence": 0}}
ASSISTANT = "/admin/assistants/a-1"
NUMBER = "/admin/phone-numbers/n-1"


async def test_an_org_is_created_once(database: str) -> None:
    """The same again is the same; anything else under its name is refused."""
    async with edge(database) as api:
        created = await api.ask("POST", "/admin/orgs", NEW)
        assert (created.status, created["duplicate"]) == (201, False)
        assert created["settings"]["debt_limit_pence"] == 0
        assert created["settings"]["rate_pence_per_minute"] == 56
        assert created["settings"]["asset_prices"]["phone_number"] == 1000
        assert created["overrides"] == {"debt_limit_pence": 0}
        assert created["wallet"]["balance_pence"] == 0
        assert created["wallet"]["debt_limit_pence"] == 0
        again = await api.ask("POST", "/admin/orgs", NEW)
        assert (again.status, again["duplicate"]) == (200, True)
        for other in (
            {**NEW, "name": "Other"},
            {**NEW, "settings": {"debt_limit_pence": 1}},
            {"org_id": "new", "name": "New & Co"},
        ):
            refused = await api.ask("POST", "/admin/orgs", other)
            assert (refused.status, refused["code"]) == (409, "already_exists")
        await api.ask("PATCH", "/admin/orgs/new", {"settings": {"debt_limit_pence": 7}})
        assert (await api.ask("POST", "/admin/orgs", NEW)).status == 200


async def test_an_org_that_was_unknown_a_moment_ago(database: str) -> None:
    """Having been asked for does not hide it once it is there."""
    async with edge(database) as api:
        assert (await api.v1("reserve", call_id="c")).status == 404
        await api.open()
        assert (await api.v1("reserve", call_id="c")).status == 402


async def test_ten_create_the_same_org_at_once(database: str) -> None:
    """One creates it."""
    async with edge(database) as api:
        heard = await asyncio.gather(*(api.ask("POST", "/admin/orgs", NEW) for _ in range(10)))
        assert sorted(one.status for one in heard) == [200] * 9 + [201]


async def test_settings_are_changed_live(database: str) -> None:
    """At once, journaled, by key once; null inherits the default again."""
    async with edge(database) as api:
        await api.open(1000, rate_pence_per_minute=60)
        path = f"/admin/orgs/{ORG}"
        change = {"settings": {"rate_pence_per_minute": None, "hold_minutes": 1}, "name": "Two"}
        changed = await api.ask("PATCH", path, change, key="k1")
        assert (changed.status, changed["name"]) == (200, "Two")
        assert changed["overrides"] == {"hold_minutes": 1}
        assert changed["settings"]["rate_pence_per_minute"] == 56
        assert (await api.v1("reserve", call_id="c"))["held_pence"] == 56
        seq = (await api.wallet())["seq"]
        assert (await api.ask("PATCH", path, change, key="k1")).status == 200
        assert (await api.wallet())["seq"] == seq
        reused = await api.ask("PATCH", path, {"settings": {"hold_minutes": 2}}, key="k1")
        assert (reused.status, reused["code"]) == (422, "idempotency_key_reuse")
        for _ in range(2):  # without a key each is a change of its own
            assert (await api.ask("PATCH", path, {"settings": {}})).status == 200
        assert (await api.wallet())["seq"] == seq + 2
        assert (await api.ask("GET", path))["overrides"] == {"hold_minutes": 1}


async def test_prices_by_country(database: str) -> None:
    """Own prices are laid over the defaults."""
    async with edge(database) as api:
        await api.open(0, asset_prices={"phone_number:GB": 1200})
        shown = await api.ask("GET", f"/admin/orgs/{ORG}")
        assert shown["settings"]["asset_prices"] == {
            "phone_number": 1000,
            "toll_free_number": 1000,
            "phone_number:GB": 1200,
        }
        assert shown["overrides"] == {"asset_prices": {"phone_number:GB": 1200}}


async def test_assistants_and_numbers(database: str) -> None:
    """Stored whole, shown as stored, and followed at once."""
    async with edge(database) as api:
        await api.open(1000)
        config = {"name": "Åsa 👋", "model": {"temperature": 0.5, "big": 10**18}, "tools": []}
        body = {"org_id": ORG, "default": True, "assistant": config}
        first = await api.ask("PUT", ASSISTANT, body)
        assert first.status == 201
        expected = {"assistant_id": "a-1", "org_id": ORG, "default": True, "assistant": config}
        assert first.body == expected
        assert (await api.ask("GET", ASSISTANT)).body == expected
        number = {"org_id": ORG, "number": "+14155550100", "assistant_id": "a-1"}
        assert (await api.ask("PUT", NUMBER, number)).status == 201
        assert (await api.ask("GET", NUMBER)).body == {"phone_number_id": "n-1", **number}

        ring = {"type": "assistant-request", "call": {"id": "c1"}, "phoneNumber": {"id": "n-1"}}
        answered = await api.ask("POST", "/api/vapi/webhook", {"message": ring}, token=None)
        assert answered["assistant"]["name"] == "Åsa 👋"

        assert (await api.ask("PUT", ASSISTANT, {"org_id": ORG})).status == 200
        ring["call"] = {"id": "c2"}
        answered = await api.ask("POST", "/api/vapi/webhook", {"message": ring}, token=None)
        assert answered["assistantId"] == "a-1"
        assert (await api.ask("GET", ASSISTANT))["assistant"] is None

        await api.ask("POST", "/admin/orgs", {"org_id": "org-2", "name": "Two"})
        other = {**number, "org_id": "org-2"}
        assert (await api.ask("PUT", NUMBER, other))["field"] == "assistant_id"
        for path in ("/admin/assistants/nobody", "/admin/phone-numbers/nobody"):
            assert (await api.ask("GET", path)).status == 404


async def test_a_large_assistant(database: str) -> None:
    """A configuration may be longer than a command, up to a megabyte."""
    async with edge(database) as api:
        await api.open()
        for length, status in ((500_000, 201), (1_100_000, 413)):
            texts = ["x" * 50_000] * (length // 50_000)
            body = {"org_id": ORG, "assistant": {"prompts": texts}}
            assert (await api.ask("PUT", f"{ASSISTANT}-{length}", body)).status == status


async def test_the_kill_switch_of_the_fleet(database: str) -> None:
    """Nothing new anywhere, live calls end if that is wanted, and all of it only once."""
    async with edge(database) as api:
        await api.open(1000)
        never = await api.ask("GET", "/admin/kill-switch")
        assert (never["engaged"], never["switch_id"]) == (False, 0)
        await api.v1("reserve", call_id="c1")
        body = {"engaged": True, "end_live_calls": True, "reason": "fire drill"}
        who = token(sub="alice")
        thrown = await api.ask("POST", "/admin/kill-switch", body, key="k1", token=who)
        assert (thrown.status, thrown["duplicate"], thrown["actor"]) == (201, False, "alice")
        again = await api.ask("POST", "/admin/kill-switch", body, key="k1", token=who)
        assert (again.status, again["duplicate"]) == (200, True)
        other = await api.ask("POST", "/admin/kill-switch", {**body, "reason": "x"}, key="k1")
        assert (other.status, other["code"]) == (422, "idempotency_key_reuse")
        refused = await api.v1("reserve", call_id="c2")
        assert (refused.status, refused["suspended"]) == (403, "fleet")

        async def told_to_end() -> bool:
            heard = await api.v1("check", call_id="c1")
            return bool(heard["end_call"])

        await until(told_to_end, "the live call to be told")
        off = {"engaged": False, "reason": "over"}
        assert (await api.ask("POST", "/admin/kill-switch", off)).status == 201
        assert (await api.v1("reserve", call_id="c2")).status == 201
        shown = await api.ask("GET", "/admin/kill-switch")
        assert (shown["engaged"], shown["reason"]) == (False, "over")


BAD: list[tuple[str, str, Any, str]] = [
    ("POST", "/admin/orgs", {}, "org_id"),
    ("POST", "/admin/orgs", {"org_id": "a b", "name": "x"}, "org_id"),
    ("POST", "/admin/orgs", {"org_id": "a\0", "name": "x"}, "org_id"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": ""}, "name"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": "a\0b"}, "name"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": "x" * 201}, "name"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": 5}, "name"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": "x", "balance": 5}, "balance"),
    ("POST", "/admin/orgs", b'{"org_id": "ok", "name": "\\ud800"}', "body"),
    ("POST", "/admin/orgs", b'{"org_id": "ok", "name": "\xff"}', "body"),
    ("POST", "/admin/orgs", b"[" * 60_000, "body"),
    ("POST", "/admin/orgs", {"org_id": "ok", "name": "x", "settings": []}, "settings"),
    *(
        ("PATCH", f"/admin/orgs/{ORG}", {"settings": settings}, field)
        for settings, field in (
            ({"rate": 5}, "rate"),
            ({"rate_pence_per_minute": True}, "rate_pence_per_minute"),
            ({"rate_pence_per_minute": 5.0}, "rate_pence_per_minute"),
            ({"rate_pence_per_minute": -1}, "rate_pence_per_minute"),
            ({"rate_pence_per_minute": 10**30}, "rate_pence_per_minute"),
            ({"first_increment_seconds": 0}, "first_increment_seconds"),
            ({"max_call_seconds": 9}, "max_call_seconds"),
            ({"cap_policy": "none"}, "cap_policy"),
            ({"cap_policy": ["affordable"]}, "cap_policy"),
            ({"prepaid_billing": 1}, "prepaid_billing"),
            ({"on_unavailable": 5}, "on_unavailable"),
            ({"asset_prices": {"phone_number": 5.5}}, "asset_prices.phone_number"),
            ({"asset_prices": {"a\0b": 5}}, "asset_prices"),
            ({"asset_prices": [5]}, "asset_prices"),
            ({"a\0b": 5}, "a\0b"),
            ({"tariff": None}, "tariff"),
        )
    ),
    ("PATCH", f"/admin/orgs/{ORG}", {"org_id": "x"}, "org_id"),
    ("PUT", ASSISTANT, {"org_id": ORG, "default": 1}, "default"),
    ("PUT", ASSISTANT, {"org_id": ORG, "assistant": "x"}, "assistant"),
    ("PUT", ASSISTANT, {"org_id": ORG, "assistant": {"a": "\0"}}, "assistant"),
    ("PUT", ASSISTANT, {"org_id": ORG, "assistant": {"\0": 1}}, "assistant"),
    ("PUT", ASSISTANT, b'{"org_id": "org-1", "assistant": {"a": 1e999}}', "assistant"),
    ("PUT", ASSISTANT, b'{"org_id": "org-1", "assistant": {"a": NaN}}', "assistant"),
    ("PUT", ASSISTANT, b'{"org_id": "org-1", "assistant": {"a": 1, "a": 2}}', "a"),
    ("PUT", "/admin/assistants/a%00b", {"org_id": ORG}, "assistant_id"),
    ("PUT", f"/admin/assistants/{'x' * 129}", {"org_id": ORG}, "assistant_id"),
    ("PUT", NUMBER, {"org_id": ORG, "number": "0044"}, "number"),
    ("PUT", NUMBER, {"org_id": ORG, "number": "+1415\0"}, "number"),
    ("PUT", NUMBER, {"org_id": ORG}, "number"),
    ("PUT", NUMBER, {"org_id": ORG, "number": "+14155550100", "assistant_id": ""}, "assistant_id"),
    ("POST", "/admin/kill-switch", {"engaged": 1, "reason": "x"}, "engaged"),
    ("POST", "/admin/kill-switch", {"engaged": True}, "reason"),
    ("POST", "/admin/kill-switch", {"engaged": True, "reason": "a\0b"}, "reason"),
    ("POST", "/admin/kill-switch", {"engaged": True, "reason": ""}, "reason"),
]


async def test_every_bad_request_is_400_and_changes_nothing(database: str) -> None:
    """Each names the field; none is a 500."""
    async with edge(database) as api:
        await api.open(1000)
        for method, path, body, field in BAD:
            heard = await api.ask(method, path, body)
            assert (heard.status, heard["field"]) == (400, field), (method, path, body, heard)
        assert (await api.wallet())["seq"] == 1
        assert (await api.ask("GET", "/admin/orgs/ok")).status == 404
        assert (await api.ask("GET", ASSISTANT)).status == 404
        assert (await api.ask("GET", NUMBER)).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/orgs/nobody", None),
        ("PATCH", "/admin/orgs/nobody", {"name": "x"}),
        ("PATCH", "/admin/orgs/nobody", {"settings": {}}),
        ("PUT", ASSISTANT, {"org_id": "nobody"}),
        ("PUT", NUMBER, {"org_id": "nobody", "number": "+14155550100"}),
    ],
)
async def test_an_unknown_org_is_404(database: str, method: str, path: str, body: object) -> None:
    """And nothing is stored for it."""
    async with edge(database) as api:
        heard = await api.ask(method, path, body)
        assert (heard.status, heard["code"]) == (404, "unknown_org")


async def test_only_operators(database: str) -> None:
    """Neither customers nor backends."""
    async with edge(database) as api:
        await api.open()
        for who, status in ((None, 401), (token("org", ORG), 403), (token("service"), 403)):
            for method, path in (
                ("POST", "/admin/orgs"),
                ("GET", f"/admin/orgs/{ORG}"),
                ("PATCH", f"/admin/orgs/{ORG}"),
                ("PUT", ASSISTANT),
                ("PUT", NUMBER),
                ("POST", "/admin/kill-switch"),
                ("GET", "/admin/kill-switch"),
                ("GET", "/api/monitoring/queue-stats"),
            ):
                assert (await api.ask(method, path, token=who)).status == status, (path, who)
