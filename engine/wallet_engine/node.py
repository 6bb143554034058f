"""The node: one process's wallets, and `ask`, the one way to reach any of them."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from . import care
from .activator import Activator
from .actor import WalletActor
from .commands import Ask
from .errors import (
    DeadlinePassed,
    LedgerError,
    Overloaded,
    UnknownOrg,
)
from .journal import Answer
from .lane import CommitLane
from .limits import Limits
from .mailbox import Decided, Due, Envelope, Phase
from .ports import Clock, Effects, Ledger, Stats
from .prober import Prober
from .settings import Settings
from .sharding import SHARD_COUNT
from .timers import Armed, Timers

log = logging.getLogger(__name__)

ALL_SHARDS = tuple(range(SHARD_COUNT))
TICK_S = 0.05
"""How late a deadline may be noticed."""
SWEEP_AHEAD_MS = 5_000
SWEEP_LIMIT = 10_000
NEVER_S = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCounts:
    """How much there is of what.  `ledger_ok`: the last contact with the ledger was good."""

    wallets: int
    live_calls: int
    waiting: int
    undurable: int
    ledger_ok: bool


class Node:
    """Owns the actors of this process and the tasks that serve them.

    Everything runs in one event loop.  A caller who is cancelled stops waiting and nothing
    else: what was decided is written all the same.
    """

    def __init__(  # one value per port
        self,
        *,
        node_id: str,
        boot_id: str,
        ledger: Ledger,
        clock: Clock,
        effects: Effects,
        stats: Stats,
        defaults: Settings,
        limits: Limits,
    ) -> None:
        self.node_id = node_id
        self.boot_id = boot_id
        self.ledger = ledger
        self.clock = clock
        self.effects = effects
        self.stats = stats
        self.defaults = defaults
        self.limits = limits
        self.fleet_stopped = False
        self.fleet_ends_calls = False
        self.undurable = 0
        self.lane = CommitLane(self)
        self.prober = Prober(self)
        self.activator = Activator(self)
        self.timers = Timers(self)
        self._actors: OrderedDict[str, WalletActor] = OrderedDict()
        self._unknown: dict[str, float] = {}
        self._waiting: dict[float, deque[Envelope]] = {}
        self._asking = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._ledger_ok = True
        self.loop_time: Callable[[], float] = lambda: 0.0

    # --- asking -------------------------------------------------------------------------------

    async def ask(self, ask: Ask, *, timeout_s: float) -> Answer:
        """Have `ask` decided by its wallet, and return the answer once it is durable.

        Raises:
            UnknownOrg: there is no such wallet.
            Overloaded: a bound is reached; nothing was decided.
            DeadlinePassed: no answer within `timeout_s`; a retry with the same key tells more.
            LedgerUnavailable: the ledger cannot be reached; nothing was written.
            LedgerFault: the ledger refuses this very command; nothing was written.
            InvalidCommand: the wallet cannot be given these settings.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        actor = self._actor(ask.org_id, now_s)
        reply: asyncio.Future[Answer] = loop.create_future()
        envelope = Envelope(ask, posted_s=now_s, deadline_s=now_s + timeout_s, reply=reply)
        actor.post(envelope)
        if not reply.done():
            self._wait_in_line(envelope, timeout_s)
        self._asking += 1
        try:
            return await reply
        except Exception as error:
            self.stats.decided(ask.verb, "error", type(error).__name__, loop.time() - now_s)
            raise
        finally:
            self._asking -= 1

    def _actor(self, org_id: str, now_s: float) -> WalletActor:
        if self._stopping:
            raise Overloaded("This node is shutting down.")
        actor = self._actors.get(org_id)
        if actor is None:
            actor = self._awake(org_id, now_s)
        else:
            self._actors.move_to_end(org_id)
            if (
                actor.waiting >= self.limits.mailbox_per_wallet
                or len(actor.pending) >= self.limits.undurable_per_wallet
            ):
                raise Overloaded("Too much waits in this wallet already.")
        if self.undurable >= self.limits.undurable_per_node:
            raise Overloaded("Too much waits to be written already.")
        if self._asking >= self.limits.waiting_per_node:
            raise Overloaded("Too many wait on this node already.")
        actor.used_s = now_s
        return actor

    def _awake(self, org_id: str, now_s: float) -> WalletActor:
        """Return a new actor for a wallet that is not in memory, and have it loaded."""
        unknown_until_s = self._unknown.get(org_id)
        if unknown_until_s is not None and now_s < unknown_until_s:
            raise UnknownOrg(org_id)
        if len(self._actors) >= self.limits.wallets_max and not self._evict(1):
            raise Overloaded("Too many wallets are in use on this node.")
        actor = self._actors[org_id] = WalletActor(org_id, self)
        self.activator.request(actor, urgent=True)
        return actor

    def _wait_in_line(self, envelope: Envelope, timeout_s: float) -> None:
        """Have the deadline of `envelope` watched, with all others of the same time-out."""
        line = self._waiting.get(timeout_s)
        if line is None:
            line = self._waiting[timeout_s] = deque()
        line.append(envelope)

    def post_own(self, ask: Ask, then: Callable[[Decided], None] | None = None) -> None:
        """Post what the engine asks of itself; `then` hears the outcome, if there is one."""
        actor = self._actors.get(ask.org_id)
        if actor is not None:
            now_s = self.loop_time()
            actor.post(Envelope(ask, posted_s=now_s, deadline_s=NEVER_S, reply=None, then=then))

    def hold_due(self, due: Due, armed: Armed) -> None:
        """A timer fired.  While the ledger is away, time that was durably paid still ends."""
        actor = self._actors.get(due.org_id)
        if actor is None:
            return
        self.post_own(due)
        over = armed.managed and not armed.killed and self.clock.now_ms() >= armed.ends_ms
        if over and actor.phase is not Phase.ACTIVE:
            self.effects.call_killed(
                due.org_id, due.call_id, care.OUT_OF_MONEY, since_ms=armed.ends_ms
            )

    def count_answer(self, envelope: Envelope, answer: Answer) -> None:
        """Count an answer that went out."""
        code = "" if answer.code is None else answer.code.value
        seconds = self.loop_time() - envelope.posted_s
        self.stats.decided(envelope.ask.verb, answer.outcome.value, code, seconds)

    # --- what is known of orgs ------------------------------------------------------------------

    def unknown(self, org_id: str) -> None:
        """Remember briefly that there is no such org, so that asking again costs nothing."""
        if len(self._unknown) >= self.limits.unknown_max:
            self._unknown.clear()
        self._unknown[org_id] = self.loop_time() + self.limits.unknown_s

    def welcome(self, org_id: str) -> None:
        """An org was created: forget that it was unknown."""
        self._unknown.pop(org_id, None)

    def forget(self, actor: WalletActor) -> None:
        """Let an actor leave memory."""
        if self._actors.get(actor.org_id) is actor:
            del self._actors[actor.org_id]

    def stop_fleet(self, *, stopped: bool, end_live_calls: bool) -> None:
        """Stop or resume the whole fleet, and end all live calls if that is wanted."""
        ends_calls = stopped and end_live_calls
        begins = ends_calls and not self.fleet_ends_calls
        self.fleet_stopped = stopped
        self.fleet_ends_calls = ends_calls
        if begins:
            for actor in list(self._actors.values()):
                care.end_live_calls(actor, care.FLEET_STOPPED)

    def counts(self) -> NodeCounts:
        """Count what is here."""
        return NodeCounts(
            wallets=len(self._actors),
            live_calls=len(self.timers),
            waiting=sum(actor.waiting for actor in self._actors.values()),
            undurable=self.undurable,
            ledger_ok=self._ledger_ok,
        )

    # --- living ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the tasks that serve the actors."""
        self.loop_time = asyncio.get_running_loop().time
        self._tasks = [
            asyncio.create_task(run, name=f"wallet-{name}")
            for name, run in (
                ("lane", self.lane.run()),
                ("prober", self.prober.run()),
                ("activator", self.activator.run()),
                ("timers", self.timers.run()),
                ("ticker", self._every(TICK_S, self._tick)),
                ("sweep", self._every(self.limits.sweep_s, self._sweep)),
            )
        ]

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Take nothing new, let what was decided become durable, give the wallets up."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace_s):
                while self._busy():  # noqa: ASYNC110  # once in a life, and no hot path pays
                    await asyncio.sleep(TICK_S / 5)
        except TimeoutError:
            log.error("stopping with %d decisions not yet durable", self.undurable)  # noqa: TRY400
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for actor in self._actors.values():
            actor.fail_all(DeadlinePassed("This node has shut down."))
        try:
            await self.ledger.release(sorted(self._actors), owner=self.boot_id)
        except LedgerError as error:
            log.warning("the wallets could not be given up, their tenure will end: %s", error)
        self._actors.clear()

    def _busy(self) -> bool:
        return not self.lane.idle or any(actor.waiting for actor in self._actors.values())

    async def _every(self, seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("a periodic task met a bug; it goes on")
            await asyncio.sleep(seconds)

    async def _tick(self) -> None:
        """Fail those whose deadline has passed."""
        now_s = self.loop_time()
        for line in self._waiting.values():
            while line and (line[0].given_up or line[0].deadline_s <= now_s):
                line.popleft().fail(
                    DeadlinePassed("No answer in time; a retry with the same key tells more.")
                )
        self._rest(now_s)

    def _rest(self, now_s: float) -> None:
        """Let wallets that are not used just now forget what the journal knows."""
        for actor in self._actors.values():
            if now_s - actor.used_s < self.limits.idle_s:
                return
            if actor.idle:
                actor.memory.shrink()

    async def _sweep(self) -> None:
        """Load the wallets whose holds fall due soon, and follow the ledger's clock."""
        try:
            due = await self.ledger.due(
                shards=ALL_SHARDS,
                before_ms=self.clock.now_ms() + SWEEP_AHEAD_MS,
                limit=SWEEP_LIMIT,
            )
            self._ledger_ok = True
        except LedgerError as error:
            self._ledger_ok = False
            log.warning("the ledger cannot be asked for due holds: %s", error)
            return
        for hold in due:
            if hold.org_id not in self._actors:
                self._load_in_background(hold.org_id)

    def _load_in_background(self, org_id: str) -> None:
        if len(self._actors) >= self.limits.wallets_max and not self._evict(1):
            return
        actor = self._actors[org_id] = WalletActor(org_id, self)
        self.activator.request(actor, urgent=False)

    def _evict(self, count: int) -> bool:
        """Let `count` wallets leave that nobody used for longest and that hold nothing."""
        leaving: Sequence[WalletActor] = [
            actor
            for actor, _ in zip(
                (a for a in self._actors.values() if a.idle and not a.holds_anything),
                range(count),
                strict=False,
            )
        ]
        for actor in leaving:
            actor.phase = Phase.GONE
            self.forget(actor)
        return len(leaving) == count
