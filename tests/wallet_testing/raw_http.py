"""HTTP as bytes: what a well-behaved client cannot send, and answers read with suspicion."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ANSWER_S_MAX = 20.0
"""How long an answer may take on a busy machine; past it the node hangs."""

HEAD_END = b"\r\n\r\n"
LINE = re.compile(rb"HTTP/(?:0\.9|1\.[01]) ([0-9]{3}) ([^\r\n]*)")
OURS = re.compile(rb"Traceback|aiohttp|python|asyncpg|/site-packages|\.py\b", re.IGNORECASE)
"""What would tell which libraries there are, or where something failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as it came over the wire."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:  # noqa: ANN401  # JSON
        """What the JSON says."""
        return json.loads(self.raw)

    def faults(self) -> list[str]:
        """Return what an answer of this program may not be."""
        found = []
        if self.status >= 500:
            found.append(f"status {self.status}")
        if not self.headers.get("x-request-id"):
            found.append("no X-Request-Id")
        if self.headers.get("server") != "wallet":
            found.append(f"Server: {self.headers.get('server')}")
        if self.status >= 400:
            found += self._faults_of_error()
        return found

    def _faults_of_error(self) -> list[str]:
        if self.headers.get("content-type") != "application/json":
            return [f"an error of type {self.headers.get('content-type')}"]
        if self.raw and not {"error", "code"} <= set(self.body):
            return [f"an error without its parts: {self.raw!r}"]
        return [f"it tells of our insides: {self.raw!r}"] if OURS.search(self.raw) else []


@dataclass(slots=True)
class Exchange:
    """What was heard on one connection until it was closed, or until nothing more can come."""

    answers: list[Answer] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    rest: bytes = b""
    closed: bool = False


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Return a request, as wrong as its parts are."""
    return b"\r\n".join((line, *headers)) + HEAD_END + body


def post(path: bytes, body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """Return a POST whose length may be told wrongly."""
    told = len(body) if length is None else length
    line = b"POST " + path + b" HTTP/1.1"
    return request(line, b"Host: x", b"Content-Length: %d" % told, *headers, body=body)


async def exchange(port: int, *pieces: bytes, answers: int = 0) -> Exchange:
    """Send `pieces` one by one, and hear until so many `answers`, or the end if that is 0.

    The pieces come in different packets, unless the node hangs up between them.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = Exchange()
    try:
        for piece in pieces:
            writer.write(piece)
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)  # so that the next piece is a packet of its own
        async with asyncio.timeout(ANSWER_S_MAX):
            await _hear(reader, found, answers)
    finally:
        writer.close()
    return found


async def _hear(reader: asyncio.StreamReader, found: Exchange, answers: int) -> None:
    while not answers or len(found.answers) < answers:
        try:
            head = await reader.readuntil(HEAD_END)
        except asyncio.IncompleteReadError as error:
            found.rest, found.closed = error.partial, True
            return
        except ConnectionError:
            found.closed = True
            return
        line, *lines = head[: -len(HEAD_END)].split(b"\r\n")
        matched = LINE.fullmatch(line)
        assert matched is not None, f"no status line: {line!r}"
        status = int(matched[1])
        if status < 200:
            found.interim.append(status)
            continue
        headers = _headers_of(lines)
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        found.answers.append(Answer(status, headers, raw))


def _headers_of(lines: Sequence[bytes]) -> dict[str, str]:
    pairs = [line.decode("latin-1").split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), f"a header twice: {lines!r}"
    return headers
