"""Which shards are this node's: leases, renewed each second, taken and handed over.

A lease is a hint: it says where to ask first.  It is *fresh* until it may have expired, counted
from before it was asked for, on this node's own clock.  An owner whose lease is not fresh goes
on, but confirms in the ledger what it answers.

A *term* is a time in which a lease never ran out and was never forgotten: in the next one, what
is in memory counts only after the wallet was claimed anew.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from wallet_engine.errors import LeasesUnavailable
from wallet_engine.ports import LEAVING, Leases, LeaseView
from wallet_engine.sharding import SHARD_COUNT

from .placement import boot_of, placement, successors

log = logging.getLogger(__name__)

LEASE_MS = 3_000
"""How long a lease lasts: a dead node's shards are free after this.  Source: DESIGN §4."""

RENEW_S = 1.0
HURRY_S = 0.25
"""How soon to look again while shards have no live holder, or are being handed over."""

MARGIN_S = 0.25
"""How much earlier than it ends a lease is not believed any more: clocks drift, calls take time."""

LAST_LOOK_S = 0.5
"""How long a node that leaves waits to hear who else does: its end shall not wait for Redis."""

KNOWN_MAX = 64
"""So many nodes are remembered when they are gone."""

SETTLED_ROUNDS = 2
"""A node must have lived for so many looks before shards are handed to it: it may be flapping."""


