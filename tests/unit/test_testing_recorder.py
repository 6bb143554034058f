"""The witness of the tests that kill things must notice when answers and journal disagree."""

import pytest

from wallet_testing.recorder import Answer, Recorded, Request, Row, faults_of

ORG = "witness"
CHARGE = Request(
    verb="deduct",
    org_id=ORG,
    fields={"amount_pence": 70, "class": "call", "type": "call_deduction"},
    key="charge",
)
TOO_MUCH = Request(
    verb="deduct",
    org_id=ORG,
    fields={"amount_pence": 5000, "class": "asset", "type": "sms"},
    key="too-much",
)
OPENING: Row = {
    "seq": 1,
    "idempotency_key": "client:opening",
    "transaction_type": "topup",
    "amount_pence": 1000,
    "balance_before_pence": 0,
    "balance_after_pence": 1000,
    "held_after_pence": 0,
}
CHARGED: Row = {
    "seq": 2,
    "idempotency_key": "client:charge",
    "transaction_type": "call_deduction",
    "amount_pence": -70,
    "balance_before_pence": 1000,
    "balance_after_pence": 930,
    "held_after_pence": 0,
}


def charged(status: int, *, seen_seq: int = 1) -> Recorded:
    body = {
        "seq": 2,
        "type": "call_deduction",
        "duplicate": status == 200,
        "balance_before_pence": 1000,
        "balance_after_pence": 930,
        "held_pence": 0,
    }
    answer = Answer(status=status, body=body)
    return Recorded(request=CHARGE, answer=answer, seen_seq=seen_seq)


def refused(balance_pence: int, *, seen_seq: int) -> Recorded:
    body = {"current_balance_pence": balance_pence, "effective_balance_pence": balance_pence}
    answer = Answer(status=402, body=body)
    return Recorded(request=TOO_MUCH, answer=answer, seen_seq=seen_seq)


def test_answers_that_agree_with_the_journal() -> None:
    """A decision, its repeat, and refusals of states that were, are no faults."""
    answers = [
        charged(201),
        charged(200, seen_seq=2),
        refused(1000, seen_seq=1),
        refused(930, seen_seq=1),
        refused(930, seen_seq=2),
        Recorded(request=CHARGE, answer=Answer(status=503), seen_seq=0),
        Recorded(request=CHARGE, answer=Answer(status=0), seen_seq=0),
    ]

    assert faults_of(answers, {ORG: [OPENING, CHARGED]}) == []


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(None, id="lost"),
        pytest.param({"idempotency_key": "client:other"}, id="another key"),
        pytest.param({"transaction_type": "sms"}, id="another type"),
        pytest.param({"amount_pence": -71}, id="another amount"),
        pytest.param({"balance_before_pence": 999}, id="another balance before"),
        pytest.param({"balance_after_pence": 929}, id="another balance after"),
        pytest.param({"held_after_pence": 1}, id="another hold"),
        pytest.param({"seq": 3}, id="another place"),
    ],
)
def test_an_acknowledged_decision_that_the_journal_tells_otherwise(row: Row | None) -> None:
    """Whatever differs from what the caller was told is a fault."""
    journal = [OPENING] if row is None else [OPENING, {**CHARGED, **row}]

    assert faults_of([charged(201)], {ORG: journal}) != []


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([charged(201), charged(201)], id="decided twice"),
        pytest.param([charged(201, seen_seq=2)], id="decided before what was known already"),
        pytest.param([refused(500, seen_seq=1)], id="refused for a state that never was"),
        pytest.param([refused(1000, seen_seq=2)], id="refused for a state that was over"),
        pytest.param(
            [Recorded(request=CHARGE, answer=Answer(status=500), seen_seq=1)],
            id="neither yes nor no",
        ),
    ],
)
def test_answers_that_cannot_be(answers: list[Recorded]) -> None:
    """An answer may be wrong though each row is right."""
    assert faults_of(answers, {ORG: [OPENING, CHARGED]}) != []
