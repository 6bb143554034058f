"""What is no HTTP, or hardly: bytes on a socket that no well-behaved client sends.

Whatever comes: no 5xx, every answer in the one form of all errors, nothing changes, nothing is
logged as a fault of ours, and the node goes on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest_asyncio

from wallet_testing.complaints import complaints
from wallet_testing.digest import Digest, findings
from wallet_testing.edge import Edge, edge, token
from wallet_testing.processes import until
from wallet_testing.raw_http import Exchange, exchange, post, request

HOOK = b"/api/vapi/webhook"
BODY = b'{"message":{"type":"hang"}}'
CREDIT = b'{"org_id":"org-1","amount_pence":1,"type":"topup"}'
CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK = b"1b\r\n" + BODY + b"\r\n0\r\n\r\n"
GET, HOST = b"GET /health HTTP/1.1", b"Host: x"
TO_HOOK = b"POST " + HOOK + b" HTTP/1.1"
BEARER = b"Authorization: Bearer " + token().encode()

CLOSE = b"Connection: close"
"""Ends the exchange after an answer; without it, an answer shows that the node hung up."""

NO_HTTP = {
    "garbage": b"\0\xff\x17garbage\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100a5010000a10303") + b"x" * 60 + b"\r\n\r\n",
    "small letters": request(b"get /health http/1.1", HOST),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that is none": request(b"GET /health HTTP/9.9", HOST),
    "no Host": request(GET),
    "two Hosts": request(GET, b"Host: a", b"Host: b"),
    "a method of 5000 letters": request(b"A" * 5000 + b" /health HTTP/1.1", HOST),
    "a path of 20 kB": request(b"GET /" + b"a" * 20_000 + b" HTTP/1.1", HOST),
    "a header of 20 kB": request(GET, HOST, b"X-A: " + b"a" * 20_000),
    "500 headers": request(GET, HOST, *[b"X-%d: a" % number for number in range(500)]),
    "NUL in a header": request(GET, HOST, b"X-A: a\0b"),
    "a header without a colon": request(GET, HOST, b"nothing"),
    "a blank in a header's name": request(GET, HOST, b"X A: b"),
    "a folded header": request(GET, HOST, b"X-A: b", b"  folded"),
    "lines that end in CR": b"GET /health HTTP/1.1\rHost: x\r\r",
    "lines that end in LF": b"GET /health HTTP/1.1\nHost: x\n\n",
    "letters beyond ASCII in a path": request("GET /€ HTTP/1.1".encode(), HOST),
    "an address that is none": request(b"GET http://[::1/health HTTP/1.1", HOST),
    "a port that is none": request(b"GET http://a:99999999/health HTTP/1.1", HOST),
    "a length in words": request(TO_HOOK, HOST, b"Content-Length: abc", body=BODY),
    "a negative length": request(TO_HOOK, HOST, b"Content-Length: -5", body=BODY),
    "a length with a sign": request(TO_HOOK, HOST, b"Content-Length: +27", body=BODY),
    "a length past every limit": request(TO_HOOK, HOST, b"Content-Length: " + b"9" * 30),
    "two lengths": post(HOOK, BODY, b"Content-Length: 5"),
    "a length, and chunks": post(HOOK, ONE_CHUNK, CHUNKED),
    "a short length, and chunks": post(HOOK, ONE_CHUNK, CHUNKED, length=4),
    "two encodings": request(
        TO_HOOK, HOST, CHUNKED, b"Transfer-Encoding: identity", body=ONE_CHUNK
    ),
    "an encoding nobody knows": request(
        TO_HOOK, HOST, b"Transfer-Encoding: xchunked", body=ONE_CHUNK
    ),
    "an encoding with a tab": request(
        TO_HOOK, HOST, b"Transfer-Encoding:\x0bchunked", body=ONE_CHUNK
    ),
    "a chunk of no size": request(TO_HOOK, HOST, CHUNKED, body=b"zz\r\n" + BODY),
    "a chunk past every limit": request(TO_HOOK, HOST, CHUNKED, body=b"f" * 20 + b"\r\n" + BODY),
}
"""What is refused with a 400, after which the node hangs up."""

ODD = {
    "HTTP/0.9": (b"GET /health\r\n\r\n", {200, 400}),
    "HTTP/1.0": (request(b"GET /health HTTP/1.0"), {200}),
    "a POST in HTTP/1.0": (
        request(b"POST " + HOOK + b" HTTP/1.0", b"Content-Length: 27", body=BODY),
        {200},
    ),
    "a whole address": (request(b"GET http://evil.example/health HTTP/1.1", HOST, CLOSE), {200}),
    "a fragment": (request(b"GET /health#x HTTP/1.1", HOST, CLOSE), {200}),
    "an odd query": (request(b"GET /health?%ff=%00&&=&a HTTP/1.1", HOST, CLOSE), {200}),
    "the way up": (request(b"GET /health/../admin/kill-switch HTTP/1.1", HOST, CLOSE), {404}),
    "the way up, encoded": (request(b"GET /health/%2e%2e/metrics HTTP/1.1", HOST, CLOSE), {404}),
    "two slashes": (request(b"GET //health HTTP/1.1", HOST, CLOSE), {404}),
    "two slashes and a bracket": (request(b"GET //[ HTTP/1.1", HOST, CLOSE), {404}),
    "a star": (request(b"OPTIONS * HTTP/1.1", HOST, CLOSE), {404}),
    "CONNECT": (request(b"CONNECT a:443 HTTP/1.1", HOST, CLOSE), {404}),
    "TRACE": (request(b"TRACE /health HTTP/1.1", HOST, CLOSE), {405}),
    "another upgrade": (
        request(GET, HOST, b"Connection: close, Upgrade", b"Upgrade: websocket"),
        {200},
    ),
    "a token beyond ASCII": (
        request(b"GET /admin/cluster HTTP/1.1", HOST, CLOSE, b"Authorization: Bearer \xff\xfe"),
        {401, 404},
    ),
    "an expectation": (post(HOOK, BODY, CLOSE, b"Expect: the-unexpected"), {417}),
    "a wrong Content-Encoding": (post(HOOK, BODY, CLOSE, b"Content-Encoding: br"), {400}),
    "a Host with many colons": (
        request(TO_HOOK, b"Host: a:b:c", CLOSE, b"Content-Length: 27", body=BODY),
        {200},
    ),
    "a request id to be put into logs": (
        request(GET, HOST, CLOSE, b'X-Request-Id: a" level="error'),
        {200},
    ),
    "chunks": (request(TO_HOOK, HOST, CLOSE, CHUNKED, body=ONE_CHUNK), {200}),
    "chunks with extensions and trailers": (
        request(
            TO_HOOK,
            HOST,
            CLOSE,
            CHUNKED,
            body=b'1b;a="b"\r\n' + BODY + b"\r\n0\r\nX-Vapi-Secret: x\r\n\r\n",
        ),
        {200},
    ),
}
"""What is unusual, and answered like anything else."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node, a look at what it stores, and what it complains of."""

    api: Edge
    digest: Digest
    errors: list[str]

    async def send(self, *pieces: bytes, answers: int = 0) -> Exchange:
        """Send bytes, which must be answered properly and change nothing."""
        before = await self.digest.taken()
        heard = await exchange(self.api.program.port, *pieces, answers=answers)
        faults = [fault for answer in heard.answers for fault in answer.faults()]
        assert (faults, self.errors, heard.rest) == ([], [], b"")
        assert await self.digest.taken() == before
        return heard


