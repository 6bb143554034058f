"""Faults of the path between node and Postgres: slow, silent, cut, and cut at a bad moment."""

import asyncio
import random

from wallet_testing.cable import Cable
from wallet_testing.processes import UNTIL_S_MAX

from .scene import Ends, Scene

NOTICES = 0.5
"""How often the server notices that its client is cut off."""

DELAY_S = (0.01, 0.15)
"""How long each way takes when the path is slow, from and to."""

LANE, CLAIMS = "lane", "claims"
ROLES = (LANE, LANE, LANE, "probes", "sweep", CLAIMS, "")
"""Whose message is lost: mostly that of the commits, or the next one, whosever it is."""


async def slow(scene: Scene, dice: random.Random) -> Ends:
    """Have everything under way for longer."""
    scene.cable.request_delay_s = dice.uniform(*DELAY_S)
    scene.cable.answer_delay_s = dice.uniform(*DELAY_S)
    await scene.outage(dice)
    scene.cable.heal()
    yield scene.org_ids


async def silent(scene: Scene, dice: random.Random) -> Ends:
    """Let nothing through for a while; all of it comes late, from clients too that left."""
    scene.cable.hold()
    await scene.outage(dice)
    scene.cable.heal()
    yield scene.org_ids


async def cut_in_a_message(scene: Scene, dice: random.Random) -> Ends:
    """Cut the path when some bytes of a message are through; the server may not notice."""
    await _choose(scene.cable, dice)
    scene.cable.lose_after = dice.random()
    await _cut_when_lost(scene.cable)
    if dice.random() < NOTICES:
        scene.cable.end_orphans()
    yield scene.org_ids
    scene.cable.end_orphans()


async def cut_before_sync(scene: Scene, dice: random.Random) -> Ends:
    """Cut the path before the last message of a statement: its backend waits for it, locked."""
    await _choose(scene.cable, dice)
    scene.cable.lose_syncs = True
    await _cut_when_lost(scene.cable)
    yield scene.org_ids
    scene.cable.end_orphans()


async def cut_before_answer(scene: Scene, dice: random.Random) -> Ends:
    """Cut the path between a commit and its answer: it is done, and the node never hears."""
    await _choose(scene.cable, dice)
    scene.cable.lose_answers = True
    await _cut_when_lost(scene.cable)
    if dice.random() < NOTICES:
        scene.cable.end_orphans()
    yield scene.org_ids
    scene.cable.end_orphans()


async def _choose(cable: Cable, dice: random.Random) -> None:
    """Choose whose message is lost, and see to it that there will be one."""
    role = dice.choice(ROLES)
    if role == CLAIMS:  # what is in doubt is claimed
        cable.of_role, cable.lose_answers = LANE, True
        await _cut_when_lost(cable)
        cable.end_orphans()
    cable.of_role = role


async def _cut_when_lost(cable: Cable) -> None:
    """Wait for the loss, and cut the path.

    Raises:
        TimeoutError: nobody said anything that could be lost.
    """
    async with asyncio.timeout(UNTIL_S_MAX):
        await cable.lost.wait()
    cable.cut()
    cable.heal()
