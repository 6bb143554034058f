"""What the system this replaces was tested for, by the names it had there.

Each through a node, so the answer is one that was durable.
"""

import pytest

from wallet_engine.commands import AssetType
from wallet_engine.errors import LedgerFault, LedgerUnavailable, UnknownOrg
from wallet_engine.journal import Answer, Outcome, RefusalCode
from wallet_engine.settings import Settings
from wallet_testing.builders import (
    admit,
    buy,
    change_settings,
    charge,
    check,
    commit,
    credit,
    extend,
    heard,
    look,
    release,
    reserve,
)
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world


def fields(answer: Answer, *names: str) -> list[object]:
    return [answer.body[name] for name in names]


# --- asset deductions ----------------------------------------------------------------------


@in_virtual_time
async def test_asset_deduction_succeeds() -> None:
    """A number is bought with the money that is there."""
    async with a_world(1500) as world:
        answer = await world.ask(buy(1000, type=AssetType.PHONE_PROVISIONING))

        assert answer.outcome is Outcome.CREATED
        assert fields(answer, "balance_before_pence", "balance_after_pence") == [1500, 500]
        assert world.types() == ["phone_provisioning"]


@in_virtual_time
async def test_asset_deduction_is_refused_with_zero_debt() -> None:
    """Assets are never bought on credit, whatever calls may do."""
    async with a_world(999) as world:
        answer = await world.ask(buy(1000))

        assert answer.code is RefusalCode.INSUFFICIENT_CREDITS
        assert fields(answer, "required_pence", "deficit_pence") == [1000, 1]
        assert (world.balance(), world.types()) == (999, [])


@in_virtual_time
async def test_asset_duplicate_is_flagged() -> None:
    """The second request under the same key is the first answer again."""
    async with a_world(2000) as world:
        first = await world.ask(buy(1000))
        again = await world.ask(buy(1000))

        assert again.body == {**first.body, "duplicate": True}
        assert world.balance() == 1000


@pytest.mark.parametrize(("fault", "error"), [("poison", LedgerFault), ("away", LedgerUnavailable)])
@in_virtual_time
async def test_asset_storage_fault_is_no_402(fault: str, error: type[Exception]) -> None:
    """A fault of the storage is an error, and never reads as missing money."""
    async with a_world(1000) as world:
        world.ledger.poison = {"client:buy-1"} if fault == "poison" else set()
        world.ledger.away = fault == "away"

        with pytest.raises(error):
            await world.ask(buy(1000))

        world.ledger.away = False
        assert world.balance() == 1000


@in_virtual_time
async def test_asset_unknown_org() -> None:
    """There is no wallet to charge."""
    async with a_world() as world:
        with pytest.raises(UnknownOrg):
            await world.ask(buy(1000, org_id="nobody"))


@in_virtual_time
async def test_double_purchase_is_prevented_by_the_key() -> None:
    """Two clicks are one purchase; two keys are two."""
    async with a_world(2500) as world:
        for asked in await world.asking(*(buy(1000, key="click") for _ in range(2))):
            await asked
        assert world.balance() == 1500

        await world.ask(buy(1000, key="another"))
        assert world.balance() == 500


# --- reservations --------------------------------------------------------------------------


@in_virtual_time
async def test_reserve_succeeds() -> None:
    """Five minutes are set aside, and nothing is charged yet."""
    async with a_world(1000) as world:
        answer = await world.ask(reserve())

        assert answer.outcome is Outcome.CREATED
        assert fields(
            answer, "balance_after_pence", "effective_balance_pence", "reserved_pence"
        ) == [1000, 720, 280]


@in_virtual_time
async def test_reserve_is_refused_at_zero_effective_balance() -> None:
    """All the money is held for other calls."""
    async with a_world(280) as world:
        await world.ask(reserve("first"))

        answer = await world.ask(reserve("second"))

        assert answer.code is RefusalCode.INSUFFICIENT_CREDITS
        assert fields(
            answer, "current_balance_pence", "effective_balance_pence", "required_pence"
        ) == [280, 0, 79]


@in_virtual_time
async def test_reserve_duplicate() -> None:
    """A call has one hold, however often it is asked for."""
    async with a_world(1000) as world:
        first = await world.ask(reserve())
        again = await world.ask(reserve())

        assert again.body == {**first.body, "duplicate": True}
        assert world.held() == 280


@in_virtual_time
async def test_commit_charges_and_releases() -> None:
    """Two minutes of five are charged, three are free again."""
    async with a_world(1000) as world:
        await world.ask(reserve())

        answer = await world.ask(commit(seconds=120))

        assert fields(answer, "charged_pence", "released_pence") == [112, 168]
        assert (world.balance(), world.held()) == (888, 0)


@in_virtual_time
async def test_commit_bills_directly_without_a_hold() -> None:
    """A call that nobody announced is charged when it is reported."""
    async with a_world(1000) as world:
        answer = await world.ask(commit("unannounced", seconds=120))

        assert fields(answer, "charged_pence", "released_pence") == [112, 0]
        assert world.balance() == 888


