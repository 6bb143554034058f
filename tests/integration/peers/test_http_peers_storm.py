"""Whatever happens to the connections: each ask ends, none is decided twice, none in spite of a no.

Seeded: a failure names its seed, though real sockets may take another turn the next time.
"""

import asyncio
import random

from wallet_engine.errors import PeerLost, PeerUnreachable
from wallet_engine.journal import Answer
from wallet_http.peers import PeerLimits
from wallet_testing.builders import look
from wallet_testing.peers import Decider, answer_to, answering, asking, post, tapped

ASKS = 400
LIMITS = PeerLimits(reconnect_s=0.0, in_flight_max=30, tick_s=0.2)


Told = dict[str, Answer | type[BaseException]]
"""What each asker heard."""


async def test_every_ask_ends_and_means_what_it_says() -> None:
    """An answer was decided once, what was unreachable never was, what was lost may have been."""
    kinds = set()
    for seed in range(16):
        asked, told = await storm(seed)
        assert len(told) == ASKS, seed
        assert len(asked) == len(set(asked)), seed
        for name, outcome in told.items():
            if isinstance(outcome, Answer):
                assert outcome == answer_to(look(org_id=name)), seed
                assert name in asked, seed
            elif outcome is PeerUnreachable:
                assert name not in asked, seed
            kinds.add(outcome if isinstance(outcome, type) else Answer)

    assert kinds == {Answer, PeerUnreachable, PeerLost, asyncio.CancelledError}


async def storm(seed: int) -> tuple[list[str], Told]:
    """Ask while connections are cut and callers leave; return what was decided, and what told."""
    chance, decider, told = random.Random(seed), Decider(), Told()
    async with (
        answering(decider.serve, limits=LIMITS) as server,
        tapped(server.port) as tap,
        asking(limits=LIMITS) as peers,
    ):
        tasks: list[asyncio.Task[Answer]] = []
        for number in range(ASKS):
            tasks += post(peers, tap.address, look(org_id=f"org-{number}"))
            decider.holds = chance.random() < 0.5
            if chance.random() < 0.05:
                tap.cut()
            if chance.random() < 0.05:
                chance.choice(tasks).cancel()
            if chance.random() < 0.2:
                decider.release()
            for _ in range(chance.choice([0, 0, 0, 1, 5, 50])):
                await asyncio.sleep(0)  # what happens on the sockets happens between these
        decider.holds = False
        while not all(task.done() for task in tasks):
            decider.release()
            await asyncio.sleep(0)  # each turn may bring an ask that is held
    for number, task in enumerate(tasks):
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        told[f"org-{number}"] = outcome if isinstance(outcome, Answer) else type(outcome)
    return [ask.org_id for ask in decider.asked], told
