"""Orgs, assistants, numbers and the fleet's switch, stored in a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from wallet_engine.audit import Auditor, StoredWallet
from wallet_engine.commands import ChangeSettings
from wallet_engine.errors import InvalidCommand
from wallet_engine.ports import Assistant, Org, PhoneNumber
from wallet_engine.settings import Settings
from wallet_persistence.directory import CREATION_KEY, PostgresDirectory
from wallet_persistence.fleet import PostgresFleet
from wallet_persistence.history import PostgresHistory
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access, Pool, borrowed
from wallet_testing.builders import ORG, T0_MS, admit, charge, credit, reserve
from wallet_testing.owners import Owner, look
from wallet_testing.pools import pool_to

ACME = Org(org_id=ORG, name="Acme “Ltd”", created_ms=T0_MS + 123)


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with pool_to(database) as opened:
        yield opened


@pytest.fixture
def directory(pool: Pool) -> PostgresDirectory:
    return PostgresDirectory(pool)


@pytest_asyncio.fixture
async def owner(database: str) -> AsyncIterator[Owner]:
    ledger = PostgresLedger(Access(dsn=database, node="node-1", boot="boot-1"))
    yield Owner(ledger, "boot-1")
    await ledger.close()


# --- orgs ------------------------------------------------------------------------------------


async def test_an_org_is_created_once(directory: PostgresDirectory, owner: Owner) -> None:
    """The second time nothing is changed; without settings of its own its journal is empty."""
    assert await directory.create_org(ACME, {}, node="node-1")
    other = Org(org_id=ORG, name="Other", created_ms=T0_MS)
    assert not await directory.create_org(other, {"hold_minutes": 1}, node="node-1")

    assert await directory.org(ORG) == ACME
    assert await directory.org("nobody") is None
    [loaded] = await look(owner.ledger, ORG)
    assert (loaded.seq, loaded.balance_pence, dict(loaded.overrides)) == (0, 0, {})


async def test_settings_at_creation_are_journaled(
    directory: PostgresDirectory, owner: Owner, pool: Pool
) -> None:
    """The first row is a change of settings, as the engine would have written it."""
    overrides = {"debt_limit_pence": 0, "hold_minutes": 3, "asset_prices": {"did": 5}}
    assert await directory.create_org(ACME, overrides, node="node-7")

    entry = await PostgresHistory(pool).by_seq(ORG, 1)
    assert entry is not None
    assert (entry.key, entry.type, entry.node, entry.epoch) == (
        CREATION_KEY, "settings_change", "node-7", 0,
    )  # fmt: skip
    assert entry.detail == {"changes": overrides}
    assert entry.at_ms == ACME.created_ms
    same = ChangeSettings(org_id=ORG, client_key="any", changes=overrides)
    assert entry.fingerprint == same.fingerprint
    [loaded] = await look(owner.ledger, ORG)
    assert loaded.overrides == overrides
    assert await directory.org(ORG) == replace(ACME, overrides=overrides)
    assert (loaded.seq, loaded.last_ms) == (1, ACME.created_ms)
    auditor = Auditor(ORG, Settings())
    auditor.row(entry)
    stored = StoredWallet(
        org_id=ORG,
        seq=1,
        epoch=1,
        balance_pence=0,
        held_pence=0,
        suspended=False,
        overrides=loaded.overrides,
    )
    assert auditor.finish(stored, []) == []

    await owner.claim(ORG)
    [topped] = await owner.write(credit(5))
    assert topped.seq == 2


async def test_settings_that_cannot_be_create_nothing(directory: PostgresDirectory) -> None:
    """A wrong setting is found before anything is written."""
    with pytest.raises(InvalidCommand):
        await directory.create_org(ACME, {"hold_minutes": 0}, node="node-1")

    assert await directory.org(ORG) is None


async def test_an_org_is_renamed_under_its_owner(
    directory: PostgresDirectory, owner: Owner
) -> None:
    """A new name takes nothing from who owns the wallet."""
    await directory.create_org(ACME, {}, node="node-1")
    await owner.claim(ORG)

    await directory.rename_org(ORG, "New")

    await owner.write(credit(5))
    renamed = await directory.org(ORG)
    assert renamed == Org(org_id=ORG, name="New", created_ms=ACME.created_ms)


# --- assistants and numbers --------------------------------------------------------------------


def assistant(name: str, *, default: bool = False, org_id: str = ORG) -> Assistant:
    config = json.dumps({"name": name, "firstMessage": "Grüß Gott"})
    return Assistant(assistant_id=name, org_id=org_id, default=default, config_json=config)


def same(found: Assistant | None, expected: Assistant) -> bool:
    """Whether two assistants are equal, however their JSON is written."""
    assert found is not None
    assert found.config_json is not None
    assert expected.config_json is not None
    written = json.dumps(json.loads(found.config_json), sort_keys=True)
    wanted = json.dumps(json.loads(expected.config_json), sort_keys=True)
    return (found.assistant_id, found.org_id, found.default, written) == (
        expected.assistant_id, expected.org_id, expected.default, wanted,
    )  # fmt: skip


async def test_a_new_default_replaces_the_one_before(directory: PostgresDirectory) -> None:
    """Each org has one default at most, and other orgs keep theirs."""
    await directory.put_assistant(assistant("a", default=True))
    await directory.put_assistant(assistant("x", default=True, org_id="org-2"))
    await directory.put_assistant(assistant("b"))
    assert same(await directory.default_assistant(ORG), assistant("a", default=True))

    await directory.put_assistant(assistant("b", default=True))

    assert same(await directory.default_assistant(ORG), assistant("b", default=True))
    assert same(await directory.assistant("a"), assistant("a"))
    assert same(
        await directory.default_assistant("org-2"), assistant("x", default=True, org_id="org-2")
    )
    await directory.put_assistant(assistant("b"))
    assert await directory.default_assistant(ORG) is None
    assert await directory.assistant("missing") is None


async def test_an_assistant_may_be_known_by_id_alone(directory: PostgresDirectory) -> None:
    """Its configuration is then at the provider; it may also move to another org."""
    bare = Assistant(assistant_id="a", org_id=ORG, default=False, config_json=None)
    await directory.put_assistant(assistant("a", org_id="org-2"))

    await directory.put_assistant(bare)

    assert await directory.assistant("a") == bare


async def test_defaults_may_be_set_at_once(directory: PostgresDirectory) -> None:
    """Of several that become the default together one remains, and nobody fails."""
    names = [f"a{number}" for number in range(12)]

    await asyncio.gather(*(directory.put_assistant(assistant(n, default=True)) for n in names))

    found = [await directory.assistant(name) for name in names]
    assert sum(one.default for one in found if one is not None) == 1


async def test_a_number_is_found_by_id_then_by_number(directory: PostgresDirectory) -> None:
    """The id goes first; empty texts match nothing; of two with one number the later counts."""

    def number(name: str, digits: str, org_id: str = ORG) -> PhoneNumber:
        return PhoneNumber(phone_number_id=name, org_id=org_id, number=digits, assistant_id=None)

    first, second = number("n1", "+15550001"), number("n2", "+15550002", "org-2")
    for one in (first, second, number("n3", "")):
        await directory.put_number(one)

    assert await directory.number("n1", "") == first
    assert await directory.number("n1", "+15550002") == first
    assert await directory.number("missing", "+15550002") == second
    assert await directory.number("", "+15550002") == second
    assert await directory.number("", "") is None
    assert await directory.number("missing", "") is None

    moved = PhoneNumber(phone_number_id="n1", org_id="org-2", number="+15550002", assistant_id="a")
    await directory.put_number(moved)
    assert await directory.number("", "+15550002") == moved
    assert await directory.number("", "+15550001") is None


async def test_the_org_of_an_admitted_call(directory: PostgresDirectory, owner: Owner) -> None:
    """Calls that the provider knows lead to their org, live or ended; holds over /v1 do not."""
    await directory.create_org(ACME, {}, node="node-1")
    await owner.claim(ORG)
    await owner.write(credit(1000), admit("theirs"), reserve("ours"), charge(1))

    assert await directory.org_of_call("theirs") == ORG
    assert await directory.org_of_call("ours") is None
    assert await directory.org_of_call("missing") is None


async def test_the_org_of_a_call_that_was_never_admitted(
    directory: PostgresDirectory, pool: Pool
) -> None:
    """It is that of its first message."""
    told = "INSERT INTO calls (org_id, call_id, created_at) VALUES ($1, 'told', now() + $2)"
    async with borrowed(pool) as connection:
        await connection.execute(told, "org-later", timedelta(seconds=1))
        await connection.execute(told, "org-first", timedelta(0))

    assert await directory.org_of_call("told") == "org-first"


# --- the fleet's switch --------------------------------------------------------------------------


async def test_the_newest_switch_counts(pool: Pool) -> None:
    """States are added; a key that is used again changes nothing and tells what it did."""
    fleet = PostgresFleet(pool)
    assert await fleet.newest() is None

    stopped, repeat = await fleet.throw(
        key="a", engaged=True, end_live_calls=True, reason="fraud", actor="ops"
    )
    assert not repeat
    assert (stopped.engaged, stopped.end_live_calls, stopped.reason, stopped.actor) == (
        True, True, "fraud", "ops",
    )  # fmt: skip
    assert await fleet.newest() == stopped

    started, _ = await fleet.throw(
        key="b", engaged=False, end_live_calls=False, reason="over", actor="ops"
    )
    assert await fleet.newest() == started
    assert started.switch_id > stopped.switch_id

    again = await fleet.throw(
        key="a", engaged=True, end_live_calls=True, reason="fraud", actor="ops"
    )
    assert again == (stopped, True)
    assert await fleet.newest() == started


async def test_a_switch_thrown_twice_at_once_is_thrown_once(pool: Pool) -> None:
    """Two requests under one key: one does it, the other hears of it."""
    fleet = PostgresFleet(pool)

    found = await asyncio.gather(
        *(
            fleet.throw(key="a", engaged=True, end_live_calls=False, reason="r", actor="ops")
            for _ in range(6)
        )
    )

    assert len({switch for switch, _ in found}) == 1
    assert sorted(repeat for _, repeat in found) == [False] + [True] * 5
