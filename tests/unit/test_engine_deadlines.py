"""Deadlines: when somebody must look at a hold again.  Source: SPEC §3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.deadlines import (
    CAP_GRACE_MS,
    EXTEND_BEFORE_MS,
    LAST_ATTEMPT_BEFORE_MS,
    ends_ms,
    expires_ms,
    may_grow,
    next_due_ms,
)
from wallet_testing.builders import BY_SECOND, T0_MS, hold
from wallet_testing.repeatable import repeatable


def after(seconds: float) -> int:
    return T0_MS + int(seconds * 1000)


def test_the_times_of_the_specification() -> None:
    """First attempt 30 s before the end, last one 15 s before it."""
    assert (EXTEND_BEFORE_MS, LAST_ATTEMPT_BEFORE_MS) == (30_000, 15_000)


@pytest.mark.parametrize(
    ("pence", "cap", "end"),
    [(0, 600, 0), (55, 600, 0), (56, 600, 60), (280, 600, 300), (280, 120, 120), (1000, 600, 600)],
)
def test_when_paid_time_is_over(pence: int, cap: int, end: int) -> None:
    """What the hold affords, or its cap if that comes first."""
    assert ends_ms(hold(pence=pence, cap_seconds=cap), T0_MS) == after(end)


def test_paid_time_begins_with_the_call() -> None:
    """A call that rang for 20 s has all its time from then on."""
    assert ends_ms(hold(pence=280), after(20)) == after(320)


@pytest.mark.parametrize(("pence", "grows"), [(504, True), (559, True), (560, False), (616, False)])
def test_what_may_grow(pence: int, grows: bool) -> None:
    """A hold that pays for less than its cap."""
    assert may_grow(hold(pence=pence, cap_seconds=600)) is grows


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (0, 270),
        (269.999, 270),
        (270, 285),
        (284.999, 285),
        (285, 300),
        (299.999, 300),
        (300, 300),
        (400, 300),
    ],
)
def test_a_managed_hold(now: float, due: float) -> None:
    """30 s before its end, 15 s before it, at its end; what is late is due at once."""
    assert next_due_ms(hold(pence=280, managed=True), T0_MS, after(now)) == after(due)


@pytest.mark.parametrize("now", [0, 299, 400])
def test_a_managed_hold_at_its_cap(now: int) -> None:
    """It cannot grow, so there is nothing to do before its end."""
    full = hold(pence=280, cap_seconds=300, managed=True)

    assert next_due_ms(full, T0_MS, after(now)) == after(300)


@pytest.mark.parametrize(("now", "due"), [(0, 5), (5, 20), (20, 20)])
def test_a_short_hold(now: int, due: int) -> None:
    """One that pays for less than 30 s is due at the attempts that are still to come."""
    short = hold(pence=19, tariff=BY_SECOND, managed=True)

    assert next_due_ms(short, T0_MS, after(now)) == after(due)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("now", [0, 300, 10_000])
def test_a_hold_of_others(killed: bool, now: int) -> None:
    """The engine only watches that it is not abandoned."""
    assert next_due_ms(hold(killed=killed), T0_MS, after(now)) == after(1800)


@pytest.mark.parametrize(("now", "due"), [(1, 6), (100, 105), (1794, 1799), (1797, 1800)])
def test_a_killed_hold(now: int, due: int) -> None:
    """Nothing is extended any more: it is looked at until it is settled, or expires."""
    assert next_due_ms(hold(managed=True, killed=True), T0_MS, after(now)) == after(due)


@pytest.mark.parametrize(
    ("expiry_minutes", "cap", "expected"),
    [(30, 600, 1800), (30, 1740, 1800), (30, 1741, 1801), (1, 43_200, 43_260)],
)
def test_when_a_hold_is_abandoned(expiry_minutes: int, cap: int, expected: int) -> None:
    """After the expiry of the settings, and never before its own cap and its grace."""
    assert expires_ms(T0_MS, expiry_minutes, cap) == after(expected)
    assert CAP_GRACE_MS == 60_000


@repeatable
@given(
    pence=st.integers(0, 5000),
    cap=st.integers(10, 43_200),
    managed=st.booleans(),
    killed=st.booleans(),
    started=st.integers(0, 600),
    now=st.integers(0, 50_000),
)
def test_every_live_hold_has_a_deadline(
    pence: int, cap: int, managed: bool, killed: bool, started: int, now: int
) -> None:
    """No hold is ever without one, and none that is not late lies beyond its end or expiry."""
    made = hold(pence=pence, cap_seconds=cap, managed=managed, killed=killed)

    due = next_due_ms(made, after(started), after(now))

    assert due > 0
    if managed and not killed and after(now) < ends_ms(made, after(started)):
        assert due <= ends_ms(made, after(started))