@pytest_asyncio.fixture
async def target(database: str) -> AsyncIterator[Target]:
    """Give a node with some money, which must be in order and well in the end."""
    connection = await asyncpg.connect(database)
    try:
        async with edge(database) as api:
            await api.open(1000)
            with complaints() as errors:
                yield Target(api, await Digest.over(connection, without=()), errors)
            assert (await api.ask("GET", "/health", token=None))["status"] == "ok"
    finally:
        await connection.close()
    assert await findings(database) == []


async def test_what_is_no_http_is_told_so(target: Target) -> None:
    """In the form of all errors, and then the node hangs up."""
    for name, raw in NO_HTTP.items():
        heard = await target.send(raw)
        assert [answer.status for answer in heard.answers] == [400], name
        assert heard.answers[0].body["code"] == "invalid_http", name
        assert heard.closed, name


async def test_what_is_odd_is_answered(target: Target) -> None:
    """As whatever else comes, and once."""
    for name, (raw, statuses) in ODD.items():
        heard = await target.send(raw)
        assert len(heard.answers) == 1, name
        assert heard.answers[0].status in statuses, f"{name}: {heard.answers[0]}"


async def test_who_may_not_ask_is_not_told_to_go_on(target: Target) -> None:
    """`Expect: 100-continue` is answered by 401 before the body, and by 100 for those who may."""
    expecting = (b"Expect: 100-continue", CLOSE)
    refused = await target.send(post(b"/v1/credit", b"", *expecting, length=len(CREDIT)), answers=1)
    assert (refused.interim, refused.answers[0].status) == ([], 401)
    head = post(b"/v1/credit", b"", BEARER, *expecting, length=len(CREDIT))
    told = await target.send(head, CREDIT)  # which has no key, and so does nothing
    assert (told.interim, told.answers[0].status) == ([100], 400)