class Neighbourhood(Protocol):
    """Who has to do with shards that come and go."""

    def gained(self, shards: Collection[int]) -> None:
        """These are ours from now on."""

    def lost(self, shards: Mapping[int, str]) -> None:
        """These are others' from now on, by token; empty: nobody's."""

    def poke(self, token: str) -> None:
        """Tell a node that leases have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseCounts:
    """What there is and what happened.  `reachable`: the last look at the leases was answered."""

    shards: int
    fresh: int
    nodes: int
    gained: int
    handed_over: int
    lost: int
    reachable: bool


class Ownership:
    """Keeps the leases of one node."""

    def __init__(
        self,
        *,
        token: str,
        address: str,
        leases: Leases,
        neighbourhood: Neighbourhood,
        now_s: Callable[[], float],
    ) -> None:
        assert address != LEAVING, "a node that cannot be found takes no shards"
        self.token = token
        self._address = address
        self._leases = leases
        self._neighbourhood = neighbourhood
        self._now_s = now_s
        self._fresh_until_s: dict[int, float] = {}
        self._terms: dict[int, int] = {}
        self._term = 0
        self._calls = 0
        self._since = 0
        self._forgotten_until_s = 0.0
        self._lived: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._hurry = False
        self._leaving = False
        self._reachable = False
        self._gained = self._handed_over = self._lost = 0
        self.holders: list[str] = [""] * SHARD_COUNT
        self.nodes: Mapping[str, str] = {}
        self._known: dict[str, str] = {}

    # --- questions ----------------------------------------------------------------------------

    def owns(self, shard: int) -> bool:
        """Whether a shard is ours, as far as we know."""
        return shard in self._fresh_until_s

    def fresh(self, shard: int) -> bool:
        """Whether nobody else can hold a shard that is ours: its lease has not run out."""
        return self._now_s() < self._fresh_until_s.get(shard, 0.0)

    def term(self, shard: int) -> int:
        """Return the term in which a shard is ours: since then nobody else can have held it."""
        return self._terms.get(shard, 0)

    def lapsed_s(self, shard: int) -> float:
        """How long ago a lease may have run out: 0 if it cannot have, for ever if not ours."""
        return max(0.0, self._now_s() - self._fresh_until_s.get(shard, -math.inf))

    def holder(self, shard: int) -> str:
        """Return whose a shard is, by token; empty: nobody's."""
        return self.holders[shard]

    def live_owner(self, boot: str) -> str:
        """Return the token of another live node by its boot; empty: there is none."""
        found = (token for token in self.nodes if boot_of(token) == boot and token != self.token)
        return next(found, "")

    def rival(self, boot: str) -> str:
        """Return the token of a node whose leases are gone, as far as we see; it may see others."""
        found = (it for it in self._known if boot_of(it) == boot and it not in self.nodes)
        return next(found, "")

    def address(self, token: str) -> str:
        """Return where a node can be asked, or could be once; empty: nobody knows."""
        return self.nodes.get(token) or self._known.get(token, "")

    @property
    def shards(self) -> Collection[int]:
        """All shards that are ours."""
        return self._fresh_until_s.keys()

    def counts(self) -> LeaseCounts:
        """Count what is here."""
        return LeaseCounts(
            shards=len(self._fresh_until_s),
            fresh=sum(self.fresh(shard) for shard in self._fresh_until_s),
            nodes=len(self.nodes),
            gained=self._gained,
            handed_over=self._handed_over,
            lost=self._lost,
            reachable=self._reachable,
        )

    # --- living -------------------------------------------------------------------------------

    def look_now(self) -> None:
        """Look at the leases now: something is not as we thought."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the leases, for ever."""
        while True:
            try:
                await self._round()
            except LeasesUnavailable as error:
                if self._reachable:
                    log.warning("the leases cannot be reached, what we own we keep: %s", error)
                self._reachable = False
            except Exception:
                log.exception("keeping the leases met a bug; it goes on")
            try:
                async with asyncio.timeout(HURRY_S if self._hurry else RENEW_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def leave(self, *, alone_too: bool = True) -> bool:
        """Hand everything over: this node is about to end.

        If nobody stays who could take it, it is freed, or with `alone_too` false kept: then the
        answer is False.
        """
        self._leaving = True
        heirs = await self._last_look()
        if not heirs and not alone_too:
            return False
        ours = list(self._fresh_until_s)
        give = successors(ours, heirs)
        try:
            await self._leases.leave(token=self.token, give=give)
        except LeasesUnavailable as error:
            log.warning("the leases cannot be handed over, they will run out: %s", error)
        self._drop({shard: give.get(shard, "") for shard in ours})
        self._handed_over += len(give)
        for token in heirs:  # all: what was for one that has gone meanwhile is free for the rest
            self._neighbourhood.poke(token)
        return True

    async def _last_look(self) -> Collection[str]:
        """Say that this node leaves, and return who stays; without an answer, whom we knew.

        Two nodes that leave in one moment do not choose each other: the second to say so sees
        that the first does, and what the first gives to the second by then is refused.
        """
        known = self.nodes
        sent_s = self._now_s()
        want = list(self._fresh_until_s)
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                view = await self._leases.renew(
                    token=self.token,
                    address=LEAVING,
                    ttl_ms=LEASE_MS,
                    want=want,
                    give={},
                    call=self._next_call(),
                )
        except (LeasesUnavailable, TimeoutError) as error:
            log.warning(
                "nobody says who else leaves just now: %s", str(error) or "no answer in time"
            )
            return [token for token in known if token != self.token]
        self._apply(view, sent_s, want, {})
        self.nodes = {**known, **view.nodes}  # who leaves as well still says whom to ask
        return list(view.nodes)

    async def _round(self) -> None:
        """Look once: renew what is ours, take what is free and belongs here, hand over the rest."""
        if self._leaving:
            return
        sent_s = self._now_s()
        give = self._to_give()
        for shard in give:  # theirs once this is carried out, whether we hear of it or not
            self._fresh_until_s[shard] = min(self._fresh_until_s[shard], sent_s)
        want = self._wanted()  # also what is given: it stays ours if the other has gone
        view = await self._leases.renew(
            token=self.token,
            address=self._address,
            ttl_ms=LEASE_MS,
            want=want,
            give=give,
            call=self._next_call(),
        )
        if self._leaving:
            return
        if not self._reachable:
            log.info("the leases are reached: %d nodes live", len(view.nodes))
        self._reachable = True
        self._apply(view, sent_s, want, give)

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls

    def _wanted(self) -> list[int]:
        """Return what is ours, and what belongs here and has no live holder."""
        if not self.nodes:
            return []  # the first look only says that we live
        if self._now_s() < self._forgotten_until_s:
            return list(self._fresh_until_s)  # what looks free is others', who will say so
        homes = placement(self.nodes)
        return [
            shard
            for shard in range(SHARD_COUNT)
            if shard in self._fresh_until_s
            or (homes[shard] == self.token and self.holders[shard] not in self.nodes)
        ]

    def _to_give(self) -> dict[int, str]:
        """Return which of ours belong to another node that has come to stay."""
        settled = [t for t in self.nodes if self._lived.get(t, 0) >= SETTLED_ROUNDS]
        if len(settled) < 2:  # noqa: PLR2004  # nobody but us
            return {}
        homes = placement(settled)
        return {s: homes[s] for s in self._fresh_until_s if homes[s] != self.token}

    def _apply(
        self, view: LeaseView, sent_s: float, want: Collection[int], given: Mapping[int, str]
    ) -> None:
        self._lived = {token: self._lived.get(token, 0) + 1 for token in view.nodes}
        self.nodes = view.nodes
        self._known = dict([*(self._known | dict(view.nodes)).items()][-KNOWN_MAX:])
        mine = [shard for shard, holder in enumerate(view.holders) if holder == self.token]
        gained = [shard for shard in mine if shard not in self._fresh_until_s]
        gone = {s: view.holders[s] for s in self._fresh_until_s if view.holders[s] != self.token}
        self._begin_terms(mine, known=view.since == self._since)
        self._since = view.since
        forgotten = self._now_s() < self._forgotten_until_s
        before = self.holders if forgotten else [""] * SHARD_COUNT  # they live on, and say so soon
        self.holders = [it or was for it, was in zip(view.holders, before, strict=True)]
        renewed = frozenset(want)
        for shard in mine:
            fresh_s = LEASE_MS / 1000 - MARGIN_S if shard in renewed else 0.0
            self._fresh_until_s[shard] = sent_s + fresh_s
        if not renewed.issuperset(mine):  # given to us, nobody knows for how long: renew it now
            self._wake.set()
        if gone:
            self._drop(gone)
            handed_over = sum(shard in given for shard in gone)
            self._handed_over += handed_over
            self._lost += len(gone) - handed_over
        if gained:
            self._gained += len(gained)
            log.info("%d shards are ours now, %d in all", len(gained), len(mine))
            self._neighbourhood.gained(gained)
        for token in dict.fromkeys(given.values()):
            self._neighbourhood.poke(token)
        homeless = any(holder not in view.nodes for holder in view.holders)
        self._hurry = homeless or bool(self._to_give()) or len(mine) < len(self._wanted())

    def _begin_terms(self, mine: Collection[int], *, known: bool) -> None:
        """Note of which shards somebody else may have been the holder until just now."""
        now_s = self._now_s()
        if not known and self._fresh_until_s:
            self._forgotten_until_s = now_s + RENEW_S + MARGIN_S
        self._term += 1
        for shard in mine:
            if not known or self._fresh_until_s.get(shard, 0.0) <= now_s:
                self._terms[shard] = self._term

    def _drop(self, gone: Mapping[int, str]) -> None:
        for shard, holder in gone.items():
            del self._fresh_until_s[shard], self._terms[shard]
            self.holders[shard] = holder
        if gone:
            log.info("%d shards are others' now, %d stay", len(gone), len(self._fresh_until_s))
            self._neighbourhood.lost(gone)
