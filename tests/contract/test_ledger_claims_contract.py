"""What every ledger promises of claims: who owns a wallet, and what its owner is given."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from wallet_engine.ports import DueHold, Ledger, Loaded, Taken
from wallet_engine.sharding import SHARD_COUNT, shard_of
from wallet_testing.builders import (
    ORG,
    T0_MS,
    admit,
    change_settings,
    charge,
    commit,
    credit,
    release,
    reserve,
    resume,
    suspend,
)
from wallet_testing.owners import Owner, claimed, look

if TYPE_CHECKING:
    from .conftest import Ledgers

OTHER = "org-2"
HOUR_MS = 3_600_000

# --- activate and release --------------------------------------------------------------------


async def test_a_claim_begins_a_new_epoch(owner: Owner) -> None:
    """Each claim, also by the same owner, is another epoch; who is missing does not exist."""
    claims = await claimed(owner.ledger, [OTHER, ORG, "nobody"], owner="boot-1", tenure_ms=HOUR_MS)

    assert set(claims) == {ORG, OTHER}
    claim = claims[ORG]
    assert isinstance(claim, Loaded)
    assert claim == Loaded(
        org_id=ORG,
        epoch=2,
        seq=1,
        balance_pence=1000,
        held_pence=0,
        suspended=False,
        overrides={},
        last_ms=T0_MS,
        holds=[],
    )


async def test_a_new_wallet_is_empty(owner: Owner, ledgers: "Ledgers") -> None:
    """A wallet that was never written to has seq 0 and no last entry."""
    await ledgers.create("fresh")

    [loaded] = await look(owner.ledger, "fresh")

    assert (loaded.seq, loaded.balance_pence, loaded.last_ms, loaded.epoch) == (0, 0, 0, 1)


@pytest.mark.parametrize("tenure_ms", [HOUR_MS, 1000 * HOUR_MS])
async def test_a_wallet_stays_with_its_owner_for_the_tenure(
    owner: Owner, ledgers: "Ledgers", tenure_ms: int
) -> None:
    """Who comes too early hears who has it, and takes nothing: the owner goes on writing."""
    rival = ledgers.ledger("boot-2")

    claims = await claimed(rival, [ORG], owner="boot-2", tenure_ms=tenure_ms)
    [claim] = claims.values()
    assert isinstance(claim, Taken)
    assert (claim.owner, claim.epoch) == ("boot-1", 1)
    await owner.write(charge(1, key="a"))

    claims = await claimed(rival, [ORG], owner="boot-2")
    assert isinstance(claims[ORG], Loaded)


async def test_a_claim_that_comes_late_takes_nothing(owner: Owner, ledgers: "Ledgers") -> None:
    """What was seen before somebody else came is no reason any more; what is free is free."""
    late, rival = ledgers.ledger("boot-3"), Owner(ledgers.ledger("boot-2"), "boot-2")
    seen = {ORG: owner.wallets[ORG].epoch}
    await rival.claim(ORG)

    [claim] = (await late.activate([ORG], owner="boot-3", seen=seen)).values()
    assert isinstance(claim, Taken)
    assert (claim.owner, claim.epoch) == ("boot-2", 2)
    await rival.write(charge(1, key="a"))

    await rival.ledger.release({ORG: 2})
    assert isinstance((await late.activate([ORG], owner="boot-3", seen=seen))[ORG], Loaded)


async def test_a_released_wallet_is_free_at_once(owner: Owner, ledgers: "Ledgers") -> None:
    """No tenure protects what its owner gave up, and what it gave up it cannot write."""
    rival = ledgers.ledger("boot-2")
    late = owner.batch(charge(1, key="late"))
    await owner.ledger.release({OTHER: 1, ORG: 1, "nobody": 1})

    assert await owner.ledger.commit([late]) == frozenset()
    claims = await claimed(rival, [ORG, OTHER], owner="boot-2", tenure_ms=HOUR_MS)

    assert [type(claims[org_id]) for org_id in (ORG, OTHER)] == [Loaded, Loaded]


async def test_only_the_owner_gives_up(owner: Owner, ledgers: "Ledgers") -> None:
    """A former owner that gives up late does not disown the present one, nor itself if it is."""
    rival = Owner(ledgers.ledger("boot-2"), "boot-2")
    for epoch in (2, 3):
        await rival.claim(ORG)
        assert rival.wallets[ORG].epoch == epoch
        await owner.ledger.release({ORG: epoch - 1})
        await rival.write(charge(1, key=f"key-{epoch}"))


async def test_an_older_epoch_cannot_write(owner: Owner, ledgers: "Ledgers") -> None:
    """What was decided before another claim is turned away, even for the same owner."""
    batch = owner.batch(charge(1, key="a"))
    await claimed(ledgers.ledger("boot-2"), [ORG], owner="boot-2")
    assert await owner.ledger.commit([batch]) == frozenset()

    again = Owner(owner.ledger, "boot-1")
    await again.claim(ORG)

    assert await owner.ledger.commit([batch]) == frozenset()
    assert await owner.ledger.commit([again.batch(charge(1, key="a"))]) == {ORG}


async def test_a_claim_brings_live_holds_only(owner: Owner) -> None:
    """What ended stays in the ledger; what lives is loaded, as it was written."""
    entries = await owner.write(
        reserve("a", pence=100), admit("b"), reserve("c", pence=100), commit("c", seconds=1)
    )

    [loaded] = await look(owner.ledger, ORG)

    live = {hold.call_id: hold for hold in loaded.holds}
    assert live == {"a": entries[0].hold, "b": entries[1].hold}
    assert loaded.held_pence == sum(hold.reserved_pence for hold in live.values())


async def test_overlapping_claims_do_not_wait_for_each_other(
    owner: Owner, ledgers: "Ledgers"
) -> None:
    """Two processes that claim the same wallets in opposite orders both come through."""
    org_ids = [f"many-{number:02}" for number in range(50)]
    await ledgers.create(*org_ids)
    rivals = {boot: ledgers.ledger(boot) for boot in ("boot-2", "boot-3")}
    rounds = 8

    async def claim_all(boot: str, order: list[str]) -> None:
        for _ in range(rounds):
            claims = await claimed(rivals[boot], order, owner=boot)
            assert set(claims) == set(org_ids)

    await asyncio.gather(claim_all("boot-2", org_ids), claim_all("boot-3", org_ids[::-1]))

    loaded = await look(owner.ledger, *org_ids)
    assert all(2 <= one.epoch <= 2 * rounds + 1 for one in loaded)


# --- what a wallet remembers -------------------------------------------------------------------


async def test_a_suspension_is_stored(owner: Owner) -> None:
    """The last word of a batch counts, and entries of other kinds change nothing."""
    await owner.write(suspend(key="a"), resume(key="b"), suspend(key="c"), charge(1))
    assert [one.suspended for one in await look(owner.ledger, ORG, OTHER)] == [True, False]

    await owner.claim(ORG)
    await owner.write(charge(1, key="d"))
    assert (await look(owner.ledger, ORG))[0].suspended

    await owner.claim(ORG)
    await owner.write(suspend(key="e"), resume(key="f"))
    assert not (await look(owner.ledger, ORG))[0].suspended


async def test_settings_are_stored(owner: Owner) -> None:
    """Changes add up over batches and within one; None inherits again."""
    prices = {"phone_number": 900, "did": 5}
    await owner.write(
        change_settings(
            {"debt_limit_pence": 0, "hold_minutes": 3, "asset_prices": prices}, key="1"
        ),
        change_settings({"hold_minutes": None, "rate_pence_per_minute": 30}, key="2"),
        change_settings({"rate_pence_per_minute": 31, "prepaid_billing": False}, key="3"),
    )
    [loaded] = await look(owner.ledger, ORG)
    assert loaded.overrides == {
        "debt_limit_pence": 0,
        "asset_prices": prices,
        "rate_pence_per_minute": 31,
        "prepaid_billing": False,
    }

    await owner.claim(ORG)
    await owner.write(
        change_settings({"debt_limit_pence": None, "asset_prices": {"did": 6}}, key="4"),
        credit(5, key="5"),
        change_settings({"prepaid_billing": None}, key="6"),
    )
    [loaded] = await look(owner.ledger, ORG)
    assert loaded.overrides == {"asset_prices": {"did": 6}, "rate_pence_per_minute": 31}


# --- deadlines -----------------------------------------------------------------------------------


async def test_due_holds_are_found_by_shard(owner: Owner) -> None:
    """Live holds that are due, earliest first, of the shards asked for, and no more than asked."""
    await owner.write(admit("a"))
    owner.now_ms += 1000
    await owner.write(admit("b", org_id=OTHER), admit("gone", org_id=OTHER))
    await owner.write(release("gone", org_id=OTHER))
    owner.now_ms += 1000
    await owner.write(reserve("c", pence=50))
    due = {
        call_id: DueHold(org_id, call_id, hold.due_ms)
        for org_id in (ORG, OTHER)
        for call_id, hold in owner.wallets[org_id].holds.items()
    }
    everywhere = list(range(SHARD_COUNT))

    async def found(shards: list[int], before_ms: int, limit: int = 10) -> list[DueHold]:
        return list(await owner.ledger.due(shards=shards, before_ms=before_ms, limit=limit))

    late = T0_MS + 24 * HOUR_MS
    assert await found(everywhere, late) == [due["a"], due["b"], due["c"]]
    assert await found(everywhere, late, limit=2) == [due["a"], due["b"]]
    assert await found(everywhere, due["b"].due_ms) == [due["a"]]
    assert await found(everywhere, due["b"].due_ms + 1) == [due["a"], due["b"]]
    assert await found([shard_of(OTHER)], late) == [due["b"]]
    assert await found([], late) == []


async def test_the_clock_does_not_go_back(ledger: Ledger) -> None:
    """The ledger's clock is a number of milliseconds since 1970 that never falls."""
    first = await ledger.now_ms()
    assert T0_MS <= first <= await ledger.now_ms()
