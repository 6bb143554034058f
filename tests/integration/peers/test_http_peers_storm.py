"""Whatever happens to the connections: each ask ends, none is decided twice, none in spite of a no.

And no decision is lost without a word: its asker hears it, or it is unheard, or its connection
broke.  Seeded: a failure names its seed, though real sockets may take another turn the next time.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from wallet_engine.errors import DeadlinePassed, PeerLost, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_http.peers import PeerLimits
from wallet_testing.builders import admit
from wallet_testing.peers import (
    GRACE_S,
    LONG_S,
    Decider,
    Unheard,
    answer_to,
    answering,
    asking,
    post,
    tapped,
)

ASKS = 400
LIMITS = PeerLimits(reconnect_s=0.0, in_flight_max=30, tick_s=0.2)


@dataclass
class Seen:
    """What came of a storm."""

    asked: list[str] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    """Whose serving began, and of those the ones that were decided."""

    told: dict[str, Answer | type[BaseException]] = field(default_factory=dict)
    """What each asker heard."""

    unheard: Counter[str] = field(default_factory=Counter)
    may_have_broken: set[str] = field(default_factory=set)
    """Those that were asked before the last time that the connections were cut."""


async def test_every_ask_ends_and_means_what_it_says() -> None:
    """An answer was decided once, what was unreachable never was, what was lost may have been."""
    kinds: set[type] = set()
    unheard = 0
    for seed in range(24):
        seen = await storm(seed, cut_share=0.05 if seed % 2 else 0.0)
        assert len(seen.told) == ASKS, seed
        assert len(seen.asked) == len(set(seen.asked)), seed
        for name, outcome in seen.told.items():
            if isinstance(outcome, Answer):
                assert outcome == answer_to(admit(org_id=name)), seed
                assert name in seen.decided, seed
            elif outcome is PeerUnreachable:
                assert name not in seen.asked, seed
            kinds.add(outcome if isinstance(outcome, type) else Answer)
        no_decision_is_lost(seen, seed)
        unheard += seen.unheard.total()

    assert kinds - {DeadlinePassed} == {
        Answer,
        PeerUnreachable,
        PeerLost,
        asyncio.CancelledError,
    }
    assert unheard


def no_decision_is_lost(seen: Seen, seed: int) -> None:
    """See that each decision is heard or unheard, once, or its connection broke."""
    for name in seen.decided:
        heard = isinstance(seen.told[name], Answer) + seen.unheard[name]
        assert heard <= 1, (seed, name)
        if seen.told[name] is PeerLost:
            assert heard == 0, (seed, name)
        if heard == 0:
            assert name in seen.may_have_broken, (seed, name)
    assert set(seen.unheard) <= set(seen.decided), seed


async def storm(seed: int, *, cut_share: float) -> Seen:
    """Ask while connections are cut and callers leave."""
    chance, decider, late, seen = random.Random(seed), Decider(), Unheard(), Seen()
    async with (
        answering(decider.serve, limits=LIMITS) as server,
        tapped(server.port) as tap,
        asking(limits=LIMITS, unheard=late.unheard) as peers,
    ):
        tasks: list[asyncio.Task[Answer]] = []
        for number in range(ASKS):
            timeout_s = chance.choice([LONG_S, LONG_S, LONG_S, 0.01])
            tasks += post(peers, tap.address, admit(org_id=f"org-{number}"), timeout_s=timeout_s)
            decider.holds = chance.random() < 0.5
            if chance.random() < cut_share:
                tap.cut()
                seen.may_have_broken |= {f"org-{earlier}" for earlier in range(number + 1)}
            if chance.random() < 0.2:
                chance.choice(tasks[-5:]).cancel()
            if chance.random() < 0.2:
                decider.release()
            for _ in range(chance.choice([0, 0, 0, 1, 2, 3, 5, 50])):
                await asyncio.sleep(0)  # what happens on the sockets happens between these
        decider.holds = False
        ending = asyncio.create_task(asyncio.wait(tasks))
        while not ending.done():
            decider.release()
            await asyncio.sleep(0)  # each turn may bring an ask that is held
        await peers.close(grace_s=GRACE_S)  # what was called off is heard of, too
    for number, task in enumerate(tasks):
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        seen.told[f"org-{number}"] = outcome if isinstance(outcome, Answer) else type(outcome)
    seen.asked = [ask.org_id for ask in decider.asked]
    seen.decided = [ask.org_id for ask in decider.answered]
    seen.unheard = Counter(ask.org_id for ask, answer in late.heard if answer is not None)
    for ask, answer in late.heard:
        assert answer in (answer_to(ask), None), seed
    return seen
