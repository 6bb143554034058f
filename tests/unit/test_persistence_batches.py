"""What the commit statement is given: columns that cannot shift, holds once, changes in order."""

from typing import Any

import pytest

from wallet_engine.commands import Command
from wallet_engine.errors import NotCommitted
from wallet_engine.ports import WalletBatch
from wallet_engine.rules import Facts, decide
from wallet_engine.wallet import Entry, evolve
from wallet_persistence.batches import SEPARATOR, commit_of
from wallet_persistence.commit import COMMIT, COMMIT_WITH_HOLDS
from wallet_testing.builders import (
    T0_MS,
    admit,
    change_settings,
    charge,
    kill,
    prolong,
    resume,
    suspend,
    wallet,
)

SUSPENDED, CHANGES, CALLS = 9, 10, 29
"""Where some arguments stand."""


def batch(*commands: Command) -> WalletBatch:
    before = wallet()
    entries = []
    for command in commands:
        entry = decide(before, command, Facts(), T0_MS)
        assert isinstance(entry, Entry)
        evolve(before, entry)
        entries.append(entry)
    return WalletBatch("org-1", 1, "boot", 0, 1000, entries)


def test_without_holds_none_are_written() -> None:
    """Money alone takes the shorter statement."""
    statement, args = commit_of([batch(charge(1))])

    assert statement is COMMIT
    assert (args[SUSPENDED], args[CHANGES]) == (None, None)


def test_a_hold_is_named_once() -> None:
    """Twice in one upsert would abort the statement."""
    statement, args = commit_of([batch(admit("a"), prolong("a"), admit("b"), kill("a"))])

    assert statement is COMMIT_WITH_HOLDS
    assert args[CALLS] == f"a{SEPARATOR}b"


def test_the_last_switch_counts() -> None:
    """Several suspensions in one batch are one update."""
    _, args = commit_of([batch(suspend(key="a"), resume(key="b")), batch(charge(1), suspend())])

    assert args[SUSPENDED] == [False, True]


def test_changes_of_settings_are_combined_in_order() -> None:
    """A later change wins, and None stays: it takes back what is stored."""
    changes = (
        change_settings({"hold_minutes": 3, "debt_limit_pence": 5}, key="a"),
        change_settings({"hold_minutes": None}, key="b"),
    )
    _, args = commit_of([batch(charge(1)), batch(*changes)])

    assert args[CHANGES] == [None, '{"hold_minutes":null,"debt_limit_pence":5}']


@pytest.mark.parametrize(
    "poison",
    [
        {"key": f"a{SEPARATOR}b"},
        {"fingerprint": SEPARATOR},
        {"call_id": f"c{SEPARATOR}"},
        {"key": None},
        {"detail": {"set": {1}}},
        {"detail": {1j: 1}},
    ],
)
def test_what_cannot_be_written_down_is_not_sent(poison: dict[str, Any]) -> None:
    """A text with the separator in it would shift the columns of every other wallet."""
    poisoned = batch(charge(1))
    poisoned = poisoned._replace(entries=[poisoned.entries[0]._replace(**poison)])

    with pytest.raises(NotCommitted):
        commit_of([batch(charge(1)), poisoned])
