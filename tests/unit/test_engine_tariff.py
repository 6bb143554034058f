"""The tariff: the table of the specification, and that money and time are each other's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.tariff import (
    INCREMENT_SECONDS_MAX,
    RATE_PENCE_MAX,
    SECONDS_MAX,
    Tariff,
    whole_seconds,
)
from wallet_testing.builders import BY_MINUTE, BY_SECOND
from wallet_testing.repeatable import repeatable

increments = st.one_of(st.integers(1, 120), st.integers(1, INCREMENT_SECONDS_MAX))
rates = st.one_of(st.integers(1, 500), st.integers(1, RATE_PENCE_MAX))
tariffs = st.builds(Tariff, rates, increments, increments)
seconds = st.one_of(st.integers(0, 7200), st.integers(0, SECONDS_MAX))
amounts = st.one_of(st.integers(-10, 2000), st.integers(-(10**12), 10**12))


@pytest.mark.parametrize(
    ("duration_ms", "by_minute", "by_second"),
    [
        (0, 0, 0),
        (200, 56, 1),
        (42_700, 56, 41),
        (90_000, 112, 84),
        (180_000, 168, 168),
    ],
)
def test_the_table_of_the_specification(duration_ms: int, by_minute: int, by_second: int) -> None:
    """At 56 pence a minute, calls cost what SPEC §3 prints, on both tariffs."""
    talked = whole_seconds(duration_ms)

    assert BY_MINUTE.cost_pence(talked) == by_minute
    assert BY_SECOND.cost_pence(talked) == by_second


def test_what_79_pence_afford() -> None:
    """The least that admits a call buys a minute, or 84 seconds by the second."""
    assert (BY_MINUTE.affordable_seconds(79), BY_SECOND.affordable_seconds(79)) == (60, 84)


@pytest.mark.parametrize(
    ("duration_ms", "expected"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (42_700, 43)]
)
def test_a_second_that_began_is_a_second(duration_ms: int, expected: int) -> None:
    """Durations are rounded up to whole seconds, never to the nearest."""
    assert whole_seconds(duration_ms) == expected


@pytest.mark.parametrize(
    ("tariff", "talked", "billed"),
    [
        (BY_MINUTE, -1, 0),
        (BY_MINUTE, 0, 0),
        (BY_MINUTE, 1, 60),
        (BY_MINUTE, 60, 60),
        (BY_MINUTE, 61, 120),
        (Tariff(56, 30, 6), 1, 30),
        (Tariff(56, 30, 6), 30, 30),
        (Tariff(56, 30, 6), 31, 36),
        (Tariff(56, 30, 6), 36, 36),
        (Tariff(56, 30, 6), 37, 42),
        (Tariff(56, 1, 60), 1, 60),
        (Tariff(56, 100, 60), 60, 100),
        (Tariff(56, 100, 60), 61, 120),
    ],
)
def test_what_is_billed(tariff: Tariff, talked: int, billed: int) -> None:
    """Nothing for nothing, else the first increment at least, then whole increments."""
    assert tariff.billed_seconds(talked) == billed


@pytest.mark.parametrize(
    ("tariff", "talked", "cost"),
    [
        (Tariff(1, 1, 1), 1, 1),
        (Tariff(1, 1, 1), 60, 1),
        (Tariff(1, 1, 1), 61, 2),
        (Tariff(60, 1, 1), 61, 61),
        (Tariff(0, 60, 60), 600, 0),
    ],
)
def test_costs_are_rounded_up(tariff: Tariff, talked: int, cost: int) -> None:
    """A part of a penny is a penny; a free tariff costs nothing."""
    assert tariff.cost_pence(talked) == cost


@pytest.mark.parametrize(
    ("pence", "expected"),
    [(-1, 0), (0, 0), (1, 0), (55, 0), (56, 60), (111, 60), (112, 120), (280, 300)],
)
def test_what_money_affords(pence: int, expected: int) -> None:
    """Only whole increments can be bought, and the first one must be paid whole."""
    assert BY_MINUTE.affordable_seconds(pence) == expected


@pytest.mark.parametrize(("pence", "expected"), [(-1, 0), (0, 0), (1, SECONDS_MAX)])
def test_free_time_is_bounded(pence: int, expected: int) -> None:
    """A tariff of 0 affords the bound, and still nothing without money."""
    assert Tariff(0, 60, 60).affordable_seconds(pence) == expected


def test_much_money_affords_the_bound() -> None:
    """No amount answers a number of seconds that another field could not hold."""
    assert Tariff(1, 1, 1).affordable_seconds(10**12) == SECONDS_MAX


@repeatable
@given(tariff=tariffs, pence=amounts)
def test_affordable_seconds_is_the_inverse_of_cost(tariff: Tariff, pence: int) -> None:
    """What is affordable costs at most the money, and one second more costs more."""
    affordable = tariff.affordable_seconds(pence)

    if pence > 0:
        assert tariff.cost_pence(affordable) <= pence
    if affordable < SECONDS_MAX:
        assert tariff.cost_pence(affordable + 1) > pence


@repeatable
@given(tariff=tariffs, talked=seconds, more=st.integers(0, 10_000))
def test_cost_never_falls(tariff: Tariff, talked: int, more: int) -> None:
    """A longer call never costs less."""
    assert tariff.cost_pence(talked) <= tariff.cost_pence(talked + more)


@repeatable
@given(tariff=tariffs, pence=amounts, more=st.integers(0, 10_000))
def test_affordable_time_never_falls(tariff: Tariff, pence: int, more: int) -> None:
    """More money never buys less time."""
    assert tariff.affordable_seconds(pence) <= tariff.affordable_seconds(pence + more)


@repeatable
@given(tariff=tariffs, talked=seconds)
def test_at_least_the_talk_is_paid(tariff: Tariff, talked: int) -> None:
    """Nobody talks for less than the rate of the seconds talked, nor for two minutes' more."""
    exact = talked * tariff.rate_pence_per_minute
    slack = tariff.first_increment_seconds + tariff.increment_seconds

    assert exact <= tariff.cost_pence(talked) * 60
    assert tariff.cost_pence(talked) * 60 < exact + slack * tariff.rate_pence_per_minute + 60


@repeatable
@given(tariff=tariffs, talked=seconds, pence=amounts, duration_ms=st.integers(0, 10**12))
def test_money_and_time_are_never_floats(
    tariff: Tariff, talked: int, pence: int, duration_ms: int
) -> None:
    """Every answer is a whole number, exactly."""
    answers = (
        whole_seconds(duration_ms),
        tariff.billed_seconds(talked),
        tariff.cost_pence(talked),
        tariff.affordable_seconds(pence),
    )

    assert {type(answer) for answer in answers} == {int}
