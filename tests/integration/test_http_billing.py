"""What customers see: the wallet, its pages, its past, and why."""

import asyncio
from urllib.parse import quote

import pytest

from wallet_testing.edge import ORG, edge, token
from wallet_testing.vapi_world import ASSISTANT, NUMBER, NUMBER_ID, fixture

BILLING = "/api/billing/wallet"


async def test_a_customer_sees_its_own_wallet(database: str) -> None:
    """And no other; those who may see any have to name one."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="call-1")
        mine = await api.ask("GET", BILLING, token=token("org", ORG))
        assert mine.status == 200
        [call] = mine["calls"]
        assert (mine["balance_pence"], mine["held_pence"]) == (1000, 280)
        assert (mine["effective_balance_pence"], mine["debt_limit_pence"]) == (720, 500)
        assert (mine["burn_rate_pence_per_minute"], mine["suspended"]) == (56, False)
        assert (call["call_id"], call["held_pence"], call["final"]) == ("call-1", 280, False)
        assert call["started_at"] < call["paid_until"] < mine["runs_dry_at"]

        for who, query, status in (
            (token("org", ORG), f"?org_id={ORG}", 200),
            (token("org", ORG), "?org_id=other", 403),
            (token("org", "other"), "", 404),
            (token("service"), f"?org_id={ORG}", 200),
            (token("service"), "", 400),
            (token("service"), "?org_id=nobody", 404),
            (token("service"), "?org_id=a%00b", 400),
            (token("service"), f"?org_id={ORG}&org_id=other", 400),
            (token("operator"), f"?org_id={ORG}", 200),
            (None, "", 401),
        ):
            heard = await api.ask("GET", BILLING + query, token=who)
            assert heard.status == status, (query, heard)


async def test_pages_of_the_journal(database: str) -> None:
    """Newest first; every row once; the cursor ends."""
    async with edge(database) as api:
        await api.open(1000)
        for number in range(30):
            await api.v1("credit", key=f"k{number}", amount_pence=1, type="bonus")
        who = token("org", ORG)
        first = await api.ask("GET", f"{BILLING}/transactions", token=who)
        assert len(first["transactions"]) == 25
        assert [row["seq"] for row in first["transactions"]] == list(range(31, 6, -1))
        rest = await api.ask(
            "GET", f"{BILLING}/transactions?cursor={first['next_cursor']}", token=who
        )
        assert [row["seq"] for row in rest["transactions"]] == list(range(6, 0, -1))
        assert rest["next_cursor"] is None
        exact = await api.ask("GET", f"{BILLING}/transactions?limit=31", token=who)
        assert (len(exact["transactions"]), exact["next_cursor"]) == (31, None)
        row = exact["transactions"][-1]
        assert (row["type"], row["amount_pence"], row["key"]) == ("topup", 1000, "opening")


async def test_filters(database: str) -> None:
    """By type, call and time; what is wrong is refused, not passed over."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="call-1")
        await api.v1("commit", call_id="call-1", actual_seconds=90)
        await api.v1("reserve", call_id="call-2")
        who = token("org", ORG)
        rows = (await api.ask("GET", f"{BILLING}/transactions", token=who))["transactions"]
        moment = quote(rows[1]["created_at"])
        for query, seqs in (
            ("type=reservation", [4, 2]),
            ("call_id=call-1", [3, 2]),
            ("type=call_deduction&call_id=call-1", [3]),
            ("type=refund", []),
            ("from=2020-01-01", [4, 3, 2, 1]),
            ("to=2020-01-01T00:00:00Z", []),
            ("from=2020-01-01T00:00:00%2B01:00&limit=1", [4]),
            ("from=2020-01-01T00:00:00+01:00&limit=1", [4]),
            ("to=2100-01-01 00:00", [4, 3, 2, 1]),
        ):
            heard = await api.ask("GET", f"{BILLING}/transactions?{query}", token=who)
            assert heard.status == 200, (query, heard)
            assert [row["seq"] for row in heard["transactions"]] == seqs, query
        since = await api.ask("GET", f"{BILLING}/transactions?from={moment}", token=who)
        assert {3, 4} <= {row["seq"] for row in since["transactions"]}
        for query, field in (
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=ten", "limit"),
            ("limit=-1", "limit"),
            ("limit=1&limit=2", "limit"),
            ("limit=%D9%A1", "limit"),
            ("cursor=x", "cursor"),
            (f"cursor={10**30}", "cursor"),
            ("type=bribe", "type"),
            ("from=yesterday", "from"),
            ("from=2026-13-01", "from"),
            ("from=1969-01-01", "from"),
            ("to=2026-01-01T25:00:00Z", "to"),
            ("call_id=", "call_id"),
            ("call_id=%00", "call_id"),
            ("form=2026-01-01", "form"),
        ):
            heard = await api.ask("GET", f"{BILLING}/transactions?{query}", token=who)
            assert (heard.status, heard["field"]) == (400, field), (query, heard)
        nobody = await api.ask("GET", f"{BILLING}/transactions", token=token("org", "nobody"))
        assert (nobody.status, nobody["code"]) == (404, "unknown_org")


