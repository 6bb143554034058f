"""The front proxy: who gets what, and what is never sent twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from wallet_testing.front_proxy import HAPROXY, Front, front

pytestmark = pytest.mark.skipif(
    HAPROXY is None, reason="haproxy is not on PATH (Debian: apt-get install haproxy)"
)

ORGS = [f"org-{number}" for number in range(60)]
MIB = 1024 * 1024


@pytest_asyncio.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Front]:
    """Run the proxy before three nodes of its own."""
    async with front(tmp_path) as running:
        yield running


async def owners(proxy: Front) -> dict[str, str]:
    return {org: (await proxy.org(org)).node for org in ORGS}


async def test_an_org_stays_on_its_node(proxy: Front) -> None:
    """However often it comes; and the orgs are spread over all nodes."""
    first, second = await owners(proxy), await owners(proxy)

    assert first == second
    assert set(Counter(first.values())) == {"node-1", "node-2", "node-3"}
    assert min(Counter(first.values()).values()) > len(ORGS) // 10


async def test_what_names_no_org_goes_to_all(proxy: Front) -> None:
    """Also what Vapi sends to the path without an org."""
    vapi = {(await proxy.ask("POST", "/api/vapi/webhook", b"{}")).node for _ in range(12)}
    others = {(await proxy.ask("POST", "/v1/check", b"{}")).node for _ in range(12)}

    assert vapi == others == {"node-1", "node-2", "node-3"}


async def test_an_encoded_org_is_the_same_org(proxy: Front) -> None:
    """A character may be written in two ways."""
    assert (await proxy.org("a%2Db")).node == (await proxy.org("a-b")).node


async def test_a_node_that_died_costs_no_request(proxy: Front) -> None:
    """At once, before a health check saw it; and only its own orgs go elsewhere."""
    before = await owners(proxy)
    await proxy.nodes[1].stop()

    at_once = await owners(proxy)
    await proxy.until_seen(node_2="DOWN")
    later = await owners(proxy)

    assert "node-2" not in {*at_once.values(), *later.values()}
    assert {org: it for org, it in before.items() if it != "node-2"}.items() <= at_once.items()
    assert {org: it for org, it in before.items() if it != "node-2"}.items() <= later.items()


async def test_a_node_that_comes_back_gets_its_orgs_back(proxy: Front) -> None:
    """The hash is of the org alone."""
    before = await owners(proxy)
    await proxy.nodes[1].stop()
    await proxy.until_seen(node_2="DOWN")
    await proxy.nodes[1].start()
    await proxy.until_seen(node_2="UP")

    assert await owners(proxy) == before


@pytest.mark.parametrize("path", ["/api/vapi/orgs/o/webhook", "/api/vapi/webhook", "/v1/deduct"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_may_have_been_executed_is_not_repeated(
    proxy: Front, method: str, path: str
) -> None:
    """A node that goes away with the request in its hands had it alone."""
    for node in proxy.nodes:
        node.breaks = True

    heard = await proxy.ask(method, path, b"{}")

    assert heard.status == 502
    assert heard.body["code"] == "unavailable"
    assert [it for node in proxy.nodes for it in node.asked] == [f"{method} {path}"]


async def test_a_read_is_repeated_elsewhere(proxy: Front) -> None:
    """It may be executed twice."""
    for node in proxy.nodes:
        node.breaks = True
    proxy.nodes[2].breaks = False

    heard = [await proxy.ask("GET", "/api/vapi/orgs/o/x") for _ in range(3)]
    heard += [await proxy.ask("GET", "/health") for _ in range(3)]

    assert {it.status for it in heard} == {200}
    assert {it.node for it in heard} == {"node-3"}


async def test_a_node_that_leaves_ends_what_it_has(proxy: Front) -> None:
    """Not ready means no new requests, and an answer to each old one."""
    asking = asyncio.create_task(proxy.ask("POST", "/hold", b"{}"))
    waiting = [asyncio.create_task(node.holding.wait()) for node in proxy.nodes]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    [leaving] = [node for node in proxy.nodes if node.holding.is_set()]
    leaving.ready = False
    await proxy.until_seen(**{leaving.name.replace("-", "_"): "DOWN"})

    later = set((await owners(proxy)).values())
    leaving.held.set()

    assert leaving.name not in later
    assert (await asking).node == leaving.name


async def test_no_node_is_told_as_the_engine_tells_it(proxy: Front) -> None:
    """503 with a time to come again, in the form of all errors."""
    for node in proxy.nodes:
        await node.stop()

    heard = await proxy.org("o")

    assert heard.status == 503
    assert heard.headers["Retry-After"] == "1"
    assert heard.body["code"] == "unavailable"


async def test_a_long_report_goes_through(proxy: Front) -> None:
    """As long as a node takes it."""
    heard = await proxy.ask("POST", "/api/vapi/orgs/o/webhook", bytes(8 * MIB))

    assert heard.body["bytes"] == 8 * MIB


async def test_a_longer_one_does_not(proxy: Front) -> None:
    """It is refused by what it says of itself, before it is there."""
    lines = ["POST /v1/check HTTP/1.1", "Host: w", f"Content-Length: {8 * MIB + 1}", "", ""]

    answer = await said(proxy, "\r\n".join(lines).encode() + bytes(MIB // 16))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "body_too_large"' in answer
    assert [it for node in proxy.nodes for it in node.asked] == []


async def test_metrics_are_not_for_everybody(proxy: Front) -> None:
    """They need no token, so the proxy does not pass them on."""
    assert (await proxy.ask("GET", "/metrics")).status == 404


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/check HTTP/1.1\r\nHost: w\r\nX-Slow: ",
        b"POST /v1/check HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\n{",
    ],
)
async def test_who_does_not_go_on_is_sent_away(proxy: Front, sent: bytes) -> None:
    """A head, or a small body, that never ends takes no node's time."""
    answer = await said(proxy, sent)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert [it for node in proxy.nodes for it in node.asked] == []


async def said(proxy: Front, sent: bytes) -> bytes:
    """Send bytes, and return the answer's head and body, as far as they come in one piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(sent)
    try:
        return await reader.read(4096)
    finally:
        writer.transport.abort()
