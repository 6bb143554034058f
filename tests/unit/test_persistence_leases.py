"""Leases without a Redis: wrong addresses, and strangers; no password gets into a text."""

import asyncio

import pytest

from wallet_engine.errors import LeasesUnavailable
from wallet_persistence.leases import RedisLeases


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@127.0.0.1:6379",
        "redis://:hunter2/x@127.0.0.1:6379/0",
        "redis://:hunter2@127.0.0.1:6379/0?colour=blue",
        "redis://:hunter2@127.0.0.1:6379/0?db=hunter2",
        "redis://:hunter2@127.0.0.1:port/0",
        "redis://:hunter2@[::1/0",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    """A wrong address is refused at once, without being repeated."""
    with pytest.raises(ValueError, match="no address of a Redis") as caught:
        RedisLeases(url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("password", ["hunter2", "hunter%2F2"])
async def test_what_echoes_is_not_repeated(password: str) -> None:
    """Something that is no Redis and answers with what it was sent gives no password away."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = await reader.read(1000)
        writer.write(b"-ERR unknown command: " + sent.replace(b"\r\n", b" ") + b"\r\n")
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        leases = RedisLeases(f"redis://:{password}@127.0.0.1:{port}/0", timeout_s=30)
        with pytest.raises(LeasesUnavailable, match="unknown command") as caught:
            await leases.leave(token="node-1:a", give={})

    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__
    await leases.close()
