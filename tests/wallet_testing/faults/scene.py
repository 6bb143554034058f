"""Where faults happen: clients at work on a node, its Postgres, and the cable between the two."""

import asyncio
import math
import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from wallet_engine.settings import Settings
from wallet_loadtests.books import auditing
from wallet_persistence.audit import LedgerAudit
from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.migrate import migrate
from wallet_testing.cable import Cable, cable_to
from wallet_testing.processes import POLL_S, Stage, staged, until
from wallet_testing.recorder import CHECK, Recorded
from wallet_testing.traffic import Traffic

from .disk import SmallDisk, small_disk

ORGS = tuple(f"org-{number}" for number in range(8))
OPENING_PENCE = 5_000

DATABASE = "faults"
TABLESPACE = "small"

SERVER = {"max_connections": "60"}
"""Few enough to use them all up."""

RECOVERY_S_MAX = 45.0
"""After this long a wallet that has not recovered never will."""

THINK_S = 0.03
HANG_UP_SHARE = 0.03

FENCES = "wallet_fenced_total"

NODE_BACKENDS = """
-- The backends of nodes: which, and for what.
SELECT pid, split_part(split_part(application_name, ':', 1), '-', 2) AS role
FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'wallet-%:%'
"""

ERROR = '"level":"error"'
"""A line that a node writes to its log only when something is wrong with the node itself."""

FORGOTTEN = re.compile(r"exception was never retrieved.*(asyncpg|PoolConnectionHolder)")
"""But this: asyncpg leaves futures behind when a connection breaks within a COPY, or while it goes
back to its pool; nobody waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How long after a fault the first wallet had a success, and the last one."""

    first_s: float
    all_s: float


