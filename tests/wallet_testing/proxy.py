"""A TCP proxy that holds answers back: what was done is done, and nobody has heard of it yet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 65_536
HOST = "127.0.0.1"


class SlowAnswers:
    """Passes requests on at once, and answers after `delay_s`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["SlowAnswers"]:
        """Listen on a free port for as long as the block runs."""
        server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection(HOST, self._target_port)
        except OSError:  # nobody there: whoever connected shall see that too
            writer.close()
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, late=False))
                group.create_task(self._pass(there, writer, late=True))
        finally:
            self._tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool
    ) -> None:
        """Pass on what comes, until one side has closed; then close the other."""
        try:
            with suppress(OSError):
                while chunk := await reader.read(CHUNK_BYTES):
                    if late:
                        await asyncio.sleep(self.delay_s)
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
