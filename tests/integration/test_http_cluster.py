"""Nodes that share the wallets: whichever is asked, the answer is the same."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from wallet_persistence.embedded import EmbeddedValkey
from wallet_testing.edge import Edge, Heard, edge
from wallet_testing.members import Members, members, of, shared
from wallet_testing.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOOK = "/api/vapi/webhook"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(databases: Any, valkey: EmbeddedValkey) -> AsyncIterator[Members]:  # noqa: ANN401  # a fixture
    """Give three nodes that all tests here share: use orgs of your own."""
    async with databases.fresh() as dsn, members(dsn, valkey.url, "a", "b", "c") as found:
        yield found


async def opened(node: Edge, org_id: str, pence: int, **settings: object) -> str:
    org = {"org_id": org_id, "name": org_id, "settings": settings}
    assert (await node.ask("POST", "/admin/orgs", org)).status == 201
    if pence:
        await credited(node, org_id, pence)
    return org_id


async def credited(node: Edge, org_id: str, pence: int) -> Heard:
    body = {"org_id": org_id, "amount_pence": pence, "type": "topup"}
    return await node.ask("POST", "/v1/credit", body, key="opening")


async def deducted(node: Edge, org_id: str, pence: int, key: str) -> Heard:
    body = {"org_id": org_id, "amount_pence": pence, "class": "asset", "type": "sms"}
    return await node.ask("POST", "/v1/deduct", body, key=key)


async def test_a_request_is_answered_the_same_everywhere(three: Members) -> None:
    """Created on one node, used on the others, repeated on any; whoever holds the wallet."""
    for org_id in three.orgs():
        a, b, c = three.nodes
        await opened(a, org_id, 0)

        first = await credited(b, org_id, 1000)
        repeats = [await credited(node, org_id, 1000) for node in (a, b, c)]
        charged = await deducted(c, org_id, 400, "k1")
        again = await deducted(a, org_id, 400, "k1")
        reused = [await deducted(node, org_id, 401, "k1") for node in three.nodes]
        poor = [await deducted(node, org_id, 601, "k2") for node in three.nodes]
        wallets = [
            await node.ask("GET", f"/api/billing/wallet?org_id={org_id}") for node in three.nodes
        ]

        assert (first.status, charged.status, again.status) == (201, 201, 200)
        assert [heard.status for heard in repeats] == [200, 200, 200]
        assert all(heard.body == {**first.body, "duplicate": True} for heard in repeats)
        assert again.body == {**charged.body, "duplicate": True}
        assert [heard.status for heard in reused] == [422, 422, 422]
        assert [heard.status for heard in poor] == [402, 402, 402]
        assert all(heard["deficit_pence"] == 1 for heard in poor)
        assert [heard["balance_pence"] for heard in wallets] == [600, 600, 600]


async def test_nobody_knows_an_org_that_does_not_exist(three: Members) -> None:
    """And it can be created at once on a node that said so."""
    unknown = [await deducted(node, "org-new", 1, "k") for node in three.nodes]
    assert [heard.status for heard in unknown] == [404, 404, 404]

    await opened(three[1], "org-new", 0)

    poor = [await deducted(node, "org-new", 1, "k") for node in three.nodes]
    assert [heard.status for heard in poor] == [402, 402, 402]


async def test_a_call_across_nodes(three: Members) -> None:
    """It rings at one, is asked about at another, ends at a third: charged once."""
    for number, org_id in enumerate(f"calls-{name}" for name in three.orgs()):
        a, b, c = (three[(number + shift) % 3] for shift in range(3))
        call = {"id": f"call-{org_id}"}
        await opened(a, org_id, 1000)
        who = {"org_id": org_id, "default": True}
        assert (await b.ask("PUT", f"/admin/assistants/{org_id}", who)).status == 201
        path = f"/api/vapi/orgs/{org_id}/webhook"

        async def tell(node: Edge, kind: str, **more: object) -> Heard:
            message = {"type": kind, "call": call, **more}  # noqa: B023  # used in this turn
            return await node.ask("POST", path, {"message": message}, token=None)  # noqa: B023  # as well

        rings = [await tell(node, "assistant-request") for node in (a, c, b)]
        asked = await b.ask("POST", f"{HOOK}/status-check", {"callId": call["id"]}, token=None)
        ended = [await tell(node, "end-of-call-report", durationSeconds=90) for node in (c, a, b)]
        told = await a.ask(
            "GET", f"/api/billing/wallet/explain?org_id={org_id}&call_id={call['id']}"
        )
        wallet = await b.ask("GET", f"/api/billing/wallet?org_id={org_id}")

        assert [heard["assistantId"] for heard in rings] == [org_id] * 3
        assert (asked["endCall"], asked["held_pence"]) == (False, 280)
        assert [heard.status for heard in ended] == [200, 200, 200]
        assert [row["type"] for row in told["decisions"]] == ["reservation", "call_deduction"]
        assert (wallet["balance_pence"], wallet["held_pence"]) == (888, 0)


async def test_settings_that_are_changed_on_another_node(three: Members) -> None:
    """They hold at once, whichever node is asked next."""
    for org_id in (f"set-{name}" for name in three.orgs()):
        await opened(three[0], org_id, 1000, hold_minutes=5)
        change = {"settings": {"hold_minutes": 2}}
        changed = await three[1].ask("PATCH", f"/admin/orgs/{org_id}", change, key="k")
        assert changed.status == 200
        for number, node in enumerate(three.nodes):
            shown = await node.ask("GET", f"/admin/orgs/{org_id}")
            assert shown["settings"]["hold_minutes"] == 2
            body = {"org_id": org_id, "call_id": f"call-{number}"}
            assert (await node.ask("POST", "/v1/reserve", body))["reserved_pence"] == 112


async def test_what_operators_see(three: Members) -> None:
    """Each node tells the same of all, and its own of itself; only operators are told."""
    tokens = [of(node).token for node in three.nodes]
    for node, token in zip(three.nodes, tokens, strict=True):
        seen = await node.ask("GET", "/admin/cluster")
        name, _, boot = token.partition(":")
        assert (seen["node"]["id"], seen["node"]["boot"]) == (name, boot)
        assert seen["node"]["address"] == of(node).address
        assert [f"{one['id']}:{one['boot']}" for one in seen["nodes"]] == tokens
        assert seen["leases"] == {"reachable": True, "problem": None}
        held = Counter(seen["holders"])
        assert len(seen["holders"]) == 256
        assert [one["shards"] for one in seen["nodes"]] == [held[token] for token in tokens]
        assert seen["node"]["shards"] == held[token]
        assert (await node.ask("GET", "/health", token=None))["services"]["redis"] is True
        assert (await node.ask("GET", "/health/ready", token=None)).body == {"status": "ok"}
        text = (await node.ask("GET", "/metrics", token=None)).body
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        assert float(values["wallet_lease_shards"]) == held[token]
        assert float(values["wallet_lease_fresh_shards"]) == held[token]
        assert float(values["wallet_cluster_nodes"]) == 3
        assert float(values["wallet_leases_reachable"]) == 1
        assert float(values["wallet_lease_lost_total"]) == 0
        moved = [float(values[f"wallet_lease_{what}_total"]) for what in ("gained", "handed_over")]
        assert moved[0] - moved[1] == held[token]
        assert float(values['wallet_forwarded_total{outcome="answered"}']) > 0
    assert (await three[0].ask("GET", "/admin/cluster", token=None)).status == 401


async def test_a_node_that_is_alone(database: str) -> None:
    """Holds everything, and there is nothing to be reached."""
    async with edge(database, node={"id": "solo"}) as api:
        seen = await api.ask("GET", "/admin/cluster")
        text = (await api.ask("GET", "/metrics", token=None)).body

        assert seen["leases"] == {"reachable": None, "problem": None}
        assert [(one["id"], one["shards"]) for one in seen["nodes"]] == [("solo", 256)]
        assert set(seen["holders"]) == {f"solo:{seen['node']['boot']}"}
        assert "wallet_lease" not in text


async def test_a_node_joins_and_leaves_under_load(database: str, valkey: EmbeddedValkey) -> None:
    """No request fails: what was sent is answered, what finds no listener goes elsewhere."""
    async with members(database, valkey.url, "a", "b") as two:
        a, b = two.nodes
        orgs = two.orgs(each=8)
        await asyncio.gather(*(opened(a, org_id, 10_000) for org_id in orgs))
        over = asyncio.Event()
        nodes, statuses = [a, b], Counter[int]()

        async def ask(org_id: str) -> int:
            number = 0
            while not over.is_set():
                number += 1
                try:
                    heard = await deducted(nodes[number % len(nodes)], org_id, 1, f"k{number}")
                except aiohttp.ClientConnectorError:  # nobody listens there: it goes elsewhere
                    number -= 1
                    nodes[:] = [node for node in nodes if node is not c]
                    continue
                statuses[heard.status] += 1
            return number

        asking = [asyncio.create_task(ask(org_id)) for org_id in orgs]
        async with edge(database, node={"id": "c"}, **two.groups) as c:
            nodes.append(c)
            await Members([a, b, c], two.groups).until_settled()
            so_far = statuses.total()

            async def more() -> bool:
                return statuses.total() > so_far + 200

            await until(more, "two hundred requests later")
            await c.program.stop()
        over.set()
        asked = await asyncio.gather(*asking)

        assert set(statuses) == {201}
        for org_id, count in zip(orgs, asked, strict=True):
            wallet = await a.ask("GET", f"/api/billing/wallet?org_id={org_id}")
            assert wallet["balance_pence"] == 10_000 - count


async def test_while_redis_is_away_what_is_owned_goes_on(database: str) -> None:
    """Wallets answer and are told from everywhere; only what nodes owned can move no more."""
    async with EmbeddedValkey() as own, members(database, own.url, "a", "b") as two:
        orgs = two.orgs(each=2)
        for org_id in orgs:
            await opened(two[0], org_id, 1000)
        own.kill()

        async def noticed() -> bool:
            return not any(of(node).ownership.counts().reachable for node in two.nodes)

        async def not_fresh() -> bool:
            return not any(of(node).ownership.counts().fresh for node in two.nodes)

        await until(noticed, "both nodes miss Redis")
        await until(not_fresh, "the leases run out")
        for org_id in orgs:
            heard = [await deducted(node, org_id, 100, "k1") for node in two.nodes]
            assert sorted(one.status for one in heard) == [200, 201]
        for node in two.nodes:
            health = await node.ask("GET", "/health", token=None)
            assert (health.status, health["status"]) == (200, "degraded")
            assert health["services"]["redis"] is False
            assert (await node.ask("GET", "/health/ready", token=None)).status == 200
            leases = (await node.ask("GET", "/admin/cluster"))["leases"]
            assert leases["reachable"] is False
            assert leases["problem"].startswith("Redis ")
            text = (await node.ask("GET", "/metrics", token=None)).body
            assert "wallet_leases_reachable 0.0" in text
            assert "wallet_lease_fresh_shards 0.0" in text

        await own.start()

        async def healthy() -> bool:
            heard = [await node.ask("GET", "/health", token=None) for node in two.nodes]
            return all(one["status"] == "ok" for one in heard)

        await until(healthy, "both nodes are healthy")
        await two.until_settled()
        for org_id in orgs:
            assert (await deducted(two[0], org_id, 100, "k2")).status == 201


async def test_a_node_that_starts_before_redis(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not ready and owns nothing, says why, and joins by itself."""
    monkeypatch.setattr("wallet_http.membership.JOIN_S", 0.1)
    async with EmbeddedValkey() as own:
        own.kill()
        short = {"request_deadline_s": 0.3, "vapi_deadline_s": 0.3}
        async with edge(database, node={"id": "a"}, http=short, **shared(own.url)) as api:
            ready = await api.ask("GET", "/health/ready", token=None)
            assert (ready.status, ready["status"]) == (503, "joining")
            assert ready["problem"].startswith("Redis ")
            health = await api.ask("GET", "/health", token=None)
            assert (health["status"], health["services"]["redis"]) == ("degraded", False)
            org = {"org_id": "org-1", "name": "One"}
            await api.ask("POST", "/admin/orgs", org)
            assert (await credited(api, "org-1", 100)).status == 503
            await own.start()

            async def joined() -> bool:
                return (await api.ask("GET", "/health/ready", token=None)).status == 200

            async def answers() -> bool:
                return (await credited(api, "org-1", 100)).status in {200, 201}

            await until(joined, "the node has joined")
            await until(answers, "its wallets answer")
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM credit_transactions") == 1
    finally:
        await connection.close()