@in_virtual_time
async def test_commit_duplicate() -> None:
    """A call is charged once, whatever arrives and however often."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        first = await world.ask(commit(seconds=120))
        again = await world.ask(commit(seconds=120))
        other = await world.ask(heard(seconds=600))

        assert again.body == {**first.body, "duplicate": True}
        assert other.body["seq"] == first.body["seq"]
        assert world.balance() == 888


@in_virtual_time
async def test_lifecycle_of_a_reservation() -> None:
    """Reserved, extended, settled: each step in the journal, and nothing held in the end."""
    async with a_world(1000) as world:
        await world.ask(reserve())
        await world.ask(extend(seconds=120))
        assert world.held() == 392
        await world.ask(commit(seconds=400))
        assert (await world.ask(release())).code is RefusalCode.CALL_ENDED

        assert world.types() == ["reservation", "reservation_extension", "call_deduction"]
        assert (world.balance(), world.held()) == (1000 - 392, 0)


# --- whole calls ---------------------------------------------------------------------------


@in_virtual_time
async def test_insufficient_balance_blocks() -> None:
    """Without money no call starts, and the refusal has the numbers for the caller."""
    async with a_world(0) as world:
        answer = await world.ask(admit())

        assert answer.outcome is Outcome.REFUSED
        assert fields(answer, "required_pence", "deficit_pence") == [79, 79]
        assert world.ledger.rows["org-1"].holds == {}


@in_virtual_time
async def test_success_end_to_end() -> None:
    """Paid in, admitted, talked, settled: the balance is what is left."""
    async with a_world(0) as world:
        await world.ask(credit(1000))
        admitted = await world.ask(admit())
        assert admitted.body["max_duration_seconds"] == 600
        await world.pass_time(seconds=90)
        assert (await world.ask(check())).body["end_call"] is False
        await world.ask(heard(seconds=90))

        seen = (await world.ask(look())).body
        assert (seen["balance_pence"], seen["calls"]) == (888, [])


@in_virtual_time
async def test_kill_switch_activates_on_depletion() -> None:
    """The money for the call is gone: it must end."""
    async with a_world(280) as world:
        await world.ask(admit())
        await world.pass_time(seconds=301)

        answer = await world.ask(check())

        assert fields(answer, "end_call", "remaining_seconds") == [True, 0]


@in_virtual_time
async def test_kill_switch_stays_quiet_with_money() -> None:
    """A call that is paid for is left alone."""
    async with a_world(1000) as world:
        await world.ask(admit())
        await world.pass_time(seconds=60)

        answer = await world.ask(check())

        assert fields(answer, "end_call", "warn_seconds") == [False, None]


@in_virtual_time
async def test_kill_switch_reports_balances() -> None:
    """The balance, what is free of it, what the call holds, what it costs so far, how long on."""
    async with a_world(1000, settings=Settings(max_call_seconds=3600)) as world:
        await world.ask(reserve())

        answer = await world.ask(check(seconds=61))

        assert fields(
            answer,
            "balance_pence",
            "effective_balance_pence",
            "held_pence",
            "accrued_pence",
            "remaining_seconds",
        ) == [1000, 720, 280, 112, 1020 - 61]


# --- the debt limit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pence", "outcome"),
    [(100, Outcome.CREATED), (600, Outcome.CREATED), (601, Outcome.REFUSED)],
    ids=["within", "exactly at the limit", "one penny over"],
)
@in_virtual_time
async def test_debt_limit(pence: int, outcome: Outcome) -> None:
    """A call may go into debt, to the penny, and no penny further."""
    async with a_world(100) as world:
        assert (await world.ask(charge(pence))).outcome is outcome


@in_virtual_time
async def test_debt_limit_over() -> None:
    """The refusal says by how much."""
    async with a_world(100) as world:
        answer = await world.ask(charge(1000))

        assert answer.code is RefusalCode.DEBT_LIMIT_EXCEEDED
        assert fields(
            answer,
            "current_balance_pence",
            "debt_limit_pence",
            "attempted_pence",
            "new_balance_would_be_pence",
            "amount_over_limit_pence",
        ) == [100, 500, 1000, -900, 400]


@in_virtual_time
async def test_debt_limit_leaves_the_balance_unchanged_after_a_refusal() -> None:
    """It is refused whole: not a penny, no row, and the key is free."""
    async with a_world(100) as world:
        await world.ask(charge(601))

        assert (world.balance(), world.types()) == (100, [])
        assert (await world.ask(charge(600))).outcome is Outcome.CREATED


@pytest.mark.parametrize(("pence", "needs"), [(500, False), (501, True)])
@in_virtual_time
async def test_debt_limit_needs_recharge(pence: int, needs: bool) -> None:
    """Below the low balance the success says that a recharge is needed."""
    async with a_world(1000) as world:
        answer = await world.ask(charge(pence))

        assert answer.body["needs_recharge"] is needs


@pytest.mark.parametrize(("limit", "pence", "fits"), [(0, 101, False), (900, 1000, True)])
@in_virtual_time
async def test_debt_limit_of_one_org(limit: int, pence: int, fits: bool) -> None:
    """An org's own limit counts for it, and for nobody else."""
    async with a_world(100, orgs=("org-1", "org-2")) as world:
        await world.ask(change_settings({"debt_limit_pence": limit}))

        own = await world.ask(charge(pence))
        other = await world.ask(charge(600, org_id="org-2"))

        assert (own.outcome is Outcome.CREATED) is fits
        assert other.outcome is Outcome.CREATED
