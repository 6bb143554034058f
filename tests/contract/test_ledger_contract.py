"""What every ledger promises, whatever it stores in.

The simulation trusts the one in memory because the one in Postgres passes the same tests.
"""

from typing import TYPE_CHECKING, Any

import pytest

from wallet_engine.commands import Command, CreditType, Proof
from wallet_engine.errors import NotCommitted
from wallet_engine.ports import Found, Ledger, Probe, WalletBatch
from wallet_engine.rules import Facts
from wallet_engine.wallet import Entry, HoldStatus
from wallet_testing.builders import (
    ORG,
    T0_MS,
    admit,
    buy,
    change_settings,
    charge,
    commit,
    credit,
    expire,
    extend,
    heard,
    kill,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)
from wallet_testing.owners import Owner, look, stored, stored_hold

if TYPE_CHECKING:
    from .conftest import Ledgers

OTHER = "org-2"
HOUR_MS = 3_600_000


# --- commit ----------------------------------------------------------------------------------


async def test_what_commit_returns_is_durable(owner: Owner, ledgers: "Ledgers") -> None:
    """Another process finds the rows, and the wallet as the last entry left it."""
    batch = owner.batch(charge(300, key="a"), reserve("c", pence=200), charge(50, key="b"))

    assert await owner.ledger.commit([batch]) == {ORG}

    elsewhere = ledgers.ledger("boot-2")
    assert await stored(elsewhere, batch.entries) == list(batch.entries)
    [loaded] = await look(elsewhere, ORG)
    assert (loaded.seq, loaded.balance_pence, loaded.held_pence) == (4, 650, 200)
    assert [hold.call_id for hold in loaded.holds] == ["c"]
    assert loaded.last_ms == T0_MS


@pytest.mark.parametrize(
    "wrong",
    [{"epoch": 0}, {"epoch": 2}, {"owner": "boot-0"}, {"expected_seq": 0}, {"expected_seq": 2}],
)
async def test_a_wrong_belief_is_fenced(owner: Owner, wrong: dict[str, Any]) -> None:
    """A writer that believes in another epoch, owner or seq writes nothing at all."""
    batch = owner.batch(reserve("c", pence=200))._replace(**wrong)

    assert await owner.ledger.commit([batch]) == frozenset()

    await assert_untouched(owner.ledger, batch)


async def test_a_wrong_balance_is_fenced(owner: Owner) -> None:
    """A writer that believes in another balance has another history: it writes nothing."""
    batch = owner.batch(charge(1, key="a"))
    entry = batch.entries[0]._replace(balance_before_pence=999)
    batch = batch._replace(balance_before_pence=999, entries=[entry])

    assert await owner.ledger.commit([batch]) == frozenset()

    await assert_untouched(owner.ledger, batch)


async def test_an_unknown_wallet_is_fenced(owner: Owner) -> None:
    """A wallet that does not exist has no row to agree with."""
    batch = owner.batch(charge(1, key="a"))._replace(org_id="nobody")

    assert await owner.ledger.commit([batch]) == frozenset()


async def test_others_are_written_beside_a_fenced_wallet(owner: Owner) -> None:
    """A fence turns away one wallet of a group and no other."""
    fenced = owner.batch(reserve("c", pence=200))._replace(epoch=0)
    valid = owner.batch(reserve("c", org_id=OTHER, pence=300), charge(1, key="a", org_id=OTHER))

    assert await owner.ledger.commit([valid, fenced]) == {OTHER}

    assert await stored(owner.ledger, valid.entries) == list(valid.entries)
    assert await stored_hold(owner.ledger, OTHER, "c") == valid.holds()["c"]
    await assert_untouched(owner.ledger, fenced)


async def test_the_same_batch_is_written_once(owner: Owner) -> None:
    """A batch that is sent again, such as after a lost answer, meets its own seq."""
    batch = owner.batch(charge(1, key="a"))

    assert await owner.ledger.commit([batch]) == {ORG}
    assert await owner.ledger.commit([batch]) == frozenset()

    [loaded] = await look(owner.ledger, ORG)
    assert (loaded.seq, loaded.balance_pence) == (2, 999)


async def test_a_hold_is_stored_once_in_its_final_state(owner: Owner) -> None:
    """However often one batch touches a hold, its last state is what is stored."""
    first = owner.batch(admit("c"), prolong("c"), kill("c"))
    assert await owner.ledger.commit([first]) == {ORG}
    assert await stored_hold(owner.ledger, ORG, "c") == first.holds()["c"]

    second = owner.batch(heard("c", seconds=90), admit("d"), release("d"), admit("e"))
    assert await owner.ledger.commit([second]) == {ORG}

    for call_id in ("c", "d", "e"):
        assert await stored_hold(owner.ledger, ORG, call_id) == second.holds()[call_id]
    [loaded] = await look(owner.ledger, ORG)
    assert [hold.call_id for hold in loaded.holds] == ["e"]


async def test_nothing_to_write(owner: Owner) -> None:
    """No batches are no error."""
    assert await owner.ledger.commit([]) == frozenset()


async def test_many_wallets_in_any_order(owner: Owner, ledgers: "Ledgers") -> None:
    """A full group is written whole, whatever the order of its wallets."""
    org_ids = [f"many-{(number * 37) % 128:03}" for number in range(128)]
    await ledgers.create(*org_ids)
    await owner.claim(*org_ids)
    batches = [
        owner.batch(
            credit(500, key="a", org_id=org_id),
            admit("c", org_id=org_id),
            charge(number, key="b", org_id=org_id) if number else kill("c", org_id=org_id),
        )
        for number, org_id in enumerate(org_ids)
    ]

    assert await owner.ledger.commit(batches) == set(org_ids)

    entries = [entry for batch in batches for entry in batch.entries]
    assert await stored(owner.ledger, entries) == entries
    balances = [loaded.balance_pence for loaded in await look(owner.ledger, *org_ids)]
    assert balances == [500 - number for number in range(128)]