async def test_smuggled_requests_are_requests_of_their_own(target: Target) -> None:
    """What follows a body stands for itself: it has no share in who sent the body."""
    inner = post(b"/v1/credit", CREDIT, b"Idempotency-Key: smuggled", CLOSE)
    shapes = {
        "after a body": (post(HOOK, BODY) + inner, [200, 401]),
        "after a body of somebody signed in": (
            post(b"/v1/check", b"{}", BEARER) + inner,
            [400, 401],
        ),
        "in a body that is told to be empty": (post(HOOK, inner, length=0), [400, 401]),
        "after the last chunk": (
            request(TO_HOOK, HOST, CHUNKED, body=ONE_CHUNK) + inner,
            [200, 401],
        ),
        "with a length and chunks": (post(HOOK, b"0\r\n\r\n" + inner, CHUNKED, length=5), [400]),
        "with chunks, hidden by a blank": (
            post(HOOK, b"0\r\n\r\n" + inner, b"Transfer-Encoding : chunked", length=5),
            [400],
        ),
        "behind an upgrade": (
            request(GET, HOST, b"Connection: Upgrade", b"Upgrade: websocket") + inner,
            [200, 401],
        ),
    }
    for name, (raw, statuses) in shapes.items():
        heard = await target.send(raw)
        assert [answer.status for answer in heard.answers] == statuses, name


async def test_more_than_the_length_is_the_next_request(target: Target) -> None:
    """Garbage after a body is refused on its own; the body itself is answered at most once."""
    heard = await target.send(post(HOOK, BODY), b"\0\1garbage\r\n\r\n")
    assert [answer.status for answer in heard.answers][-1] == 400
    assert len(heard.answers) <= 2


async def test_a_broken_chunk_in_a_later_packet(target: Target) -> None:
    """A body that breaks while it is read is a 400, and the node hangs up."""
    head = request(TO_HOOK, HOST, CHUNKED, body=b"1b\r\n" + BODY + b"\r\n")
    heard = await target.send(head, b"zz\r\n\r\n")
    assert {answer.status for answer in heard.answers} == {400}
    assert heard.closed


async def test_a_body_that_is_not_encoded_as_told(target: Target) -> None:
    """It is the caller's fault, and no line in our log."""
    head = post(HOOK, b"", b"Content-Encoding: gzip", length=len(BODY))
    heard = await target.send(head, BODY)
    assert [answer.status for answer in heard.answers] == [400]
    assert heard.closed


async def test_pipelined_requests(target: Target) -> None:
    """All are answered, in order, whatever stands among them."""
    odd = request(b"GET /nowhere HTTP/1.1", HOST)
    heard = await target.send((post(HOOK, BODY) + odd) * 50 + request(GET, HOST, CLOSE))
    assert [answer.status for answer in heard.answers] == [200, 404] * 50 + [200]


async def test_clients_who_stop_in_the_middle(target: Target) -> None:
    """In a line, in a header, in a body: they wait as long as they like, and others are served."""
    port, stopped = target.api.program.port, []
    whole = post(HOOK, BODY, b"X-Vapi-Secret: x")
    for number in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole[: 1 + number * (len(whole) - 2) // 200])
        stopped.append(writer)
    for _ in range(10):
        heard = await target.send(request(GET, HOST, CLOSE))
        assert heard.answers[0].status == 200
    for number, writer in enumerate(stopped):
        if number % 2:
            writer.transport.abort()
        writer.close()
    runner = target.api.program._listeners[0]._runner
    assert runner is not None
    server = runner.server
    assert server is not None

    async def all_left() -> bool:
        return len(server.connections) <= 1  # that of the fixture's own session

    await until(all_left, "all who stopped are gone")
    assert target.errors == []
