"""Nodes that ask each other over real sockets, and what may stand between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from wallet_engine.commands import Ask, Look
from wallet_engine.journal import Answer, Outcome
from wallet_http.peers import Credentials, PeerLimits, PeerServer, TcpPeers
from wallet_http.peers.asks import table
from wallet_http.peers.codec import document_of, items_of
from wallet_http.peers.frames import FRAME_BYTES_MAX, Frame, FrameReader, Kind, frame
from wallet_http.peers.handshake import NONCE_BYTES, ClientHandshake, ServerHandshake

HOST = "127.0.0.1"
SECRET = b"known to all nodes of one cluster"
GRACE_S = 20.0
"""Long enough to show that nobody waits for it."""

LONG_S = 60.0
"""A deadline that no test reaches."""

IMPATIENT = PeerLimits(tick_s=0.05, connect_s=0.2)
"""For tests of what is noticed by waiting."""

CHUNK_BYTES = 1 << 16


def credentials(token: str = "a:1", secret: bytes = SECRET) -> Credentials:  # noqa: S107  # a name
    return Credentials(token=token, secret=secret)


async def until(true: Callable[[], object]) -> None:
    """Let the event loop turn until something has happened; the test's time-out is the limit."""
    while not true():  # noqa: ASYNC110  # what happens on real sockets sets no event
        await asyncio.sleep(0)  # each turn of the loop may bring it about


@dataclass
class Decider:
    """Decides asks at once by telling what was asked, or holds them until it is told."""

    holds: bool = False
    fails: Exception | None = None
    padding: str = ""
    asked: list[Ask] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    held: list[asyncio.Future[None]] = field(default_factory=list)
    decided: int = 0
    answered: list[Ask] = field(default_factory=list)
    cancelled: list[Ask] = field(default_factory=list)

    async def serve(self, ask: Ask, timeout_s: float) -> Answer:
        self.asked.append(ask)
        self.left_s.append(timeout_s)
        if self.holds:
            holding: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.held.append(holding)
            try:
                await holding
            except asyncio.CancelledError:
                self.cancelled.append(ask)
                raise
        if self.fails is not None:
            raise self.fails
        self.decided += 1
        self.answered.append(ask)
        return answer_to(ask, self.padding)

    def release(self) -> None:
        """Decide all that is held, in one turn of the event loop."""
        for holding in self.held:
            if not holding.done():
                holding.set_result(None)
        self.held.clear()


def answer_to(ask: Ask, padding: str = "") -> Answer:
    return Answer(Outcome.CREATED, {"org_id": ask.org_id, "padding": padding})


@dataclass
class Unheard:
    """The answers that nobody waited for any more."""

    heard: list[tuple[Ask, Answer | None]] = field(default_factory=list)

    def unheard(self, ask: Ask, answer: Answer | None) -> None:
        self.heard.append((ask, answer))


@dataclass
class Pokes:
    """How often somebody poked."""

    count: int = 0

    def poked(self) -> None:
        self.count += 1


@asynccontextmanager
async def answering(
    serve: Callable[[Ask, float], Awaitable[Answer]],
    *,
    port: int = 0,
    poked: Callable[[], None] = lambda: None,
    limits: PeerLimits | None = None,
    secret: bytes = SECRET,
) -> AsyncIterator[PeerServer]:
    """Run the answering end of a node."""
    server = PeerServer(
        credentials("b:1", secret), serve=serve, poked=poked, host=HOST, port=port, limits=limits
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close(grace_s=0.0)


@asynccontextmanager
async def asking(
    *,
    limits: PeerLimits | None = None,
    secret: bytes = SECRET,
    unheard: Callable[[Ask, Answer | None], None] = lambda _ask, _answer: None,
) -> AsyncIterator[TcpPeers]:
    """Run the asking end of a node."""
    peers = TcpPeers(credentials(secret=secret), limits=limits, unheard=unheard)
    try:
        yield peers
    finally:
        await peers.close(grace_s=0.0)


def looks(count: int) -> list[Ask]:
    return [Look(org_id=f"org-{number}") for number in range(count)]


def post(
    peers: TcpPeers, address: str, *asks: Ask, timeout_s: float = LONG_S
) -> list[asyncio.Task[Answer]]:
    """Ask all of it in one turn of the event loop."""
    return [asyncio.create_task(peers.ask(address, ask, timeout_s=timeout_s)) for ask in asks]


async def is_of_use(peers: TcpPeers, address: str) -> bool:
    """Whether another ask is answered; whatever was sent before has arrived by then."""
    return bool(await peers.ask(address, Look(org_id="later"), timeout_s=LONG_S))


async def has_nothing_in_mind(peers: TcpPeers) -> None:
    """See that no ask is waited for any more, nor remembered: closing waits for both."""
    async with asyncio.timeout(LONG_S):
        await peers.close(grace_s=2 * LONG_S)


async def raised(task: asyncio.Task[Answer]) -> type[BaseException]:
    """Return what comes instead of an answer."""
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, BaseException), outcome
    return type(outcome)