def twice_the_same_key(entry: Entry) -> Entry:
    return entry._replace(key="client:first")


def less_than_nothing_held(entry: Entry) -> Entry:
    return entry._replace(held_after_pence=-1, held_delta_pence=-1)


@pytest.mark.parametrize("poisoned", [twice_the_same_key, less_than_nothing_held])
async def test_poison_leaves_nothing_behind(owner: Owner, poisoned: object) -> None:
    """What the ledger cannot store is refused, and with it all that came in the same group."""
    assert callable(poisoned)
    batch = owner.batch(charge(1, key="a"), charge(1, key="b"))
    batch = batch._replace(entries=[batch.entries[0], poisoned(batch.entries[1])])
    beside = owner.batch(reserve("c", org_id=OTHER, pence=100))

    with pytest.raises(NotCommitted):
        await owner.ledger.commit([beside, batch])

    await assert_untouched(owner.ledger, beside)
    assert await stored(owner.ledger, [batch.entries[0]]) == [None]
    [loaded] = await look(owner.ledger, ORG)
    assert (loaded.seq, loaded.balance_pence) == (1, 1000)


async def test_commit_apart_writes_one_wallet(owner: Owner) -> None:
    """Apart from its group a wallet is written, fenced or refused by itself."""
    batch = owner.batch(reserve("c", pence=100))
    assert await owner.ledger.commit_apart(batch)
    assert await stored(owner.ledger, batch.entries) == list(batch.entries)
    assert not await owner.ledger.commit_apart(batch)

    poison = owner.batch(charge(1, key="a"))
    poison = poison._replace(entries=[twice_the_same_key(poison.entries[0])])
    with pytest.raises(NotCommitted):
        await owner.ledger.commit_apart(poison)
    [loaded] = await look(owner.ledger, ORG)
    assert loaded.seq == 2


# --- probe -----------------------------------------------------------------------------------


async def test_every_kind_of_entry_comes_back_as_it_was_decided(owner: Owner) -> None:
    """Replay and explanation read what was stored: it equals what was decided, holds and all."""
    commands: list[Command] = [
        credit(100_000, key="top"),
        credit(-5, key="adjusted", type=CreditType.ADJUSTMENT, description="naïve “quotes”\x1f\n"),
        change_settings({"rate_pence_per_minute": 60, "asset_prices": {"did": 700}}, key="s1"),
        admit("long"),
        prolong("long"),
        extend("long", pence=77, key="more"),
        kill("long", reason="fraud: \\ \x1f 'quoted'"),
        heard("long", seconds=61, proof=Proof.ENDED),
        reserve("zero", minutes=7),
        commit("zero", ms=0),
        commit("direct", pence=123),
        reserve("freed", pence=50),
        release("freed", reason="busy"),
        release("unseen"),
        kill("unseen-too", key="by-hand"),
        buy(1000),
        charge(5, description="Überziehung 👍"),
        suspend(),
        resume(),
        change_settings({"rate_pence_per_minute": None, "prepaid_billing": True}, key="s2"),
    ]
    entries = await owner.write(*commands)
    owner.now_ms += HOUR_MS
    entries += await owner.write(admit("lost"))
    owner.now_ms += HOUR_MS
    entries += await owner.write(expire("lost"))
    [settled] = [entry for entry in entries if entry.key == "commit:long"]
    facts = Facts(entry=settled, hold=settled.hold)
    before = owner.wallets[ORG].seq, owner.wallets[ORG].balance_pence
    corrected = owner.decided(heard("long", seconds=200), facts)
    assert await owner.ledger.commit([owner.batch_of([corrected], *before)]) == {ORG}
    entries.append(corrected)

    assert await stored(owner.ledger, entries) == entries

    holds = {entry.hold.call_id: entry.hold for entry in entries if entry.hold is not None}
    assert {hold.status for hold in holds.values()} == set(HoldStatus) - {HoldStatus.ACTIVE}
    for call_id, hold in holds.items():
        assert await stored_hold(owner.ledger, ORG, call_id) == hold


async def test_probe_answers_in_order(owner: Owner) -> None:
    """Each question gets its own answer, also the same question twice, also none."""
    [charged, held] = await owner.write(charge(1, key="a"), reserve("c", pence=100))
    nothing = Found(None, None)

    found = await owner.ledger.probe(
        [
            Probe(ORG, "client:missing", "missing"),
            Probe(ORG, "client:a", "c"),
            Probe(ORG, "", ""),
            Probe(OTHER, "client:a", "c"),
            Probe(ORG, "client:a", ""),
            Probe("nobody", "client:a", "c"),
            Probe(ORG, "", "c"),
            Probe(ORG, "client:a", "c"),
            Probe(ORG, "reserve:c", "missing"),
        ]
    )

    assert found == [
        nothing,
        Found(charged, held.hold),
        nothing,
        nothing,
        Found(charged, None),
        nothing,
        Found(None, held.hold),
        Found(charged, held.hold),
        Found(held, None),
    ]
    assert await owner.ledger.probe([]) == []


async def assert_untouched(ledger: Ledger, batch: WalletBatch) -> None:
    """Assert that nothing of a batch on a wallet of the `owner` fixture was written."""
    assert await stored(ledger, batch.entries) == [None] * len(batch.entries)
    for call_id in batch.holds():
        assert await stored_hold(ledger, batch.org_id, call_id) is None
    [loaded] = await look(ledger, batch.org_id)
    assert (loaded.seq, loaded.balance_pence, loaded.held_pence) == (1, 1000, 0)
    assert list(loaded.holds) == []