class Watch:
    """Waits until each of some wallets has had a success of its own that began after now."""

    def __init__(self, org_ids: Sequence[str]) -> None:
        self.began_s = asyncio.get_running_loop().time()
        self.missing = set(org_ids)
        self.done = asyncio.Event()
        self._told_s: list[float] = []

    def __call__(self, recorded: Recorded) -> None:
        """Hear of an answer: new decisions count, repeats and reads do not."""
        request, answer = recorded.request, recorded.answer
        fresh = answer.acknowledged and not answer.duplicate and request.verb != CHECK
        if fresh and recorded.sent_s >= self.began_s and request.org_id in self.missing:
            self._told_s.append(asyncio.get_running_loop().time() - self.began_s)
            self.missing.discard(request.org_id)
            if not self.missing:
                self.done.set()

    def recovery(self) -> Recovery:
        """Return how long it took."""
        return Recovery(first_s=self._told_s[0], all_s=self._told_s[-1])


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything that can be hurt, and whoever works on meanwhile.

    `outage_s`: how long a fault lasts, from and to.  `patience_s`: when the node gives up on a
    statement, and on a request.  `troubles`: what went wrong that no answer tells.
    """

    postgres: EmbeddedPostgres
    dsn: str
    cable: Cable
    stage: Stage
    traffic: Traffic
    disk: SmallDisk | None
    outage_s: tuple[float, float]
    patience_s: float
    troubles: list[str] = field(default_factory=list)
    _fences: dict[tuple[int, str], float] = field(default_factory=dict)

    @property
    def org_ids(self) -> Sequence[str]:
        """All wallets."""
        return ORGS

    async def outage(self, dice: random.Random) -> None:
        """Wait as long as an outage lasts: short ones are as likely as long ones."""
        low, high = map(math.log, self.outage_s)
        await asyncio.sleep(math.exp(dice.uniform(low, high)))

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection that goes past the cable, and writes whatever the default is."""
        settings = {"application_name": "faults", "default_transaction_read_only": "off"}
        connection = await asyncpg.connect(self.dsn, server_settings=settings)
        try:
            yield connection
        finally:
            connection.terminate()

    async def backends(self, administrator: asyncpg.Connection) -> Mapping[int, str]:
        """Return what the node's backends are for, by process id."""
        return {row["pid"]: row["role"] for row in await administrator.fetch(NODE_BACKENDS)}

    async def until_postgres_lets_in(self) -> None:
        """Wait until the server takes connections again."""

        async def lets_in() -> bool:
            with suppress(OSError, asyncpg.PostgresError):
                async with self.administrator():
                    return True
            return False

        await until(lets_in, "Postgres takes connections")

    async def recovered(self, org_ids: Sequence[str]) -> Recovery:
        """Wait until these wallets work again; a node that ended is started again, and told of.

        Raises:
            AssertionError: they never did.
        """
        watch = Watch(org_ids)
        listeners = self.stage.recorder.listeners
        listeners.append(watch)
        try:
            async with asyncio.timeout(RECOVERY_S_MAX):
                while not watch.done.is_set():
                    await self._node_runs()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S * 10):
                            await watch.done.wait()
        except TimeoutError:
            words = self.stage.node.last_words()
            raise AssertionError(f"{watch.missing} never recovered:\n{words}") from None
        finally:
            listeners.remove(watch)
        return watch.recovery()

    async def _node_runs(self) -> None:
        node = self.stage.node
        if not node.is_running:
            self.troubles.append(f"the node ended by itself:\n{node.last_words()}")
            await node.start()

    async def books(self) -> list[str]:
        """Return where a wallet's tables contradict each other: a quick look at the sums."""
        async with auditing(self.dsn) as auditor:
            books = {org_id: await auditor.books(org_id) for org_id in ORGS}
        return [f"{org_id}: {fault}" for org_id, it in books.items() for fault in it.faults]

    async def drift(self) -> list[str]:
        """Replay every journal, and return what the audit finds."""
        async with LedgerAudit(self.dsn, Settings()) as audit:
            return [finding async for it in audit.wallets(None) for finding in it.findings]

    async def note_fences(self) -> None:
        """Note how often the node met which failure of a write, before another one begins at 0."""
        node = self.stage.node
        for name, count in (await self.stage.metrics(FENCES)).items():
            self._fences[node.pid, name.split('"')[1]] = count

    def fences(self) -> Counter[str]:
        """Return how often all nodes met which failure of a write: proof that it was met."""
        total: Counter[str] = Counter()
        for (_, cause), count in self._fences.items():
            total[cause] += round(count)
        return total

    def errors(self) -> list[str]:
        """Return the errors in all nodes' logs: no fault outside of a node excuses those."""
        logs = sorted(self.stage.node.log.parent.glob("node-*.log"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if ERROR in line and not FORGOTTEN.search(line)]


Ends = AsyncGenerator[Sequence[str], None]
"""The ends of a fault, each with the wallets that it was about; once they work again it goes on,
and cleans up or does more."""

Fault = Callable[[Scene, random.Random], Ends]
"""One kind of fault."""


async def suffer(scene: Scene, fault: Fault, dice: random.Random) -> list[Recovery]:
    """Go through one fault, and return how quickly it was over after each of its ends."""
    async with aclosing(fault(scene, dice)) as ends:
        recoveries = [await scene.recovered(org_ids) async for org_ids in ends]
    await scene.note_fences()
    return recoveries


@asynccontextmanager
async def scene_in(
    folder: Path, *, seed: int, patience_s: float, outage_s: tuple[float, float]
) -> AsyncIterator[Scene]:
    """Set a scene; `folder` is where the nodes' logs go.  All of it is gone in the end."""
    async with AsyncExitStack() as opened:
        disk = opened.enter_context(small_disk())
        postgres = await opened.enter_async_context(EmbeddedPostgres(None, options=SERVER))
        dsn = await _database(postgres, disk)
        cable, node_dsn = await opened.enter_async_context(cable_to(dsn))
        settings = {
            "WALLET_HTTP__REQUEST_DEADLINE_S": f"{patience_s}",
            "WALLET_POSTGRES__STATEMENT_TIMEOUT_MS": f"{patience_s * 1000:.0f}",
            "WALLET_POSTGRES__LOCK_TIMEOUT_MS": f"{patience_s * 400:.0f}",
        }
        stage = await opened.enter_async_context(
            staged(dsn, folder, node_dsn=node_dsn, settings=settings)
        )
        for org_id in ORGS:
            await stage.org(org_id, OPENING_PENCE)
        yield Scene(
            postgres=postgres,
            dsn=dsn,
            cable=cable,
            stage=stage,
            traffic=Traffic(
                stage.recorder, ORGS, seed=seed, think_s=THINK_S, hang_up_share=HANG_UP_SHARE
            ),
            disk=disk,
            outage_s=outage_s,
            patience_s=patience_s,
        )


async def _database(postgres: EmbeddedPostgres, disk: SmallDisk | None) -> str:
    """Make the database, on the small disk if there is one."""
    connection = await asyncpg.connect(postgres.dsn_of("postgres"))
    try:
        where = ""
        if disk is not None:
            await connection.execute(f"CREATE TABLESPACE {TABLESPACE} LOCATION '{disk.folder}'")
            where = f" TABLESPACE {TABLESPACE}"
        await connection.execute(f"CREATE DATABASE {DATABASE}{where}")
    finally:
        await connection.close()
    dsn = postgres.dsn_of(DATABASE)
    await migrate(dsn)
    return dsn
