"""A cable in a process of its own: busy clients do not make what passes through it late.

Each line on its standard input is one word for its cable, and a number if that needs one.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from .cable import HOST, cable_to


class DistantCable:
    """Tells a cable in another process what it shall do; see `Cable`."""

    def __init__(self, told: asyncio.StreamWriter) -> None:
        self._told = told

    def cut(self) -> None:
        """Cut the clients off."""
        self._tell("cut")

    def hold(self) -> None:
        """Let nothing through in either direction."""
        self._tell("hold")

    def release(self) -> None:
        """Let through what was held, and all that follows."""
        self._tell("release")

    def lead_to(self, port: int) -> None:
        """Lead whoever connects from now on to another server."""
        self._tell(f"lead_to {port}")

    def _tell(self, line: str) -> None:
        self._told.write(f"{line}\n".encode())


@asynccontextmanager
async def distant_cable_to(url: str) -> AsyncIterator[tuple[DistantCable, str]]:
    """Lay a cable to the server of `url`; give it, and the URL that goes through it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # pytest's may be its own
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        parts = urlsplit(url)
        account = parts.netloc.rpartition("@")[0]
        through = parts._replace(netloc=f"{account}@{HOST}:{port}")
        yield DistantCable(process.stdin), urlunsplit(through)
    finally:
        process.stdin.close()  # it ends with its standard input, so also with this process
        await process.wait()


async def _serve(url: str) -> None:
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(told), sys.stdin
    )
    async with cable_to(url) as (cable, _):
        print(cable.port, flush=True)
        while line := (await told.readline()).decode().split():
            match line:
                case ["lead_to", port]:
                    cable.target_port = int(port)
                case [word]:
                    {"cut": cable.cut, "hold": cable.hold, "release": cable.release}[word]()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
