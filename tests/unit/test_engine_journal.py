"""Answers are made of the entry alone: the first one, its replay, and years later the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_engine.commands import Command, CreditType, Proof
from wallet_engine.journal import (
    Answer,
    Outcome,
    Refusal,
    RefusalCode,
    entry_answer,
    refusal_answer,
)
from wallet_engine.tariff import Tariff
from wallet_engine.wallet import Entry, Hold, HoldStatus, hold_of_json
from wallet_testing.book import Book, entered
from wallet_testing.builders import (
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
    hold,
    kill,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)
from wallet_testing.repeatable import repeatable

MONEY = {
    "org_id",
    "duplicate",
    "seq",
    "type",
    "balance_before_pence",
    "balance_after_pence",
    "effective_balance_pence",
    "held_pence",
}
CALL = {"call_id", "reserved_pence"}
SETTLED = {"charged_pence", "released_pence", "uncollected_pence"}
SPENT = {"charged_pence", "needs_recharge", "in_debt", "remaining_debt_capacity_pence"}

STORIES: dict[str, tuple[list[Command], set[str]]] = {
    # what happens, of which the last is looked at, and the fields its answer has
    "reserve": ([admit()], CALL | {"max_duration_seconds", "paid_seconds"}),
    "extend": ([reserve(), extend(seconds=61)], CALL | {"extended_pence", "paid_seconds"}),
    "prolong": ([admit(), prolong()], CALL | {"extended_pence", "paid_seconds"}),
    "commit": ([reserve(), commit(seconds=90)], CALL | SETTLED),
    "commit too much": ([reserve(), commit(pence=10_000)], CALL | SETTLED),
    "commit directly": ([commit(seconds=90)], CALL | SETTLED),
    "commit nothing": ([reserve(), commit(seconds=0)], CALL | SETTLED),
    "adjust up": ([heard(seconds=60, proof=Proof.ENDED), heard(seconds=90)], CALL | SETTLED),
    "adjust down": ([heard(seconds=90, proof=Proof.ENDED), heard(seconds=60)], CALL | SETTLED),
    "release": ([reserve(), release()], CALL | SETTLED),
    "release early": ([release()], CALL | SETTLED),
    "expire": ([reserve(), expire()], CALL | SETTLED),
    "kill": ([reserve(), kill()], CALL),
    "kill early": ([kill(key="k")], CALL),
    "charge": ([charge(100, description="Call 世")], SPENT),
    "buy": ([buy(100)], SPENT),
    "credit": ([credit(100)], set()),
    "clawback": ([credit(-100, type=CreditType.CLAWBACK)], set()),
    "suspend": ([suspend()], set()),
    "resume": ([resume()], set()),
    "settings": ([change_settings({"hold_minutes": 6, "asset_prices": {"did": 3}})], set()),
}

every_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())


def told(story: tuple[list[Command], set[str]]) -> Entry:
    """Let a story happen, and return its last entry."""
    book = Book(1000)
    for command in story[0]:
        if command.verb == "expire":
            book.pass_time(seconds=1800)
        last = entered(book.do(command))
    return last


def reloaded(entry: Entry) -> Entry:
    """Store an entry as its columns and the JSON of its detail and hold, and read it back."""
    detail = json.loads(json.dumps(dict(entry.detail), allow_nan=False))
    if entry.hold is None:
        return entry._replace(detail=detail)
    stored_hold = json.loads(json.dumps(entry.hold.to_json(), allow_nan=False))
    return entry._replace(detail=detail, hold=hold_of_json(stored_hold))


@every_story
def test_what_an_answer_has(story: tuple[list[Command], set[str]]) -> None:
    """The fields of SPEC §5.6: those of every answer, and those of its verb."""
    answer = entry_answer(told(story), outcome=Outcome.CREATED)

    assert answer.body.keys() == MONEY | story[1]


@every_story
def test_a_replay_is_the_first_answer(story: tuple[list[Command], set[str]]) -> None:
    """But for `duplicate`, a repeated answer is the first one, from memory or from storage."""
    entry = told(story)
    first = entry_answer(entry, outcome=Outcome.CREATED)

    for known in (entry, reloaded(entry)):
        again = entry_answer(known, outcome=Outcome.REPEATED)
        assert again.body == {**first.body, "duplicate": True}
        assert entry_answer(known, outcome=Outcome.CREATED) == first


@every_story
def test_an_entry_survives_storage(story: tuple[list[Command], set[str]]) -> None:
    """What is read back is what was written, to the field."""
    entry = told(story)

    assert reloaded(entry) == entry


@every_story
def test_answers_are_whole_pence(story: tuple[list[Command], set[str]]) -> None:
    """Every amount in an answer is an integer, and so is every number."""
    body = entry_answer(told(story), outcome=Outcome.CREATED).body

    for name, value in body.items():
        if name.endswith(("_pence", "_seconds")) or name == "seq":
            assert type(value) is int, name
        assert not isinstance(value, float), name


@every_story
def test_balances_follow_from_the_row(story: tuple[list[Command], set[str]]) -> None:
    """Before plus amount is after, and after less holds is effective."""
    entry = told(story)
    body = entry_answer(entry, outcome=Outcome.CREATED).body

    assert body["balance_before_pence"] == entry.balance_before_pence
    assert body["balance_after_pence"] == entry.balance_before_pence + entry.amount_pence
    assert body["held_pence"] == entry.held_after_pence
    assert body["effective_balance_pence"] == (
        entry.balance_before_pence + entry.amount_pence - entry.held_after_pence
    )


@pytest.mark.parametrize(
    ("story", "charged", "released", "uncollected"),
    [
        ("commit", 112, 168, 0),
        ("commit too much", 1500, 0, 8500),
        ("commit directly", 112, 0, 0),
        ("commit nothing", 0, 280, 0),
        ("adjust up", 56, 0, 0),
        ("adjust down", -56, 0, 0),
        ("release", 0, 280, 0),
        ("release early", 0, 0, 0),
        ("expire", 0, 280, 0),
    ],
)
def test_what_became_of_the_money(
    story: str, charged: int, released: int, uncollected: int
) -> None:
    """What was charged, what of the hold was released, what could not be collected."""
    body = entry_answer(told(STORIES[story]), outcome=Outcome.CREATED).body

    assert [body[name] for name in ("charged_pence", "released_pence", "uncollected_pence")] == [
        charged,
        released,
        uncollected,
    ]


def test_a_refusal_says_why() -> None:
    """A sentence for a person, a word for a machine, and the numbers."""
    refusal = Refusal(
        code=RefusalCode.INSUFFICIENT_CREDITS, message="No money.", fields={"deficit_pence": 1}
    )

    assert refusal_answer(refusal) == Answer(
        Outcome.REFUSED,
        {"error": "No money.", "code": "insufficient_credits", "deficit_pence": 1},
        RefusalCode.INSUFFICIENT_CREDITS,
    )


def test_refusal_codes_are_the_words_of_the_specification() -> None:
    """SPEC §5 names them; a renamed one would break every client."""
    assert {
        "insufficient_credits",
        "debt_limit_exceeded",
        "wallet_suspended",
        "feature_disabled",
        "concurrency_limit",
        "call_ended",
        "idempotency_key_reuse",
    } <= {str(code) for code in RefusalCode}


@pytest.mark.parametrize(
    "one",
    [
        hold(),
        hold(managed=True, killed=True),
        hold(status=HoldStatus.EXPIRED)._replace(ended_ms=T0_MS, released_pence=280),
        hold(pence=0, tariff=Tariff(0, 1, 1)),
        hold("世", status=HoldStatus.COMMITTED)._replace(adjusted=True, proof=3, due_ms=0),
    ],
)
def test_a_hold_survives_storage(one: Hold) -> None:
    """Through JSON and back it is the same, with its types."""
    back = hold_of_json(json.loads(json.dumps(one.to_json())))

    assert back == one
    assert (type(back.tariff), type(back.status)) == (Tariff, HoldStatus)


amounts = st.integers(-(2**63), 2**63 - 1)
holds = st.builds(
    Hold,
    call_id=st.text(min_size=1),
    tariff=st.builds(Tariff, amounts, amounts, amounts),
    opened_ms=amounts,
    expires_ms=amounts,
    max_duration_seconds=amounts,
    status=st.sampled_from(HoldStatus),
    due_ms=amounts,
    reserved_pence=amounts,
    estimated_minutes=amounts,
    managed=st.booleans(),
    extensions=amounts,
    killed=st.booleans(),
    kill_reason=st.text(),
    committed_pence=amounts,
    released_pence=amounts,
    uncollected_pence=amounts,
    settled_cost_pence=amounts,
    settled_ms=amounts,
    proof=st.integers(0, 3),
    adjusted=st.booleans(),
    ended_ms=amounts,
)


@repeatable
@given(one=holds)
def test_every_hold_survives_storage(one: Hold) -> None:
    """Whatever is in it, and whatever is left out because it is a default."""
    assert hold_of_json(json.loads(json.dumps(one.to_json()))) == one
