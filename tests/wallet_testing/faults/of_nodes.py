"""Faults of the node itself, and of a second one that takes over."""

import asyncio
import random

from wallet_testing.processes import shut_down

from .scene import Ends, Scene

HALF = 0.5

FAR_S = 2.0
"""How long answers take that arrive too late: a start takes some thirty of them."""

WOKEN_S = 2.0
"""How long a woken node may try to write: longer than the tenure of whoever took over."""


async def killed(scene: Scene, _dice: random.Random) -> Ends:
    """Kill the node at once, and start it again."""
    scene.stage.node.kill()
    await scene.stage.node.start()
    yield scene.org_ids


async def started_early(scene: Scene, dice: random.Random) -> Ends:
    """Start the node while its database is down, or so far away that hardly anything arrives."""
    node = scene.stage.node
    node.kill()
    is_down = dice.random() < HALF
    if is_down:
        await shut_down(scene.postgres)
    else:
        scene.cable.answer_delay_s = FAR_S
    async with asyncio.TaskGroup() as group:
        group.create_task(node.start())
        await scene.outage(dice)
        if is_down:
            await scene.postgres.start()
        scene.cable.heal()
        yield scene.org_ids


async def stopped(scene: Scene, dice: random.Random) -> Ends:
    """Stop the node in mid-step for a while, and let it go on."""
    scene.stage.node.pause()
    await scene.outage(dice)
    scene.stage.node.resume()
    yield scene.org_ids


async def replaced(scene: Scene, _dice: random.Random) -> Ends:
    """Stop the node, have another take its wallets over, and wake the first too late.

    It sleeps until its callers' deadlines are over: before that it may rightly do for one who
    hung up what its successor has refused since.
    """
    stage, loop = scene.stage, asyncio.get_running_loop()
    first, second = stage.node, stage.another_node()
    stopped_s = loop.time()
    first.pause()
    await second.start()
    stage.node = second
    stage.recorder.hang_up()
    yield scene.org_ids

    await asyncio.sleep(stopped_s + scene.patience_s - loop.time())
    first.resume()
    await asyncio.sleep(WOKEN_S)
    await first.stop()
    yield scene.org_ids