def at(port: int) -> str:
    return f"{HOST}:{port}"


class Tap:
    """Stands between two nodes, passes on what they say, and notes it; or does not, if told."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self.connections = 0
        self.cuts = 0
        self.hangs_up = False
        self.asked: list[Frame] = []
        self.answered: list[Frame] = []
        self.port = 0

    @property
    def address(self) -> str:
        return at(self.port)

    def freeze(self) -> None:
        """Read no more, and stay connected."""
        self._passes.clear()

    def thaw(self) -> None:
        """Read on."""
        self._passes.set()

    def cut(self) -> None:
        """Break all connections."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    def asks(self) -> list[int]:
        """Return how many asks each frame of asks had."""
        return [len(items_of(payload)) for kind, payload in self.asked if kind is Kind.ASKS]

    def answers(self) -> list[int]:
        """Return how many answers each frame of answers had."""
        return [len(items_of(payload)) for kind, payload in self.answered if kind is Kind.ANSWERS]

    def cancels(self) -> list[int]:
        """Return how many asks each frame of cancels called off."""
        return [len(items_of(payload)) for kind, payload in self.asked if kind is Kind.CANCELS]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        if self.hangs_up:
            writer.transport.abort()
            return
        there, here = await asyncio.open_connection(HOST, self._target_port)
        self._writers.append(here)
        for source, target, heard in ((reader, here, self.asked), (there, writer, self.answered)):
            task = asyncio.create_task(self._pass_on(source, target, heard))
            self._tasks.add(task)

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, heard: list[Frame]
    ) -> None:
        frames = FrameReader()
        frames.payload_bytes_max = FRAME_BYTES_MAX
        with suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                await self._passes.wait()
                heard += frames.feed(data)
                target.write(data)
                await target.drain()
        target.close()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def tapped(target_port: int) -> AsyncIterator[Tap]:
    """Stand between a server and its clients."""
    tap = Tap(target_port)
    server = await asyncio.start_server(tap.accept, HOST, 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        await tap.close()


class RawPeer:
    """Speaks to a server as no node would; knows the secret, if it wants to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._frames.payload_bytes_max = FRAME_BYTES_MAX
        self._come: list[Frame] = []

    async def hear(self) -> Frame:
        """Return the next frame; an EOFError says that there is none."""
        while not self._come:
            data = await self._reader.read(CHUNK_BYTES)
            if not data:
                raise EOFError
            self._come += self._frames.feed(data)
        return self._come.pop(0)

    async def hear_answers(self) -> list[list[Any]]:
        """Return the items of the next frame of answers."""
        while True:
            kind, payload = await self.hear()
            if kind is Kind.ANSWERS:
                return items_of(payload)

    async def is_hung_up_on(self) -> bool:
        """Whether the server ends the connection, however much it says before."""
        try:
            while True:
                await self.hear()
        except (EOFError, ConnectionError):
            return True

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, *items: list[Any]) -> None:
        self.say(frame(Kind.ASKS, document_of(items)))

    async def prove(self, *, says_table: bool = True) -> None:
        """Do the handshake, and say the table of asks."""
        handshake = ClientHandshake(credentials("raw:1"), bytes(NONCE_BYTES))
        kind, challenge = await self.hear()
        assert kind is Kind.CHALLENGE
        self.say(frame(Kind.PROOF, handshake.proof(challenge)[1]))
        kind, welcome = await self.hear()
        assert kind is Kind.WELCOME
        handshake.check(welcome)
        if says_table:
            self.say(frame(Kind.TABLE, table()))


@asynccontextmanager
async def raw_peer(port: int) -> AsyncIterator[RawPeer]:
    """Connect to a server."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield RawPeer(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_server(*says: bytes) -> AsyncIterator[str]:
    """Run a server that knows the secret, and answers whatever it is asked with `says`."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake = ServerHandshake(credentials("raw:1"), bytes(NONCE_BYTES))
        frames = FrameReader()
        frames.payload_bytes_max = FRAME_BYTES_MAX
        writer.write(frame(Kind.CHALLENGE, handshake.challenge()))
        while data := await reader.read(CHUNK_BYTES):
            for kind, payload in frames.feed(data):
                if kind is Kind.PROOF:
                    writer.write(frame(Kind.WELCOME, handshake.welcome(payload)[1]))
                elif kind is Kind.ASKS:
                    writer.writelines(says)
        writer.close()

    server = await asyncio.start_server(accept, HOST, 0)
    try:
        yield at(server.sockets[0].getsockname()[1])
    finally:
        server.close()
