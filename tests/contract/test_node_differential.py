"""The whole engine on the ledger in memory, and on Postgres: the same asks, the same answers.

One client asks both nodes the same, one ask after the other; now and then both restart.  What
they remember is so little that most of what they know they look up.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from wallet_engine.commands import Ask, AssetType, CreditType, Proof
from wallet_engine.errors import WalletError
from wallet_engine.limits import Limits
from wallet_engine.memory_ledger import MemoryLedger
from wallet_engine.node import Node
from wallet_engine.ports import Ledger, Org
from wallet_engine.settings import Settings
from wallet_engine.wallet import Entry
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access
from wallet_testing import builders
from wallet_testing.builders import T0_MS
from wallet_testing.clock import ManualClock
from wallet_testing.ledger_rows import differences, spelled, stored_in_memory, stored_in_postgres
from wallet_testing.pools import pool_to
from wallet_testing.world import RecordingStats

ORGS = ("org-1", "org-2", "org-3")
ASKS_PER_LIFE = 120
LIVES = 4
TIMEOUT_S = 60.0
"""Far longer than any answer takes: no ask may fail for being late."""


@dataclass
class Told:
    """Notes what follows from durable entries."""

    told: list[object] = field(default_factory=list)

    def call_killed(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        self.told.append(("killed", org_id, call_id, reason, since_ms))

    def call_final(self, org_id: str, call_id: str, ends_ms: int) -> None:
        self.told.append(("final", org_id, call_id, ends_ms))

    def call_ended(self, org_id: str, call_id: str) -> None:
        self.told.append(("ended", org_id, call_id))

    def call_left(self, org_id: str, call_id: str) -> None:
        self.told.append(("left", org_id, call_id))

    def decided(self, entry: Entry) -> None:
        self.told.append(entry)


@asynccontextmanager
async def node_on(
    ledger: Ledger, clock: ManualClock, life: int
) -> AsyncIterator[tuple[Node, Told]]:
    told = Told()
    node = Node(
        node_id="node-1",
        boot_id=f"boot-{life}",
        ledger=ledger,
        clock=clock,
        effects=told,
        stats=RecordingStats(),
        defaults=Settings(),
        limits=Limits(remembered_keys=2),
    )
    await node.start()
    try:
        yield node, told
    finally:
        await node.stop()


async def answer(node: Node, ask: Ask) -> str:
    """Return what a node says, or why it says nothing."""
    try:
        return spelled(await node.ask(ask, timeout_s=TIMEOUT_S))
    except WalletError as error:
        return repr(error)


def any_ask(luck: random.Random) -> Ask:
    """Return some ask: few calls and keys, so that most of them meet others."""
    org_id = luck.choice([*ORGS, *ORGS, *ORGS, *ORGS, "nobody"])
    call_id = luck.choice(["c", "d", "e", "f", "g", "h"]) + str(luck.randrange(8))
    key = f"k{luck.randrange(60)}"
    pence = luck.choice([1, 56, 79, 280, luck.randrange(1, 2000)])
    about_call: dict[str, Any] = {"call_id": call_id, "org_id": org_id}
    about_money: dict[str, Any] = {"key": key, "org_id": org_id}
    money: list[Callable[[], Ask]] = [
        lambda: builders.charge(pence, **about_money),
        lambda: builders.buy(pence, type=luck.choice([*AssetType]), **about_money),
        lambda: builders.credit(pence, type=CreditType.REFUND, **about_money),
        lambda: builders.credit(-pence, type=CreditType.CLAWBACK, **about_money),
        lambda: builders.credit(4 * pence, **about_money),
        lambda: builders.suspend(**about_money),
        lambda: builders.resume(**about_money),
        lambda: builders.resume(**about_money),
        lambda: builders.change_settings({"debt_limit_pence": pence}, **about_money),
        lambda: builders.change_settings({"debt_limit_pence": None}, **about_money),
        lambda: builders.look(org_id=org_id),
    ]
    calls: list[Callable[[], Ask]] = [
        lambda: builders.reserve(minutes=luck.choice([None, 1, 30]), **about_call),
        lambda: builders.admit(**about_call),
        lambda: builders.admit(**about_call),
        lambda: builders.extend(seconds=pence, **about_call),
        lambda: builders.extend(pence=pence, key=key, **about_call),
        lambda: builders.commit(
            ms=luck.choice([0, 1, 61_000, 100 * pence]),
            proof=luck.choice([*Proof]),
            strict=luck.random() < 0.5,
            **about_call,
        ),
        lambda: builders.commit(pence=pence, **about_call),
        lambda: builders.release(**about_call),
        lambda: builders.kill(key=luck.choice([None, key]), **about_call),
        lambda: builders.note_start(heard_ms=T0_MS, **about_call),
        lambda: builders.check(**about_call),
    ]
    return luck.choice(money if luck.random() < 0.4 else calls)()


@pytest.mark.parametrize("seed", range(2))
async def test_the_engine_is_the_same_on_both_ledgers(database: str, seed: int) -> None:
    """Whatever one client asks, both give the same answers, effects and rows."""
    luck = random.Random(seed)
    clock = ManualClock()
    memory = MemoryLedger(clock)
    async with pool_to(database) as pool:
        for org_id in ORGS:
            memory.create(org_id)
            org = Org(org_id=org_id, name=org_id, created_ms=T0_MS)
            await PostgresDirectory(pool).create_org(org, {}, node="node-1")

    outcomes = Counter[str]()
    for life in range(LIVES):
        postgres = PostgresLedger(Access(dsn=database, node="node-1", boot=f"boot-{life}"))
        async with (
            node_on(memory, clock, life) as (node, told),
            node_on(postgres, clock, life) as (real_node, really_told),
        ):
            for _ in range(ASKS_PER_LIFE):
                ask = any_ask(luck)
                said = await answer(node, ask)
                assert said == await answer(real_node, ask), ask
                outcomes[said.split(",")[0]] += 1
        await postgres.close()
        # Between lives only: when the sweep loads a wallet, beside the asks, is left to chance.
        clock.advance(ms=700)
        # In which order a claim brings the holds of a wallet, no ledger promises.
        assert sorted(map(spelled, told.told)) == sorted(map(spelled, really_told.told))

    admin = await asyncpg.connect(database)
    rows = stored_in_memory(memory)
    assert not (found := differences(rows, await stored_in_postgres(admin))), "\n".join(found)
    await admin.close()
    assert len(rows) > ASKS_PER_LIFE, "the asks must meet something"
    assert outcomes.keys() >= {'["created"', '["repeated"', '["refused"', '["answered"'}
