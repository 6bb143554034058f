"""The node: one process's wallets, and `ask`, the one way to reach any of them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from . import care, unwanted
from .activator import Activator
from .actor import WalletActor
from .cluster.owning import ALONE, Owning
from .commands import Ask, Query, Reserve, Welcome
from .errors import (
    DeadlinePassed,
    LedgerError,
    NotMine,
    Overloaded,
    WalletError,
)
from .journal import Answer, Outcome
from .lane import CommitLane
from .limits import Limits
from .mailbox import Decided, Due, Envelope, Phase
from .patience import TICK_S, Patience
from .ports import Clock, Effects, Ledger, Stats
from .prober import Prober
from .reading import read_now
from .reasons import FLEET_STOPPED
from .residents import Residents
from .settings import Settings
from .sharding import shard_of
from .shards import Shards
from .timers import Armed, Timers

log = logging.getLogger(__name__)

NEVER_S = float("inf")
ENDS_AT_ONCE = 200
"""How many calls are told to end before others get a turn."""


class Reach(Protocol):
    """How an ask gets to its wallet."""

    def __call__(self, ask: Ask, *, timeout_s: float) -> Coroutine[Any, Any, Answer]:
        """Return what the wallet answers."""


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
        self.residents = Residents(self)
        self.lane = CommitLane(self)
        self.prober = Prober(self)
        self.activator = Activator(self)
        self.timers = Timers(self)
        self.patience = Patience(self)
        self.ownership: Owning = ALONE
        self.reach: Reach = self.decide
        self.shards = Shards(self)
        self._asking = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.ledger_ok = True
        self.loop_time: Callable[[], float] = lambda: 0.0

    # --- asking -------------------------------------------------------------------------------

    def ask(self, ask: Ask, *, timeout_s: float) -> Coroutine[Any, Any, Answer]:
        """Have `ask` decided by its wallet, wherever that is; the answer comes once it is durable.

        Raises:
            UnknownOrg: there is no such wallet.
            Overloaded: a bound is reached; nothing was decided.
            DeadlinePassed: no answer within `timeout_s`; a retry with the same key tells more.
            LedgerUnavailable: the ledger cannot be reached; nothing was written.
            LedgerFault: the ledger refuses this very command; nothing was written.
            OwnerUnreachable: the wallet is another node's, which cannot be asked.
            InvalidCommand: the wallet cannot be given these settings.
        """
        return self.reach(ask, timeout_s=timeout_s)

    async def decide(self, ask: Ask, *, timeout_s: float) -> Answer:
        """Have `ask` decided here; as `ask`, but for wallets of this node only.

        Raises:
            NotMine: the wallet is another node's; nothing was decided.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if isinstance(ask, Welcome):
            self.residents.welcome(ask.org_id)
        try:
            actor = self._actor(ask.org_id, now_s)
        except WalletError as error:
            self.stats.decided(ask.verb, "error", type(error).__name__, 0.0)
            raise
        if isinstance(ask, Query) and (answer := read_now(actor, ask)) is not None:
            self.stats.decided(ask.verb, "answered", "", 0.0)
            return answer
        reply: asyncio.Future[Answer] = loop.create_future()
        envelope = Envelope(ask, posted_s=now_s, deadline_s=now_s + timeout_s, reply=reply)
        actor.post(envelope)
        if not reply.done():
            self.patience.wait_in_line(envelope, timeout_s)
        self._asking += 1
        try:
            return await reply
        except asyncio.CancelledError:
            self._told_nothing(actor, ask, reply)
            raise
        except Exception as error:
            self.stats.decided(ask.verb, "error", type(error).__name__, loop.time() - now_s)
            raise
        finally:
            self._asking -= 1

    def _actor(self, org_id: str, now_s: float) -> WalletActor:
        if self._stopping:
            if not self.ownership.owns(shard := shard_of(org_id)):
                raise NotMine(self.ownership.holder(shard))
            raise Overloaded("This node is shutting down.")
        if self.undurable >= self.limits.undurable_per_node:
            raise Overloaded("Too much waits to be written already.")
        if self._asking >= self.limits.waiting_per_node:
            raise Overloaded("Too many wait on this node already.")
        return self.residents.use(org_id, now_s)

    def _told_nothing(self, actor: WalletActor, ask: Ask, reply: asyncio.Future[Answer]) -> None:
        """A caller was cancelled in the very turn in which it was answered: it never heard."""
        if not (isinstance(ask, Reserve) and ask.give_back and reply.done()):
            return
        answered = not reply.cancelled() and reply.exception() is None
        if answered and reply.result().outcome in (Outcome.CREATED, Outcome.REPEATED):
            unwanted.not_heard(actor, ask)

    def remembers(self, actor: WalletActor) -> None:
        """Note that `actor` remembers something that it may forget when it rests."""
        self.residents.remembers(actor)
        self.patience.wake()

    def post_own(self, ask: Ask, then: Callable[[Decided], None] | None = None) -> None:
        """Post what the engine asks of itself; `then` hears the outcome, if there is one."""
        actor = self.residents.get(ask.org_id)
        if actor is not None:
            now_s = self.loop_time()
            actor.post(Envelope(ask, posted_s=now_s, deadline_s=NEVER_S, reply=None, then=then))

    def hold_due(self, due: Due, armed: Armed, now_ms: int) -> None:
        """A timer fired.  While the ledger is away, time that was durably paid still ends.

        But not on the word of an owner who knows that another one wrote since, nor at once while
        what may have paid for more is being written: who slept has yet to hear the answer.
        """
        actor = self.residents.get(due.org_id)
        if actor is None:
            self.timers.drop(due.org_id, due.call_id)
            return
        active = actor.phase is Phase.ACTIVE
        if active:
            self.post_own(due)
            if not self.timers.has(due.org_id, due.call_id):
                return
        over = bool(armed.end_reason) and now_ms >= armed.ends_ms
        # Whoever may have been replaced first gets a chance to hear of it.
        undecided = armed.fired or not (active or not actor.sure)
        if over and undecided and not actor.fenced:
            if actor.is_writing(due.call_id) and self.timers.spare(due.org_id, due.call_id):
                return
            actor.told[due.call_id] = armed.end_reason
            self.effects.call_killed(
                due.org_id, due.call_id, armed.end_reason, since_ms=armed.ends_ms
            )

    def count_answer(self, envelope: Envelope, answer: Answer) -> None:
        """Count an answer that went out."""
        code = "" if answer.code is None else answer.code.value
        seconds = self.loop_time() - envelope.posted_s
        self.stats.decided(envelope.ask.verb, answer.outcome.value, code, seconds)

    # --- the whole node -------------------------------------------------------------------------

    def known_settings(self, org_id: str) -> Settings | None:
        """Return an org's settings if its wallet is in the memory of this node."""
        actor = self.residents.get(org_id)
        return None if actor is None or actor.wallet is None else actor.wallet.settings

    def stop_fleet(self, *, stopped: bool, end_live_calls: bool) -> None:
        """Stop or resume the whole fleet, and end all live calls if that is wanted."""
        ends_calls = stopped and end_live_calls
        begins = ends_calls and not self.fleet_ends_calls
        self.fleet_stopped = stopped
        self.fleet_ends_calls = ends_calls
        if begins:
            self._tasks.append(asyncio.create_task(self._end_all(), name="wallet-fleet-stop"))

    async def _end_all(self) -> None:
        """Tell every live call of this node to end, without standing in anybody's way."""
        ended = 0
        for actor in self.residents:
            ended += care.end_live_calls(actor, FLEET_STOPPED)
            if ended >= ENDS_AT_ONCE:
                ended = 0
                await asyncio.sleep(0)

    def counts(self) -> NodeCounts:
        """Count what is here."""
        return NodeCounts(
            wallets=len(self.residents),
            live_calls=len(self.timers),
            waiting=sum(actor.waiting for actor in self.residents),
            undurable=self.undurable,
            ledger_ok=self.ledger_ok,
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
                ("patience", self.patience.run()),
                ("shards", self.shards.run()),
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
        await self.shards.finish_errands()
        tasks = [*self._tasks, *self.shards.errands, *self.lane.apart]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ended = DeadlinePassed("This node has shut down; a retry with the same key tells more.")
        self.prober.fail_all(ended)
        for actor in self.residents:
            actor.fail_all(ended)
        self.patience.fail_all(ended)
        try:
            await self.ledger.release(self.residents.clear())
        except LedgerError as error:
            log.warning("the wallets could not be given up, their tenure will end: %s", error)

    def _busy(self) -> bool:
        return not self.lane.idle or any(actor.waiting for actor in self.residents)