async def test_the_wallet_at_a_moment(database: str) -> None:
    """As it was then; before its first decision it was empty."""
    async with edge(database) as api:
        await api.open(1000)
        await asyncio.sleep(0.005)  # so that the two decisions have two times
        await api.v1("reserve", call_id="call-1")
        who = token("org", ORG)
        rows = (await api.ask("GET", f"{BILLING}/transactions", token=who))["transactions"]
        for moment, expected in (
            (rows[0]["created_at"], (2, 1000, 280, 720)),
            (rows[1]["created_at"], (1, 1000, 0, 1000)),
            ("2020-01-01", (0, 0, 0, 0)),
            ("2100-01-01T00:00:00Z", (2, 1000, 280, 720)),
        ):
            heard = await api.ask("GET", f"{BILLING}/at?time={quote(moment)}", token=who)
            found = tuple(
                heard[name]
                for name in ("seq", "balance_pence", "held_pence", "effective_balance_pence")
            )
            assert found == expected, moment
        for query in ("", "?time=", "?time=now", "?time=2026-01-01&x=1"):
            assert (await api.ask("GET", f"{BILLING}/at{query}", token=who)).status == 400


async def test_why_a_decision_came_out_as_it_did(database: str) -> None:
    """Each with its inputs, by call, key or number."""
    async with edge(database, node={"id": "node-7"}) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="call-1")
        await api.v1("commit", call_id="call-1", actual_seconds=600)
        who = token("org", ORG)
        by_call = await api.ask("GET", f"{BILLING}/explain?call_id=call-1", token=who)
        admitted, settled = by_call["decisions"]
        assert admitted["explanation"] == (
            "Call call-1 was admitted with 1000 p to spend, where 79 p were required: 280 p were "
            "set aside, and the call may last 600 s."
        )
        assert admitted["inputs"]["tariff"]["rate_pence_per_minute"] == 56
        assert (admitted["node"], admitted["inputs"]["balance_pence"]) == ("node-7", 1000)
        assert (settled["inputs"]["held_pence"], settled["inputs"]["floor_pence"]) == (280, -500)
        assert "600 s costs 560 p" in settled["explanation"]
        by_key = await api.ask("GET", f"{BILLING}/explain?key=opening", token=who)
        assert [one["seq"] for one in by_key["decisions"]] == [1]
        derived = await api.ask("GET", f"{BILLING}/explain?key=commit:call-1", token=who)
        assert derived["decisions"] == [settled]
        by_seq = await api.ask("GET", f"{BILLING}/explain?seq=2", token=who)
        assert by_seq["decisions"] == [admitted]
        none = await api.ask("GET", f"{BILLING}/explain?seq=99", token=who)
        assert (none.status, none["decisions"]) == (200, [])
        for query in ("", "?seq=1&key=a", "?seq=0", "?seq=x", "?key=", "?call_id=%00"):
            heard = await api.ask("GET", f"{BILLING}/explain{query}", token=who)
            assert heard.status == 400, query


async def test_a_refused_call_is_explained_from_the_delivery_log(database: str) -> None:
    """A refusal writes nothing to the journal; the webhook's log has its numbers."""
    async with edge(database) as api:
        await api.open(5)
        await api.ask("PUT", f"/admin/assistants/{ASSISTANT}", {"org_id": ORG, "default": True})
        number = {"org_id": ORG, "number": NUMBER}
        await api.ask("PUT", f"/admin/phone-numbers/{NUMBER_ID}", number)
        message = fixture("assistant-request")
        blocked = await api.ask("POST", "/api/vapi/webhook", message, token=None)
        assert blocked.status == 402
        recorder = api.program.services.recorder._recorder  # type: ignore[attr-defined]
        await recorder.flush()
        call_id = message["message"]["call"]["id"]
        heard = await api.ask(
            "GET", f"{BILLING}/explain?call_id={call_id}", token=token("org", ORG)
        )
        [refusal] = heard["refusals"]
        assert heard["decisions"] == []
        assert (refusal["http_status"], refusal["outcome"]) == (402, "refused:insufficient_credits")
        assert refusal["inputs"]["deficit_pence"] == 74


@pytest.mark.parametrize("path", ["", "/transactions", "/at", "/explain"])
async def test_only_reading(database: str, path: str) -> None:
    """Nothing is changed by these addresses."""
    async with edge(database) as api:
        heard = await api.ask("POST", f"{BILLING}{path}", {})
        assert (heard.status, heard["code"]) == (405, "method_not_allowed")
