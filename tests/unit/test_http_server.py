"""The application and its sockets: one form of errors, ids, bounds, and unusual clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from wallet_engine.errors import InvalidCommand, LedgerUnavailable
from wallet_http.answers import Problem, json_response
from wallet_http.bodies import body_of
from wallet_http.listener import Listener
from wallet_http.options import AuthOptions, EdgeOptions
from wallet_http.routing import Handler, Route, Scope
from wallet_http.server import make_app
from wallet_http.services import Services

BODY_MAX = 70_000


async def echo(request: web.Request) -> web.Response:
    raw = await body_of(request)
    return json_response({"length": len(raw), "text": raw[:20].decode(errors="replace")}, 201)


async def named(request: web.Request) -> web.Response:
    return json_response({"name": request.match_info["name"]})


def raising(error: Exception) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        raise error

    return handler


def route(
    method: str,
    path: str,
    handler: Handler,
    *,
    scope: Scope = Scope.OPEN,
    body_max_bytes: int = 65_536,
) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary="",
        scope=scope,
        tag="test",
        body_max_bytes=body_max_bytes,
    )


ROUTES = (
    route("POST", "/echo", echo),
    route("POST", "/big", echo, body_max_bytes=140_000),
    route("GET", "/get", echo),
    route("GET", "/named/{name}", named),
    route("POST", "/signed-in", echo, scope=Scope.ORG),
    route("POST", "/bug", raising(RuntimeError("secret of the house"))),
    route("POST", "/wrong", raising(InvalidCommand("amount_pence", "is required"))),
    route("POST", "/gone", raising(LedgerUnavailable("10.0.0.5 refused"))),
    route("POST", "/no", raising(Problem(409, "no", "No."))),  # type: ignore[arg-type]  # an int
)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    options = EdgeOptions(auth=AuthOptions(jwt_secret="s" * 32), body_max_bytes=BODY_MAX)
    services = cast("Services", SimpleNamespace(options=options))
    listener = Listener(
        make_app(services, ROUTES),
        host="127.0.0.1",
        port=0,
        body_max_bytes=BODY_MAX,
        grace_s=1.0,
    )
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.close()


async def asked(
    method: str,
    path: str,
    **more: Any,  # noqa: ANN401  # as aiohttp takes it
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    async with (
        listening() as port,
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", **more) as response,
    ):
        raw = await response.read()
        return response.status, json.loads(raw) if raw else {}, response.headers


async def spoken(raw: bytes) -> bytes:
    """Send bytes as they are, and return all that is answered until the server hangs up."""
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        async with asyncio.timeout(5):
            heard = await reader.read()
        writer.close()
        return heard


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/nowhere", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/echo/", 404, "not_found"),
        ("GET", "/echo", 405, "method_not_allowed"),
        ("DELETE", "/named/x", 405, "method_not_allowed"),
        ("POST", "/signed-in", 401, "unauthorized"),
        ("POST", "/bug", 500, "internal"),
        ("POST", "/wrong", 400, "invalid_request"),
        ("POST", "/gone", 503, "database_unavailable"),
        ("POST", "/no", 409, "no"),
    ],
)
async def test_every_error_has_one_form(method: str, path: str, status: int, code: str) -> None:
    """A sentence and a word, whoever found the error; nothing of what is inside."""
    found, body, headers = await asked(method, path)

    assert (found, body["code"]) == (status, code)
    assert body["error"].endswith(".")
    assert "house" not in str(body)
    assert "10.0.0.5" not in str(body)
    assert "X-Request-Id" in headers
    assert headers["Content-Type"] == "application/json"


async def test_405_says_what_is_allowed() -> None:
    """As RFC 9110, section 15.5.6 wants."""
    _, _, headers = await asked("PUT", "/echo")

    assert headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-123", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("a b", False),
        ("é", False),
        ('a"b', False),
    ],
)
async def test_request_ids(sent: str, kept: bool) -> None:
    """A sane one of the caller's is kept; else there is one of ours."""
    _, _, headers = await asked("POST", "/echo", headers={"X-Request-Id": sent})

    found = headers["X-Request-Id"]
    assert (found == sent) is kept
    assert found


