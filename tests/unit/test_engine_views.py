"""What may be read: the kill switch's question about one call, and the whole wallet.

Source: SPEC §5.2 and §5.5.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.settings import Settings
from wallet_engine.views import check_call, is_final, look
from wallet_engine.wallet import Hold, HoldStatus, Wallet, note_start
from wallet_testing.builders import BY_SECOND, CALL, T0_MS, check, hold, wallet
from wallet_testing.repeatable import repeatable

Told = dict[str, object]


def asked(
    state: Wallet,
    *,
    seconds: int | None = None,
    ended: Hold | None = None,
    fleet_stopped: bool = False,
    after_seconds: int = 0,
    call_id: str = CALL,
) -> Told:
    return check_call(
        state,
        check(call_id, seconds=seconds),
        ended,
        fleet_stopped=fleet_stopped,
        now_ms=T0_MS + after_seconds * 1000,
    )


# --- a call with a hold --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elapsed", "remaining", "end"),
    [(0, 300, False), (1, 299, False), (299, 1, False), (300, 0, True), (301, 0, True)],
)
def test_a_paid_minute_is_never_cut(elapsed: int, remaining: int, end: bool) -> None:
    """A call with no more money than its hold goes on to the last second that it pays for."""
    told = asked(wallet(280, holds=[hold(pence=280)]), seconds=elapsed)

    assert (told["remaining_seconds"], told["end_call"]) == (remaining, end)
    assert told["reason"] == ("money" if end else "")


def test_its_own_hold_is_not_held_against_a_call() -> None:
    """With an effective balance of 0 a call that is paid for is no call to end."""
    told = asked(wallet(280, holds=[hold(pence=280)]), seconds=10)

    assert told["effective_balance_pence"] == 0
    assert (told["end_call"], told["held_pence"]) == (False, 280)


@pytest.mark.parametrize(
    ("balance", "others", "remaining"),
    [(1000, 0, 1020), (1000, 280, 720), (560, 280, 300), (580, 280, 300)],
)
def test_what_others_hold_is_not_there(balance: int, others: int, remaining: int) -> None:
    """A call may last what the balance less the other calls' holds affords."""
    holds = [hold(pence=280, cap_seconds=43_200)]
    if others:
        holds.append(hold("other", pence=others))

    assert asked(wallet(balance, holds=holds), seconds=0)["remaining_seconds"] == remaining


def test_debt_does_not_cut_what_is_paid() -> None:
    """An effective balance below zero takes nothing from the hold."""
    told = asked(wallet(0, holds=[hold(pence=280)]), seconds=100)

    assert told["effective_balance_pence"] == -280
    assert (told["end_call"], told["remaining_seconds"]) == (False, 200)


@pytest.mark.parametrize(
    ("started_after", "now", "elapsed_remaining"), [(None, 100, 200), (20, 100, 220), (20, 10, 300)]
)
def test_elapsed_time_counts(started_after: int | None, now: int, elapsed_remaining: int) -> None:
    """From when the call was heard to be in progress, or from admission until then."""
    state = wallet(280, holds=[hold(pence=280)])
    if started_after is not None:
        note_start(state, CALL, T0_MS + started_after * 1000)

    told = asked(state, after_seconds=now)

    assert told["remaining_seconds"] == elapsed_remaining


def test_the_askers_elapsed_time_goes_before_the_clock() -> None:
    """Whoever knows how long the call lasts is believed."""
    told = asked(wallet(280, holds=[hold(pence=280)]), seconds=299, after_seconds=10)

    assert told["remaining_seconds"] == 1


@pytest.mark.parametrize(("elapsed", "reason"), [(119, ""), (120, "cap"), (121, "cap")])
def test_the_cap_ends_a_call(elapsed: int, reason: str) -> None:
    """However much money there is."""
    told = asked(wallet(10_000, holds=[hold(cap_seconds=120)]), seconds=elapsed)

    assert (told["end_call"], told["reason"]) == (bool(reason), reason)


