"""Clients who hang up in the middle: what was not asked for whole is not done."""

import asyncio
import socket
import struct
from enum import StrEnum

from wallet_testing.processes import POLL_S, Stage, until
from wallet_testing.recorder import Request

CLIENTS = 100
WHOLE_EVERY = 4
"""Each fourth client sends its whole request before it hangs up."""

OPENING_PENCE = 100_000
ORG = "hang-up"

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST.  Source: socket(7)."""


class Goodbye(StrEnum):
    """How a client hangs up."""

    CLOSE = "close"
    RESET = "reset"
    HALF = "half-closed, then closed"


async def test_a_hundred_clients_hang_up(stage: Stage) -> None:
    """Only whole requests hold money, a retry is a duplicate, and all of it can be released."""
    await stage.org(ORG, OPENING_PENCE)
    requests = [
        Request(verb="reserve", org_id=ORG, fields={"call_id": f"call-{number}"})
        for number in range(CLIENTS)
    ]
    whole = {str(it.fields["call_id"]) for it in requests[::WHOLE_EVERY]}

    await asyncio.gather(
        *(hang_up(stage, number, request) for number, request in enumerate(requests))
    )

    async def most_are_done() -> bool:
        return len(await stage.held(ORG)) >= len(whole) // 2

    await until(most_are_done, "holds of the requests that were sent whole")
    held_before = set(await stage.held(ORG))
    assert held_before <= whole

    retried = {
        str(it.fields["call_id"]): await stage.recorder.ask(it) for it in requests[::WHOLE_EVERY]
    }
    assert held_before <= {call_id for call_id, it in retried.items() if it.duplicate}
    assert all(answer.acknowledged for answer in retried.values())
    assert set(await stage.held(ORG)) == whole

    for call_id in whole:
        fields = {"call_id": call_id, "reason": "the caller hung up"}
        released = await stage.recorder.ask(Request(verb="release", org_id=ORG, fields=fields))
        assert released.status == 201
    assert await stage.held(ORG) == {}
    assert await stage.held_pence(ORG) == 0
    assert await stage.faults() == []


async def hang_up(stage: Stage, number: int, request: Request) -> None:
    """Send a request whole, or up to some byte of it, and hang up in one of three ways."""
    raw = stage.raw(request)
    # The offsets of the partial ones are spread over the whole request, its last byte included.
    end = len(raw) if number % WHOLE_EVERY == 0 else (len(raw) - 1) * number // (CLIENTS - 1)
    goodbye = tuple(Goodbye)[number % len(Goodbye)]
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", stage.node.port))
        await loop.sock_sendall(client, raw[:end])
        if goodbye is Goodbye.HALF:
            client.shutdown(socket.SHUT_WR)
            await asyncio.sleep(POLL_S)  # long enough for the node to see it, or to answer
        if goodbye is Goodbye.RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
