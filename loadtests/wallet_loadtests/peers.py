"""What it costs to have another node decide: CPU of both processes, for each ask.

Two real processes, each on uvloop: one asks, with so many asks always in flight, the other answers
at once with what a charge is answered with.  Beside it, in the same rounds, the yardstick: the CPU
that a bare aiohttp server takes to give back the body of such a charge.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import uvloop
from aiohttp import ClientSession

from wallet_engine.commands import CALL_DEDUCTION, Ask, Deduct, SpendClass
from wallet_engine.journal import Answer, Outcome
from wallet_http.peers import Credentials, PeerServer, TcpPeers
from wallet_persistence.embedded import free_port

from .echo import HOST, echo_server
from .usage import cpu_s

SECRET = b"of two processes that measure"
LONG_S = 60.0
WARM_UP_ASKS = 5000
US = 1_000_000

HEAD = (
    "| decided by | asking µs | answering µs | both µs | against echo | asks/s |",
    "|---|---|---|---|---|---|",
)

FUTURE, TASK = "future", "task"
"""What answers: a function that returns a future, or a coroutine that waits for one."""

BODY = (
    b'{"org_id":"org-12345678","amount_pence":56,"class":"call","type":"call_deduction",'
    b'"description":"call of 42 s"}'
)

ANSWER = Answer(
    Outcome.CREATED,
    {
        "org_id": "org-12345678",
        "duplicate": False,
        "seq": 123,
        "type": CALL_DEDUCTION,
        "balance_before_pence": 1000,
        "balance_after_pence": 944,
        "effective_balance_pence": 944,
        "held_pence": 0,
        "charged_pence": 56,
        "needs_recharge": False,
        "in_debt": False,
        "remaining_debt_capacity_pence": 1444,
    },
)

Decide = Callable[[Ask], Awaitable[Answer]]


@dataclass(slots=True)
class Figures:
    """What the rounds showed of one way, each: CPU in µs for each ask, and asks a second."""

    asking_us: list[float] = field(default_factory=list)
    answering_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def both_us(self) -> float:
        return median(a + b for a, b in zip(self.asking_us, self.answering_us, strict=True))


# --- the two processes ------------------------------------------------------------------------


def decided_at_once(_ask: Ask, _timeout_s: float) -> asyncio.Future[Answer]:
    """Answer in the next turn of the event loop, as a lane that commits would."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()
    loop.call_soon(answer.set_result, ANSWER)
    return answer


async def decided_in_a_task(ask: Ask, timeout_s: float) -> Answer:
    """Answer likewise, from a coroutine."""
    return await decided_at_once(ask, timeout_s)


async def answer_asks(port: int, way: str) -> None:
    """Answer until the other process is gone."""
    server = PeerServer(
        Credentials(token="answers:1", secret=SECRET),
        serve=decided_at_once if way == FUTURE else decided_in_a_task,
        poked=lambda: None,
        host=HOST,
        port=port,
    )
    await server.start()
    print("ready", flush=True)
    await _line()
    await server.close(grace_s=1.0)


async def ask_asks(port: int, in_flight: int, count: int) -> None:
    """Ask so much for each line that comes in, of the other process (0: of this one)."""
    peers = TcpPeers(Credentials(token="asks:1", secret=SECRET))
    address = f"{HOST}:{port}"

    async def far(ask: Ask) -> Answer:
        return await peers.ask(address, ask, timeout_s=LONG_S)

    async def near(ask: Ask) -> Answer:
        return await decided_at_once(ask, LONG_S)

    decide = far if port else near
    await volley(decide, in_flight, WARM_UP_ASKS)
    print("ready", flush=True)
    while await _line():
        started_s = perf_counter()
        await volley(decide, in_flight, count)
        print(perf_counter() - started_s, flush=True)
    await peers.close(grace_s=1.0)


