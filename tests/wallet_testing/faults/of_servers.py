"""Faults of Postgres: it ends, crashes, hangs, or does not let anybody write."""

import asyncio
import os
import random
import signal
from contextlib import suppress

import asyncpg

from wallet_testing.processes import shut_down

from .scene import Ends, Scene

GRAB_S = 0.05
"""How often connections that were given up are looked for."""

TERMINATE = "SELECT pg_terminate_backend(pid) FROM unnest($1::int4[]) AS pid"

TERMINATIONS = 5
TERMINATION_GAP_S = 0.1
"""So often is one kind of connection ended: some of it in the middle of a statement."""


async def restarted(scene: Scene, dice: random.Random) -> Ends:
    """Shut the server down in order, and start it again."""
    await shut_down(scene.postgres)
    await scene.outage(dice)
    await scene.postgres.start()
    yield scene.org_ids


async def crashed(scene: Scene, dice: random.Random) -> Ends:
    """End the whole server at once, by its own emergency stop or without any, and start it."""
    if dice.random() < 0.5:
        os.kill(scene.postgres.process.pid, signal.SIGQUIT)
        await scene.postgres.wait()
    else:
        scene.postgres.kill()
    await scene.outage(dice)
    await scene.postgres.start()
    yield scene.org_ids


async def backend_killed(scene: Scene, dice: random.Random) -> Ends:
    """Kill one of the node's backends: the server then ends all, and recovers by itself."""
    async with scene.administrator() as administrator:
        backends = await scene.backends(administrator)
        os.kill(dice.choice(sorted(backends)), signal.SIGKILL)
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            while True:  # until we are thrown out too
                await administrator.fetchval("SELECT 1")
                await asyncio.sleep(GRAB_S)
    await scene.until_postgres_lets_in()
    yield scene.org_ids


async def hung(scene: Scene, dice: random.Random) -> Ends:
    """Stop every process of the server in mid-step for a while, and let them go on."""
    scene.postgres.pause()
    try:
        await scene.outage(dice)
    finally:
        scene.postgres.resume()
    yield scene.org_ids


async def all_terminated(scene: Scene, _dice: random.Random) -> Ends:
    """End all of the node's connections from the server's side."""
    async with scene.administrator() as administrator:
        await administrator.execute(TERMINATE, list(await scene.backends(administrator)))
    yield scene.org_ids


async def role_terminated(scene: Scene, dice: random.Random) -> Ends:
    """End the connections of one role, again and again."""
    async with scene.administrator() as administrator:
        role = dice.choice(sorted(set((await scene.backends(administrator)).values())))
        for _ in range(TERMINATIONS):
            backends = await scene.backends(administrator)
            pids = [pid for pid, its in backends.items() if its == role]
            await administrator.execute(TERMINATE, pids)
            await asyncio.sleep(dice.uniform(0, 2 * TERMINATION_GAP_S))
    yield scene.org_ids


async def read_only(scene: Scene, dice: random.Random) -> Ends:
    """Have the server refuse to write for a while, as one does that was a primary."""
    async with scene.administrator() as administrator:
        await administrator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await administrator.execute("SELECT pg_reload_conf()")
        await scene.outage(dice)
        await administrator.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await administrator.execute("SELECT pg_reload_conf()")
    yield scene.org_ids


async def crowded(scene: Scene, dice: random.Random) -> Ends:
    """End the node's connections, and use up all that the server has for a while."""
    async with scene.administrator() as administrator:
        crowd: list[asyncpg.Connection] = []
        over = asyncio.create_task(scene.outage(dice))
        try:
            while not over.done():
                await administrator.execute(TERMINATE, list(await scene.backends(administrator)))
                with suppress(asyncpg.TooManyConnectionsError):
                    while not over.done():
                        crowd.append(await asyncpg.connect(scene.dsn))
                await asyncio.sleep(GRAB_S)
        finally:
            over.cancel()
            for connection in crowd:
                connection.terminate()
    yield scene.org_ids


async def disk_full(scene: Scene, dice: random.Random) -> Ends:
    """Have no room for another page of any table for a while; the log has a disk of its own."""
    assert scene.disk is not None
    scene.disk.fill()
    try:
        await scene.outage(dice)
    finally:
        scene.disk.empty()
    yield scene.org_ids


async def rows_locked(scene: Scene, dice: random.Random) -> Ends:
    """Lock the rows of some wallets for a while, as a person does who looks into them by hand."""
    org_ids = sorted(dice.sample(scene.org_ids, dice.randint(1, len(scene.org_ids) // 2)))
    async with scene.administrator() as administrator:
        await administrator.execute("BEGIN")
        await administrator.execute(
            "SELECT FROM organizations WHERE id = ANY ($1) ORDER BY id FOR UPDATE", org_ids
        )
        await scene.outage(dice)
        await administrator.execute(dice.choice(("COMMIT", "ROLLBACK")))
    yield org_ids