@pytest.mark.parametrize(
    ("state", "fleet", "reason"),
    [
        (wallet(1000, holds=[hold()], suspended=True), False, "suspended"),
        (wallet(1000, holds=[hold()]), True, "suspended"),
        (wallet(1000, holds=[hold(killed=True)]), False, "fraud"),
        (wallet(1000, holds=[hold(killed=True)], suspended=True), True, "fraud"),
    ],
    ids=["suspended", "fleet", "killed", "all"],
)
def test_who_else_ends_a_call(state: Wallet, fleet: bool, reason: str) -> None:
    """A kill, a suspension of the wallet or of the fleet, whatever is paid."""
    told = asked(state, seconds=1, fleet_stopped=fleet)

    assert (told["end_call"], told["reason"]) == (True, reason)
    assert told["remaining_seconds"] == 0
    assert told["warn_seconds"] is None


@pytest.mark.parametrize(
    ("elapsed", "warned"),
    [(239, None), (240, 60), (241, 59), (299, 1), (300, None)],
)
def test_the_last_minute_is_told(elapsed: int, warned: int | None) -> None:
    """A warning comes in the last 60 seconds, with how many are left, until the end."""
    told = asked(wallet(280, holds=[hold(pence=280)]), seconds=elapsed)

    assert told["warn_seconds"] == warned


def test_the_cap_is_warned_of_too() -> None:
    """The last minute before the cap is a last minute, however much money there is."""
    told = asked(wallet(10_000, holds=[hold(cap_seconds=120)]), seconds=61)

    assert told["warn_seconds"] == 59


@pytest.mark.parametrize(("elapsed", "accrued"), [(0, 0), (1, 56), (60, 56), (61, 112), (90, 112)])
def test_what_the_call_costs_so_far(elapsed: int, accrued: int) -> None:
    """By the tariff of its hold: the same 90 seconds cost the same 112 pence everywhere."""
    told = asked(wallet(1000, holds=[hold()]), seconds=elapsed)

    assert told["accrued_pence"] == accrued


def test_balances_are_told() -> None:
    """The balance, what is free of it, and what this call holds."""
    told = asked(wallet(1000, holds=[hold(pence=280), hold("other", pence=100)]), seconds=1)

    assert told["balance_pence"] == 1000
    assert told["effective_balance_pence"] == 620
    assert told["held_pence"] == 280


@repeatable
@given(
    balance=st.integers(-2000, 5000),
    pence=st.integers(0, 2000),
    others=st.integers(0, 2000),
    elapsed=st.integers(0, 4000),
)
def test_paid_seconds_are_never_cut(balance: int, pence: int, others: int, elapsed: int) -> None:
    """Whatever the balance is, a call ends for money only when all its hold paid for is over."""
    own = hold(pence=pence, tariff=BY_SECOND, cap_seconds=43_200)
    told = asked(wallet(balance, holds=[own, hold("other", pence=others)]), seconds=elapsed)

    if elapsed < own.paid_seconds:
        assert told["end_call"] is False
    affordable = BY_SECOND.affordable_seconds(max(balance - others, pence))
    assert told["end_call"] is (elapsed >= affordable)
    assert told["remaining_seconds"] == max(0, affordable - elapsed)


# --- a call without one --------------------------------------------------------------------


@pytest.mark.parametrize(("balance", "end"), [(-1, True), (0, True), (1, False), (1000, False)])
def test_a_call_without_a_hold(balance: int, end: bool) -> None:
    """In a known org it ends when the effective balance is gone."""
    told = asked(wallet(balance), seconds=10)

    assert (told["end_call"], told["held_pence"]) == (end, 0)


def test_without_a_hold_the_effective_balance_counts() -> None:
    """Money that other calls hold is not there for it."""
    told = asked(wallet(280, holds=[hold("other", pence=280)]), seconds=10)

    assert told["end_call"] is True