async def test_request_ids_differ() -> None:
    """Two requests, two ids."""
    async with listening() as port, aiohttp.ClientSession() as session:
        found = set()
        for _ in range(3):
            async with session.post(f"http://127.0.0.1:{port}/echo") as response:
                found.add(response.headers["X-Request-Id"])
    assert len(found) == 3


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/echo", BODY_MAX, 201),
        ("/echo", BODY_MAX + 1, 413),
        ("/echo", 10_000_000, 413),
        ("/big", 140_000, 201),
        ("/big", 140_001, 413),
        ("/named/x", 5, 405),
    ],
)
async def test_bodies_are_bounded(path: str, length: int, status: int) -> None:
    """Each route has its bound; one byte more is 413."""
    found, body, _ = await asked("POST", path, data=BytesIO(b"x" * length))

    assert found == status
    if status == 413:
        assert body["code"] == "body_too_large"


@pytest.mark.parametrize("length", [100, BODY_MAX + 1, 1_000_000])
async def test_bodies_without_a_length_are_bounded(length: int) -> None:
    """Chunks are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, length, 5000):
            yield b"x" * min(5000, length - start)
            await asyncio.sleep(0)  # lets the server see a part

    found, body, _ = await asked("POST", "/echo", data=chunks())

    assert found == (201 if length <= BODY_MAX else 413)
    assert body.get("length", length) == length


async def test_a_body_that_is_not_encoded_as_it_says_is_400() -> None:
    """And not a bug of ours."""
    found, body, _ = await asked(
        "POST", "/echo", data=b"not gzip", headers={"Content-Encoding": "gzip"}
    )

    assert (found, body["field"]) == (400, "body")


async def test_a_path_with_a_variable() -> None:
    """Goes the longer way, to the same handler."""
    assert (await asked("GET", "/named/a%20b?x=1"))[1] == {"name": "a b"}


async def test_a_query_does_not_hide_a_path() -> None:
    """The look-up by the whole target is only a shortcut."""
    assert (await asked("POST", "/echo?a=b", data=b"hi"))[:2] == (201, {"length": 2, "text": "hi"})


async def test_head_answers_without_a_body() -> None:
    """What may be got may be asked for by HEAD."""
    status, body, headers = await asked("HEAD", "/named/x")

    assert (status, body) == (200, {})
    assert "X-Request-Id" in headers


async def test_an_old_client_is_answered_and_hung_up_on() -> None:
    """HTTP/1.0, which has no keep-alive of its own."""
    heard = await spoken(b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")

    assert heard.startswith(b"HTTP/1.0 201 Created\r\n")
    assert heard.endswith(b'{"length":2,"text":"hi"}')


async def test_close_is_honoured() -> None:
    """The last answer of a connection says so."""
    heard = await spoken(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    )

    assert b"connection: close" in heard.lower()
    assert heard.endswith(b'{"length":2,"text":"hi"}')


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Answers written in one piece must not overtake one another."""
    one = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    last = b"POST /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    heard = await spoken(b"".join(one % number for number in range(5)) + last)

    assert heard.count(b"HTTP/1.1 201 Created\r\n") == 5
    assert [heard.index(b'"text":"%d"' % number) for number in range(5)] == sorted(
        heard.index(b'"text":"%d"' % number) for number in range(5)
    )
    assert heard.endswith(b"}")


async def test_a_client_who_asks_first_may_go_on() -> None:
    """`Expect: 100-continue`, as curl sends it before long bodies."""
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(5):
            assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            writer.write(b"hi")
            heard = await reader.read()
        writer.close()
    assert b'{"length":2,"text":"hi"}' in heard


async def test_an_answer_to_somebody_who_left_harms_nobody() -> None:
    """The next request is served."""
    async with listening() as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        writer.transport.abort()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/echo", data=b"x") as response,
        ):
            assert response.status == 201


async def test_it_serves_under_a_plain_runner_too() -> None:
    """The application itself knows nothing of the shortcuts."""
    options = EdgeOptions(auth=AuthOptions(jwt_secret="s" * 32), body_max_bytes=BODY_MAX)
    services = cast("Services", SimpleNamespace(options=options))
    runner = web.AppRunner(make_app(services, ROUTES), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/nowhere") as response,
        ):
            assert (await response.json())["code"] == "not_found"
    finally:
        await runner.cleanup()
