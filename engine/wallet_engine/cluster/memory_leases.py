"""Leases in memory, for tests and simulations: the same contract as those in Redis.

All nodes of a simulation share one instance.  It never suspends a caller: whoever wants delay,
or a call that is carried out late, wraps it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from wallet_engine.errors import LeasesUnavailable
from wallet_engine.ports import LEAVING, LeaseView
from wallet_engine.sharding import SHARD_COUNT


class Reach(Enum):
    """How far a node's calls get."""

    ANSWERED = auto()
    NOT_ASKED = auto()
    """They are not carried out."""
    NOT_ANSWERED = auto()
    """They are carried out, and the caller does not hear of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lease:
    token: str
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """A node, from its call `since` on; without an address it has left, after its call `call`."""

    address: str
    ttl_s: float
    until_s: float
    since: int
    call: float


class InMemoryLeases:
    """One store of leases, with faults on demand."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Begin empty; `now_s` is the clock of the store, which nobody else's has to match."""
        self._now_s = now_s
        self._leases: dict[int, _Lease] = {}
        self._lives: dict[str, _Life] = {}
        self._reach: dict[str, Reach] = {}
        self._reach_of_others = Reach.ANSWERED

    # --- the port -------------------------------------------------------------------------------

    async def renew(
        self,
        *,
        token: str,
        address: str,
        ttl_ms: int,
        want: Sequence[int],
        give: Mapping[int, str],
        call: int,
    ) -> LeaseView:
        """Say that a node lives, renew what it holds, take and hand over; see `Leases`."""
        assert ttl_ms > 0
        self._ask(token)
        now_s = self._now_s()
        ttl_s = ttl_ms / 1000
        until_s = now_s + ttl_s
        life = self._lives.get(token)
        if life is not None and now_s >= life.until_s:
            life = None
        if life is not None and call < life.call:
            want, give = (), {}
        else:
            since = life.since if life else call
            life = _Life(address=address, ttl_s=ttl_s, until_s=until_s, since=since, call=call)
            self._lives[token] = life
        self._forget_the_past(now_s)
        self._hand_over(token, give, until_s)
        for shard in want:
            if self._holder(shard) in ("", token):
                self._leases[shard] = _Lease(token=token, until_s=until_s)
        self._answer(token)
        return LeaseView(
            holders=[self._holder(shard) for shard in range(SHARD_COUNT)],
            nodes={name: life.address for name, life in self._lives.items() if life.address},
            since=life.since,
        )

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        """Hand over `give` and free whatever else is the node's; see `Leases`."""
        assert token not in give.values()
        self._ask(token)
        now_s = self._now_s()
        self._forget_the_past(now_s)
        life = self._lives.get(token)
        # Who was forgotten has no term of its own: the successor gets what is left of each lease.
        self._hand_over(token, give, now_s + life.ttl_s if life else None)
        if life:
            self._lives[token] = replace(life, address=LEAVING, call=math.inf)
        self._leases = {s: lease for s, lease in self._leases.items() if lease.token != token}
        self._answer(token)

    # --- for simulations ------------------------------------------------------------------------

    def flush(self) -> None:
        """Forget everything, as a server does that was restarted or failed over."""
        self._leases.clear()
        self._lives.clear()

    def reach(self, reach: Reach, *tokens: str) -> None:
        """From now on calls of `tokens` get so far; those of all nodes, if none is named."""
        if not tokens:
            self._reach.clear()
            self._reach_of_others = reach
        for token in tokens:
            self._reach[token] = reach

    def holder(self, shard: int) -> str:
        """Return whose a shard is now; empty: nobody's."""
        lease = self._leases.get(shard)
        return lease.token if lease and self._now_s() < lease.until_s else ""

    # --- inside ---------------------------------------------------------------------------------

    def _forget_the_past(self, now_s: float) -> None:
        self._lives = {name: life for name, life in self._lives.items() if now_s < life.until_s}
        self._leases = {s: lease for s, lease in self._leases.items() if now_s < lease.until_s}

    def _hand_over(self, token: str, give: Mapping[int, str], until_s: float | None) -> None:
        assert all(give.values()), "a shard is given to somebody"
        for shard, successor in give.items():
            lease = self._leases.get(shard)
            if lease and lease.token == token and not self._lives_on(successor):
                del self._leases[shard]
            elif lease and lease.token == token:
                until = lease.until_s if until_s is None else until_s
                self._leases[shard] = _Lease(token=successor, until_s=until)

    def _lives_on(self, token: str) -> bool:
        life = self._lives.get(token)
        return life is not None and life.address != LEAVING

    def _holder(self, shard: int) -> str:
        lease = self._leases.get(shard)
        return lease.token if lease else ""

    def _ask(self, token: str) -> None:
        if self._reach.get(token, self._reach_of_others) is Reach.NOT_ASKED:
            raise LeasesUnavailable("The leases cannot be reached.")

    def _answer(self, token: str) -> None:
        if self._reach.get(token, self._reach_of_others) is Reach.NOT_ANSWERED:
            raise LeasesUnavailable("The leases do not answer.")
