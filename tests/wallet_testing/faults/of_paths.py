"""Faults of the path between node and Postgres: slow, silent, cut, and cut at a bad moment."""

import random
from collections.abc import AsyncIterator, Sequence

from .scene import Scene, hurry

LOST_S_MAX = 3.0
"""How long to wait for the message that is to be lost: clients are at work all the time."""

DELAY_S = (0.01, 0.15)
"""How long each way takes when the path is slow, from and to."""

ROLES = ("lane", "lane", "lane", "probes", "claims", "sweep", "")
"""Whose message is lost: mostly that of the commits, or the next one, whosever it is."""


async def slow(scene: Scene, dice: random.Random) -> AsyncIterator[Sequence[str]]:
    """Have everything under way for longer."""
    scene.cable.request_delay_s = dice.uniform(*DELAY_S)
    scene.cable.answer_delay_s = dice.uniform(*DELAY_S)
    await scene.outage(dice)
    scene.cable.heal()
    yield scene.org_ids


async def silent(scene: Scene, dice: random.Random) -> AsyncIterator[Sequence[str]]:
    """Let nothing through for a while; all of it comes late, from clients too that left."""
    scene.cable.hold()
    await scene.outage(dice)
    scene.cable.heal()
    yield scene.org_ids


async def cut_in_a_message(scene: Scene, dice: random.Random) -> AsyncIterator[Sequence[str]]:
    """Cut the path when some bytes of a message are through; the server may not notice."""
    scene.cable.of_role = dice.choice(ROLES)
    scene.cable.lose_after = dice.random()
    await hurry(scene.cable.lost.wait(), LOST_S_MAX)
    scene.cable.cut()
    if dice.random() < 0.5:
        scene.cable.end_orphans()
    scene.cable.heal()
    yield scene.org_ids
    scene.cable.end_orphans()


async def cut_before_sync(scene: Scene, dice: random.Random) -> AsyncIterator[Sequence[str]]:
    """Cut the path before the last message of a statement: its backend waits for it, locked."""
    scene.cable.of_role = dice.choice(ROLES)
    scene.cable.lose_syncs = True
    await hurry(scene.cable.lost.wait(), LOST_S_MAX)
    scene.cable.cut()
    scene.cable.heal()
    yield scene.org_ids
    scene.cable.end_orphans()


async def cut_before_answer(scene: Scene, dice: random.Random) -> AsyncIterator[Sequence[str]]:
    """Cut the path between a commit and its answer: it is done, and the node never hears."""
    scene.cable.of_role = dice.choice(ROLES)
    scene.cable.lose_answers = True
    await hurry(scene.cable.lost.wait(), LOST_S_MAX)
    scene.cable.cut()
    if dice.random() < 0.5:
        scene.cable.end_orphans()
    scene.cable.heal()
    yield scene.org_ids
    scene.cable.end_orphans()
