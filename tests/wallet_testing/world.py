"""A node with a ledger in memory, on virtual time: what the tests of the engine act on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from wallet_engine.actor import WalletActor
from wallet_engine.commands import Ask
from wallet_engine.journal import Answer
from wallet_engine.limits import Limits
from wallet_engine.node import Node
from wallet_engine.settings import Settings
from wallet_engine.wallet import Entry

from .audits import audited
from .builders import ORG, T0_MS, credit
from .clock import LoopClock
from .ledgers import FaultyLedger
from .virtual_time import virtual_loop

TIMEOUT_S = 5.0
"""How long an asker waits, unless the test says otherwise."""

QUIET_TURNS = 200
"""After so many turns of the loop whatever needs no time has happened."""


class Killed(NamedTuple):
    """A call was told to end; `journaled`: the decision was durable by then."""

    call_id: str
    reason: str
    since_ms: int
    at_ms: int
    journaled: bool


@dataclass
class RecordingEffects:
    """Notes what the engine set off, and that only durable entries did."""

    clock: LoopClock
    ledger: FaultyLedger
    killed: list[Killed] = field(default_factory=list)
    final: list[tuple[str, int]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    early: list[Entry] = field(default_factory=list)
    call_on_entry: Callable[[], object] = lambda: None

    def call_killed(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        journaled = self.ledger.rows[org_id].holds[call_id].killed
        self.killed.append(Killed(call_id, reason, since_ms, self.clock.now_ms(), journaled))

    def call_final(self, org_id: str, call_id: str, ends_ms: int) -> None:
        assert org_id
        self.final.append((call_id, ends_ms))

    def call_ended(self, org_id: str, call_id: str) -> None:
        assert org_id
        self.ended.append(call_id)

    def call_left(self, org_id: str, call_id: str) -> None:
        assert org_id
        self.left.append(call_id)

    def decided(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self.ledger.rows[entry.org_id].keys.get(entry.key) != entry:
            self.early.append(entry)
        self.call_on_entry()


@dataclass
class RecordingStats:
    """Notes what the engine counted."""

    answers: list[tuple[str, str, str]] = field(default_factory=list)
    groups: list[tuple[int, int]] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    forwards: list[str] = field(default_factory=list)
    kill_seconds: list[float] = field(default_factory=list)

    def decided(self, verb: str, outcome: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((verb, outcome, code))

    def committed(self, wallets: int, entries: int, seconds: float) -> None:
        assert seconds >= 0
        self.groups.append((wallets, entries))

    def killed(self, seconds: float) -> None:
        self.kill_seconds.append(seconds)

    def fenced(self, cause: str) -> None:
        self.causes.append(cause)

    def forwarded(self, outcome: str) -> None:
        self.forwards.append(outcome)


@dataclass
class World:
    """One node, and all it touches."""

    clock: LoopClock
    ledger: FaultyLedger
    effects: RecordingEffects
    stats: RecordingStats
    node: Node

    async def ask(self, ask: Ask, *, timeout_s: float = TIMEOUT_S) -> Answer:
        """Ask, and wait for the answer."""
        return await self.node.ask(ask, timeout_s=timeout_s)

    async def asking(self, *asks: Ask, timeout_s: float = TIMEOUT_S) -> list[asyncio.Task[Answer]]:
        """Ask all of `asks`, in this order, and let happen what needs no time."""
        tasks = [asyncio.create_task(self.ask(ask, timeout_s=timeout_s)) for ask in asks]
        for task in tasks:
            task.add_done_callback(_seen)
        await self.quiet()
        return tasks

    async def quiet(self) -> None:
        """Let happen whatever needs no time."""
        for _ in range(QUIET_TURNS):
            await asyncio.sleep(0)  # one turn of the loop

    async def pass_time(self, *, seconds: float) -> None:
        """Let time pass, and then happen what needs none."""
        await asyncio.sleep(seconds)
        await self.quiet()

    async def until(self, *, seconds: float) -> None:
        """Let time pass until the test is `seconds` old."""
        await self.pass_time(seconds=max(0.0, seconds - self.clock.elapsed_s))

    def actor(self, org_id: str = ORG) -> WalletActor:
        """Return the actor of a wallet that is in memory."""
        actor = self.node.residents.get(org_id)
        assert actor is not None
        return actor

    def in_memory(self) -> set[str]:
        """Return whose wallets are in memory."""
        return {actor.org_id for actor in self.node.residents}

    async def crash(self) -> None:
        """Die: nothing is finished, nothing is given up."""
        for task in self.node._tasks:
            task.cancel()
        await self.quiet()

    def told(self) -> dict[str, str]:
        """Return which calls were told to end, and why first."""
        told: dict[str, str] = {}
        for one in self.effects.killed:
            told.setdefault(one.call_id, one.reason)
        return told

    def second_of(self, entry: Entry) -> float:
        """Return how old the test was when `entry` was decided."""
        return (entry.at_ms - T0_MS) / 1000

    def rows(self, type_: str, org_id: str = ORG) -> list[Entry]:
        """Return the durable rows of one type."""
        return [entry for entry in self.journal(org_id) if entry.type == type_]

    def journal(self, org_id: str = ORG) -> list[Entry]:
        """Return what is durable."""
        return self.ledger.rows[org_id].journal

    def types(self, org_id: str = ORG) -> list[str]:
        """Return the types of the durable rows, without the opening credit."""
        return [entry.type for entry in self.journal(org_id)][1:]

    def balance(self, org_id: str = ORG) -> int:
        return self.ledger.rows[org_id].balance_pence

    def held(self, org_id: str = ORG) -> int:
        return self.ledger.rows[org_id].held_pence

    def audit(self) -> list[str]:
        """Audit every wallet as stored."""
        return [
            line
            for org_id, row in self.ledger.rows.items()
            for line in audited(org_id, row, self.node.defaults)
        ]


def _seen(task: asyncio.Task[Answer]) -> None:
    """Look at an error at once: the test will, or has failed already."""
    if not task.cancelled():
        task.exception()


def new_node(
    ledger: FaultyLedger,
    *,
    number: int = 1,
    settings: Settings | None = None,
    limits: Limits | None = None,
) -> World:
    """Return a node that is not started yet, on a ledger that may be shared."""
    clock = LoopClock(virtual_loop())
    effects = RecordingEffects(clock, ledger)
    stats = RecordingStats()
    node = Node(
        node_id=f"node-{number}",
        boot_id=f"boot-{number}",
        ledger=ledger,
        clock=clock,
        effects=effects,
        stats=stats,
        defaults=settings or Settings(),
        limits=limits or Limits(),
    )
    return World(clock, ledger, effects, stats, node)


@asynccontextmanager
async def a_world(
    balance_pence: int = 1000,
    *,
    orgs: Sequence[str] = (ORG,),
    settings: Settings | None = None,
    limits: Limits | None = None,
    ledger: FaultyLedger | None = None,
    number: int = 1,
) -> AsyncIterator[World]:
    """Run a node.  Each of `orgs` has `balance_pence`, unless the ledger comes from outside.

    In the end the audit must find nothing, and no effect may have come before its entry was
    durable.
    """
    made = ledger or FaultyLedger(LoopClock(virtual_loop()))
    world = new_node(made, number=number, settings=settings, limits=limits)
    await world.node.start()
    if ledger is None:
        for org_id in orgs:
            made.create(org_id)
            if balance_pence:
                await world.ask(credit(balance_pence, key="opening", org_id=org_id))
    try:
        yield world
    finally:
        await world.node.stop(grace_s=2.0)
    assert world.audit() == []
    assert world.effects.early == []
