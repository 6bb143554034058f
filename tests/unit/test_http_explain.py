"""Rows in words: whatever the journal may hold is told in a sentence with its numbers."""

import pytest

from wallet_engine.commands import Command
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Settings
from wallet_engine.wallet import Entry, Wallet, evolve
from wallet_http.billing import TYPES
from wallet_http.explain import explained, sentence_of, transaction
from wallet_testing import builders as make

MINUTE_MS = 60_000


def journal_of(*commands: Command) -> list[Entry]:
    settings = Settings()
    wallet = Wallet(org_id=make.ORG, settings=settings, defaults=settings, epoch=3, node="n-1")
    entries: list[Entry] = []
    for number, command in enumerate(commands):
        ended = [entry.hold for entry in entries if entry.hold and not entry.hold.active]
        earlier = [entry for entry in entries if entry.key == command.key]
        facts = Facts(entry=earlier[-1] if earlier else None, hold=ended[-1] if ended else None)
        decision = decide(wallet, command, facts, make.T0_MS + number * MINUTE_MS)
        assert isinstance(decision, Entry), decision
        evolve(wallet, decision)
        entries.append(decision)
    return entries


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ([make.credit(1000)], "1000 p came in as topup: Topup."),
        (
            [make.credit(1000), make.reserve()],
            (
                "Call call-1 was admitted with 1000 p to spend, where 79 p were required: 280 p "
                "were set aside, and the call may last 600 s."
            ),
        ),
        (
            [make.credit(1000), make.reserve(), make.extend(seconds=60)],
            "The hold of call call-1 grew by 56 p to 336 p, which pays for 360 s.",
        ),
        (
            [make.credit(1000), make.reserve(), make.commit(seconds=90)],
            (
                "Call call-1 of 90 s costs 112 p at 56 p a minute: 112 p were charged, 280 p were "
                "no longer held."
            ),
        ),
        (
            [make.credit(100), make.reserve(), make.commit(seconds=3600)],
            (
                "Call call-1 of 3600 s costs 3360 p at 56 p a minute: 600 p were charged, 100 p "
                "were no longer held, 2760 p lay beyond the debt limit."
            ),
        ),
        (
            [make.credit(1000), make.reserve(), make.release()],
            "Hold for call call-1 released: no answer; 280 p were freed.",
        ),
        (
            [make.credit(1000), make.reserve(), make.kill()],
            "Call call-1 must end: fraud. No money moved.",
        ),
    ],
)
def test_sentences(commands: list[Command], sentence: str) -> None:
    """The numbers are those that were decided on."""
    assert sentence_of(journal_of(*commands)[-1]) == sentence


def test_an_explanation_has_the_inputs() -> None:
    """Balance, holds, floor, tariff, epoch, node: as they were before."""
    entry = journal_of(make.credit(1000), make.reserve(), make.commit(seconds=90))[-1]
    found = explained(entry)

    assert found["inputs"] == {
        "balance_pence": 1000,
        "held_pence": 280,
        "effective_balance_pence": 720,
        "floor_pence": -500,
        "required_pence": None,
        "tariff": {
            "rate_pence_per_minute": 56,
            "first_increment_seconds": 60,
            "increment_seconds": 60,
        },
        "asked": {"actual_ms": 90_000, "amount_pence": None},
        "proof": "report",
        "cost_pence": 112,
    }
    assert (found["epoch"], found["node"]) == (3, "n-1")


def test_a_key_of_the_caller_is_shown_as_it_was_sent() -> None:
    """Without the space that the engine keeps it in."""
    [entry] = journal_of(make.credit(1000, key="mine"))

    assert transaction(entry)["key"] == "mine"


def test_every_type_of_row_may_be_asked_for() -> None:
    """The list of types is that of the specification."""
    assert len(TYPES) == len(set(TYPES)) == 24
