"""A TCP path to a server that is slow, silent, or loses what it is told to lose.

It knows what each of its connections is for, by the name that the client gave to Postgres.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 20

SYNC = b"S\0\0\0\x04"
"""The message that makes Postgres commit.  Source: the Postgres manual, message formats."""

ROLE = re.compile(rb"application_name\0wallet-([a-z]+):")
"""What a node's connection is for, in its first message: `postgres.Access.application_name`."""


class Link:
    """One connection through a cable: its client's end, its server's end, its role."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.role = ""

    def read(self, chunk: bytes) -> None:
        """Learn the role, if this is the message that names it."""
        if not self.role and (found := ROLE.search(chunk)):
            self.role = found[1].decode()


class Cable:
    """Passes bytes on between clients and one server.

    `request_delay_s`, `answer_delay_s`: how long each piece is under way.  `lose_answers`:
    nothing of what the server says arrives.  `lose_syncs`: the last message of a request gets
    lost, and all that its client says after that.  `lose_after`: of the next request only this
    share arrives, and nothing after that.  `of_role`: only connections of that role lose
    something; all by default.  `lost` is set when something was.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._orphans: set[Link] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self.request_delay_s = 0.0
        self.answer_delay_s = 0.0
        self.lose_answers = False
        self.lose_syncs = False
        self.lose_after: float | None = None
        self.of_role = ""
        self.lost = asyncio.Event()
        self.port = 0

    def cut(self) -> None:
        """Cut the clients off.  The server does not notice: its side stays open."""
        for link in self._links:
            link.client.transport.abort()
        self._orphans |= self._links
        self._links.clear()

    def end_orphans(self) -> None:
        """Let the server notice whom `cut` took from it, as its keep-alives would."""
        for link in self._orphans:
            link.server.transport.abort()
        self._orphans.clear()

    def hold(self) -> None:
        """Let nothing through in either direction; it is not lost, and nobody is told."""
        self._passes.clear()

    def release(self) -> None:
        """Let through what was held, and all that follows."""
        self._passes.set()

    def heal(self) -> None:
        """Be a good cable again, as far as that goes: what was lost stays lost."""
        self.request_delay_s = self.answer_delay_s = 0.0
        self.lose_answers = self.lose_syncs = False
        self.lose_after = None
        self.of_role = ""
        self.lost.clear()
        self.release()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lay one connection through."""
        try:
            there, back = await asyncio.open_connection(HOST, self.target_port)
        except OSError:  # nobody is there: who connected shall see that too
            writer.transport.abort()
            return
        link = Link(writer, back)
        self._links.add(link)
        for work in (self._requests(reader, link), self._answers(there, link)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop passing anything on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in (*self._links, *self._orphans):
            link.client.transport.abort()
            link.server.transport.abort()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _requests(self, reader: asyncio.StreamReader, link: Link) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                link.read(chunk)
                await asyncio.sleep(self.request_delay_s)
                await self._passes.wait()
                kept = self._kept(chunk, link)
                link.server.write(kept)
                if len(kept) < len(chunk):
                    self.lost.set()
                    return
        if link in self._links:  # it went by itself
            link.server.close()

    def _kept(self, request: bytes, link: Link) -> bytes:
        """Return what arrives of a request."""
        if not self._concerns(link):
            return request
        if self.lose_syncs:
            return request.removesuffix(SYNC)
        if self.lose_after is not None:
            kept = request[: max(1, int(len(request) * self.lose_after))]
            self.lose_after = None
            return kept
        return request

    async def _answers(self, reader: asyncio.StreamReader, link: Link) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await asyncio.sleep(self.answer_delay_s)
                await self._passes.wait()
                if self.lose_answers and self._concerns(link):
                    self.lost.set()
                else:
                    link.client.write(chunk)
        self._links.discard(link)
        link.client.close()
        link.server.close()

    def _concerns(self, link: Link) -> bool:
        return self.of_role in {"", link.role}


@asynccontextmanager
async def cable_to(dsn: str) -> AsyncIterator[tuple[Cable, str]]:
    """Lay a cable to the server of `dsn`; give it, and the DSN that goes through it."""
    parts = urlsplit(dsn)
    assert parts.port is not None
    cable = Cable(parts.port)
    server = await asyncio.start_server(cable.connected, HOST, 0)
    cable.port = server.sockets[0].getsockname()[1]
    account = parts.netloc.rpartition("@")[0]
    try:
        yield cable, urlunsplit(parts._replace(netloc=f"{account}@{HOST}:{cable.port}"))
    finally:
        server.close()
        await cable.close()