async def volley(decide: Decide, in_flight: int, count: int) -> None:
    """Have `count` asks decided, so many at a time."""

    async def work(asks: Iterator[Ask]) -> None:
        for ask in asks:  # shared by all who work
            answer = await decide(ask)
            assert answer.body["org_id"] == "org-12345678"

    asks = charges(count)
    await asyncio.gather(*(work(asks) for _ in range(in_flight)))


def charges(count: int) -> Iterator[Ask]:
    for number in range(count):
        yield Deduct(
            org_id="org-12345678",
            client_key=f"4c2e8a10-7d41-4a52-9a4e-{number:012d}",
            amount_pence=56,
            spend_class=SpendClass.CALL,
            type=CALL_DEDUCTION,
            description="call of 42 s",
        )


async def _line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


# --- what measures them -----------------------------------------------------------------------


async def measure_peers(*, rounds: int, count: int, in_flight: int) -> str:
    """Return the figures as a table in Markdown."""
    far, tasked, near = Figures(), Figures(), Figures()
    echo_us: list[float] = []
    async with (
        _pair(FUTURE, in_flight, count) as by_future,
        _pair(TASK, in_flight, count) as by_task,
        _running("ask", 0, in_flight, count) as alone,
        echo_server() as echo,
        ClientSession() as session,
    ):
        for _ in range(rounds):
            await _round(far, *by_future, count=count)
            await _round(tasked, *by_task, count=count)
            await _round(near, alone, alone, count=count)
            near.answering_us[-1] = 0.0  # it is the same process
            before_s = cpu_s([echo.pid])
            await _echoes(session, echo.url, in_flight, count // 4)
            echo_us.append((cpu_s([echo.pid]) - before_s) / (count // 4) * US)
    yardstick_us = median(echo_us)
    rows = [
        f"| {name} | {median(it.asking_us):.1f} | {median(it.answering_us):.1f} | "
        f"{it.both_us():.1f} | {it.both_us() / yardstick_us:.2f} | {median(it.rates):.0f} |"
        for name, it in (
            ("another node, by a future", far),
            ("another node, by a task", tasked),
            ("this process, no channel", near),
        )
    ]
    conditions = (
        f"CPU for each ask, {in_flight} in flight; median of {rounds} rounds of {count} asks. "
        f"A bare aiohttp echo takes {yardstick_us:.1f} µs for a request."
    )
    return "\n".join([*HEAD, *rows, "", conditions])


async def _round(
    figures: Figures,
    asking: asyncio.subprocess.Process,
    answering: asyncio.subprocess.Process,
    *,
    count: int,
) -> None:
    before = cpu_s([asking.pid]), cpu_s([answering.pid])
    assert asking.stdin is not None
    assert asking.stdout is not None
    asking.stdin.write(b"go\n")
    took_s = float(await asking.stdout.readline())
    figures.asking_us.append((cpu_s([asking.pid]) - before[0]) / count * US)
    figures.answering_us.append((cpu_s([answering.pid]) - before[1]) / count * US)
    figures.rates.append(count / took_s)


async def _echoes(session: ClientSession, url: str, in_flight: int, count: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            async with session.post(f"{url}/v1/deduct", data=BODY) as response:
                assert await response.read() == BODY

    await asyncio.gather(*(work() for _ in range(in_flight)))


@asynccontextmanager
async def _pair(
    way: str, in_flight: int, count: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.subprocess.Process]]:
    port = free_port()
    async with (
        _running("answer", port, way) as answering,
        _running("ask", port, in_flight, count) as asking,
    ):
        yield asking, answering


@asynccontextmanager
async def _running(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of the two processes until it is ready; it ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["answer", port, way]:
            uvloop.run(answer_asks(int(port), way))
        case ["ask", port, in_flight, count]:
            uvloop.run(ask_asks(int(port), int(in_flight), int(count)))
        case _:
            sys.exit("answer <port> <way> | ask <port> <in flight> <count>")
