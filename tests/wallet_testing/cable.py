"""A TCP path to a server that loses what it is told to lose, and can be cut on one side only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 20

SYNC = b"S\0\0\0\x04"
"""The message that makes Postgres commit.  Source: the Postgres manual, message formats."""


class Cable:
    """Passes bytes on between clients and one server.

    `lose_answers`: nothing of what the server says arrives.  `lose_syncs`: the last message of
    a request gets lost, and all that its client says after that.  `lost` is set when either has
    happened.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._servers: set[asyncio.StreamWriter] = set()
        self.lose_answers = False
        self.lose_syncs = False
        self.lost = asyncio.Event()
        self.port = 0

    def cut(self) -> None:
        """Cut the clients off.  The server does not notice: its side stays open."""
        for client in self._clients:
            client.transport.abort()
        self._clients.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lay one connection through."""
        there, back = await asyncio.open_connection(HOST, self._target_port)
        self._clients.add(writer)
        self._servers.add(back)
        for work in (self._requests(reader, writer, back), self._answers(there, writer)):
            self._tasks.add(asyncio.create_task(work))

    async def close(self) -> None:
        """Stop passing anything on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in (*self._clients, *self._servers):
            writer.transport.abort()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self.lose_syncs and chunk.endswith(SYNC):
                    server.write(chunk.removesuffix(SYNC))
                    self.lost.set()
                    return
                server.write(chunk)
        if client in self._clients:  # it went by itself
            server.close()

    async def _answers(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self.lose_answers:
                    self.lost.set()
                else:
                    client.write(chunk)
        client.close()


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