@pytest.mark.parametrize(
    ("state", "fleet", "ended", "reason"),
    [
        (wallet(1000, suspended=True), False, None, "suspended"),
        (wallet(1000), True, None, "suspended"),
        (wallet(1000), False, hold(killed=True, status=HoldStatus.RELEASED), "fraud"),
        (wallet(1000), False, hold(status=HoldStatus.EXPIRED), ""),
    ],
    ids=["suspended", "fleet", "killed before it came", "expired"],
)
def test_who_else_ends_a_call_without_a_hold(
    state: Wallet, fleet: bool, ended: Hold | None, reason: str
) -> None:
    """The same as with one; a call whose hold expired goes on while there is money."""
    told = asked(state, seconds=10, ended=ended, fleet_stopped=fleet)

    assert (told["end_call"], told["reason"]) == (bool(reason), reason)


@pytest.mark.parametrize("elapsed", [0, 599, 600, 700, 10_000])
def test_no_warning_is_below_zero(elapsed: int) -> None:
    """A call that nobody knows may be older than any cap: there are no seconds below 0."""
    told = asked(wallet(1000), seconds=elapsed)

    warned = told["warn_seconds"]
    assert warned is None or (isinstance(warned, int) and warned >= 0)


# --- the wallet ----------------------------------------------------------------------------


def test_a_look_at_a_wallet() -> None:
    """Its money, its calls, how fast they burn it and until when."""
    holds = [hold("a", pence=280), hold("b", pence=112, cap_seconds=120, opened_ms=T0_MS)]
    state = wallet(1000, holds=holds)
    note_start(state, "a", T0_MS + 10_000)

    seen = look(state, now_ms=T0_MS + 70_000)

    assert seen == {
        "org_id": "org-1",
        "seq": 0,
        "balance_pence": 1000,
        "effective_balance_pence": 608,
        "held_pence": 392,
        "debt_limit_pence": 500,
        "suspended": False,
        "low_balance_warning": False,
        "needs_recharge": False,
        "calls": [
            {
                "call_id": "a",
                "held_pence": 280,
                "started_at_ms": T0_MS + 10_000,
                "paid_until_ms": T0_MS + 310_000,
                "final": False,
            },
            {
                "call_id": "b",
                "held_pence": 112,
                "started_at_ms": T0_MS,
                "paid_until_ms": T0_MS + 120_000,
                "final": True,
            },
        ],
        "burn_rate_pence_per_minute": 112,
        "runs_dry_at_ms": T0_MS + 70_000 + (1000 - 56 - 112) * 60_000 // 112,
    }


@pytest.mark.parametrize(
    ("effective", "low", "recharge"),
    [(500, False, False), (499, False, True), (79, False, True), (78, True, True)],
)
def test_warnings_of_a_low_balance(effective: int, low: bool, recharge: bool) -> None:
    """Below `low_balance_pence` a recharge is needed; below the minimum no call can start."""
    seen = look(wallet(effective + 280, holds=[hold(pence=280)]), now_ms=T0_MS)

    assert (seen["low_balance_warning"], seen["needs_recharge"]) == (low, recharge)


def test_without_calls_nothing_burns() -> None:
    """A wallet without live calls, or with free ones, does not run dry."""
    free = hold(tariff=Settings(rate_pence_per_minute=0).tariff)

    for state in (wallet(1000), wallet(1000, holds=[free])):
        seen = look(state, now_ms=T0_MS)
        assert (seen["burn_rate_pence_per_minute"], seen["runs_dry_at_ms"]) == (0, None)


@pytest.mark.parametrize(("balance", "final"), [(335, True), (336, False)])
def test_when_a_call_is_final(balance: int, final: bool) -> None:
    """When not even one more increment can be afforded, to the penny."""
    own = hold(pence=280)

    assert is_final(wallet(balance, holds=[own]), own) is final
