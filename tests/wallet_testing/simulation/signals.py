"""What a simulated node tells the outside, checked as it is told: its clock, effects, counts."""

from collections import Counter

from wallet_engine import deadlines
from wallet_engine.endings import Endings
from wallet_engine.node import Node
from wallet_engine.wallet import Entry, Hold
from wallet_testing.builders import T0_MS

from .postgres import SimPostgres
from .processes import SimLoop
from .tally import Tally

CAUSES = {
    "fence": "fenced",
    "lost_answer_committed": "lost answer that had committed",
    "lost_answer_not_committed": "lost answer that had not",
}
"""What the engine calls fenced, and what we count it as."""


ENDED_MAX = 3
"""So often a call may be told to end that is over: by somebody who has not heard of it yet."""


class SimClock:
    """A process's clock: it differs from others by a little, jumps ahead, and never goes back."""

    def __init__(self, loop: SimLoop, skew_ms: int) -> None:
        self._loop = loop
        self._ahead_ms = skew_ms

    def now_ms(self) -> int:
        return T0_MS + self._loop.now_us // 1000 + self._ahead_ms

    def jump(self, ms: int) -> None:
        """Be ahead by so much more."""
        self._ahead_ms += ms


class SimEffects:
    """Implements `ports.Effects`: has calls ended, and looks whether there was a reason to.

    `early` gathers what was told before it was durable.
    """

    def __init__(
        self, server: SimPostgres, clock: SimClock, endings: Endings, early: list[str]
    ) -> None:
        self._server = server
        self._clock = clock
        self._endings = endings
        self._early = early
        self._told: set[tuple[str, int]] = set()
        self._ended: Counter[tuple[str, str]] = Counter()
        self.node: Node

    def decided(self, entry: Entry) -> None:
        if self._server.truth.rows[entry.org_id].keys.get(entry.key) != entry:
            self._early.append(f"{entry.org_id} seq {entry.seq}: told before it was durable")
        if (entry.org_id, entry.seq) in self._told:
            self._early.append(f"{entry.org_id} seq {entry.seq}: told twice")
        self._told.add((entry.org_id, entry.seq))

    def call_killed(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        hold = self._server.truth.rows[org_id].holds.get(call_id)
        if hold is None:
            self._early.append(f"{org_id}: call {call_id} was told to end, and has no hold")
        elif not hold.active:
            self._ended[org_id, call_id] += 1
            if self._ended[org_id, call_id] > ENDED_MAX:
                self._early.append(f"{org_id}: call {call_id} is over, and told to end for ever")
        elif not hold.killed:
            known = self._known(org_id, hold)
            ends_ms = deadlines.ends_ms(known, self._started_ms(org_id, hold))
            if self._clock.now_ms() < ends_ms:
                self._early.append(
                    f"{org_id}: call {call_id} was told to end ({reason}), is paid until {ends_ms}"
                    f" and it is {self._clock.now_ms()}"
                )
        self._endings.begin(org_id, call_id, reason, since_ms=since_ms)

    def _known(self, org_id: str, hold: Hold) -> Hold:
        """Return a live hold as far as its owner can know it: as of the last row it heard of.

        Whoever is not the owner any more has no business to end calls on what it knew.
        """
        row, actor = self._server.truth.rows[org_id], self.node.residents.get(org_id)
        if actor is None or row.owner != self.node.boot_id:
            return hold
        rows = (entry for entry in reversed(row.journal) if entry.seq <= actor.durable_seq)
        return next((e.hold for e in rows if e.call_id == hold.call_id and e.hold), hold)

    def _started_ms(self, org_id: str, hold: Hold) -> int:
        """When the node knows the clock of a call to have started, whatever its timer says."""
        actor = self.node.residents.get(org_id)
        assert actor is not None, "only a wallet in memory ends calls"
        assert actor.wallet is not None, "only a loaded wallet ends calls"
        armed = self.node.timers._armed.get((org_id, hold.call_id))
        if armed is None:
            return actor.wallet.started_ms(hold)
        return max(armed.started_ms, actor.wallet.started.get(hold.call_id, 0))

    def call_final(self, org_id: str, call_id: str, ends_ms: int) -> None:
        self._endings.warn(org_id, call_id, ends_ms=ends_ms)

    def call_left(self, org_id: str, call_id: str) -> None:
        self._endings.confirm(org_id, call_id)

    def call_ended(self, org_id: str, call_id: str) -> None:
        hold = self._server.truth.rows[org_id].holds.get(call_id)
        if hold is None or hold.active:
            self._early.append(f"{org_id}: call {call_id} is called over before that is durable")
        self._endings.confirm(org_id, call_id)


class SimStats:
    """Implements `ports.Stats` by counting into the tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.fences = 0

    def decided(self, verb: str, outcome: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self._tally.work[f"{verb} {code or outcome}"] += 1

    def committed(self, wallets: int, entries: int, seconds: float) -> None:
        assert seconds >= 0
        self._tally.work["entries"] += entries
        if wallets > 2:
            self._tally.sometimes["batch of many wallets"] += 1

    def killed(self, seconds: float) -> None:
        assert seconds >= 0
        self._tally.sometimes["call ended by the engine"] += 1

    def fenced(self, cause: str) -> None:
        self._tally.work[f"fenced: {cause}"] += 1
        self.fences += cause == "fence"
        if cause in CAUSES:
            self._tally.sometimes[CAUSES[cause]] += 1

    def forwarded(self, outcome: str) -> None:
        self._tally.work[f"forwarded: {outcome}"] += 1
