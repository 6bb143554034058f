"""The witness of the tests that kill things must notice when answers and journal disagree."""

import pytest

from wallet_testing.recorder import ADMISSION, CHECK, REPORT, Answer, Recorded, Request
from wallet_testing.witness import Row, Wrong, findings_of

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

    assert findings_of(answers, {ORG: [OPENING, CHARGED]}) == []


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

    assert findings_of([charged(201)], {ORG: journal}) != []


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
    assert findings_of(answers, {ORG: [OPENING, CHARGED]}) != []


# --- messages of Vapi, and reads ---------------------------------------------------------------

LET_IN = Recorded(
    request=Request(verb=ADMISSION, org_id=ORG, fields={"call_id": "c"}),
    answer=Answer(status=200, body={"assistantId": "a"}),
    seen_seq=0,
)
REPORTED = Recorded(
    request=Request(verb=REPORT, org_id=ORG, fields={"call_id": "c", "seconds": 90}),
    answer=Answer(status=200),
    seen_seq=0,
)
HELD: Row = {
    **OPENING,
    "seq": 2,
    "idempotency_key": "reserve:c",
    "transaction_type": "reservation",
    "amount_pence": 0,
    "balance_before_pence": 1000,
    "held_after_pence": 280,
    "call_id": "c",
}
SETTLED: Row = {
    **HELD,
    "seq": 3,
    "idempotency_key": "commit:c",
    "transaction_type": "call_deduction",
    "amount_pence": -100,
    "uncollected_pence": 12,
    "balance_after_pence": 900,
    "held_after_pence": 0,
}


def looked(balance_pence: int, *, seen_seq: int) -> Recorded:
    body = {"balance_pence": balance_pence, "effective_balance_pence": balance_pence}
    request = Request(verb=CHECK, org_id=ORG, fields={"call_id": "none"})
    return Recorded(request=request, answer=Answer(status=200, body=body), seen_seq=seen_seq)


def test_messages_and_reads_that_agree_with_the_journal() -> None:
    """A hold, a charge that was collected in part, and reads of states that were."""
    answers = [LET_IN, REPORTED, looked(1000, seen_seq=1), looked(900, seen_seq=3)]

    assert findings_of(answers, {ORG: [OPENING, HELD, SETTLED]}) == []


@pytest.mark.parametrize(
    ("recorded", "rows", "wrong"),
    [
        pytest.param(LET_IN, [OPENING], Wrong.LOST, id="let in without a hold"),
        pytest.param(
            Recorded(request=LET_IN.request, answer=Answer(status=200), seen_seq=0),
            [OPENING, HELD],
            Wrong.OTHER,
            id="let in, and nobody answers",
        ),
        pytest.param(REPORTED, [OPENING, HELD], Wrong.LOST, id="reported and not charged"),
        pytest.param(
            REPORTED,
            [OPENING, HELD, {**SETTLED, "uncollected_pence": 0}],
            Wrong.OTHER,
            id="charged less than it cost",
        ),
        pytest.param(
            REPORTED,
            [OPENING, HELD, SETTLED, {**SETTLED, "seq": 4, "idempotency_key": "commit:c2"}],
            Wrong.TWICE,
            id="a call is charged twice",
        ),
        pytest.param(looked(500, seen_seq=0), [OPENING], Wrong.OTHER, id="read what never was"),
        pytest.param(
            looked(1000, seen_seq=3), [OPENING, HELD, SETTLED], Wrong.OTHER, id="read what is over"
        ),
        pytest.param(
            Recorded(request=CHARGE, answer=refused(1000, seen_seq=1).answer, seen_seq=1),
            [OPENING, CHARGED],
            Wrong.OTHER,
            id="refused, and done all the same",
        ),
    ],
)
def test_messages_and_reads_that_cannot_be(
    recorded: Recorded, rows: list[Row], wrong: Wrong
) -> None:
    """Each is found for what it is."""
    assert [it.wrong for it in findings_of([recorded], {ORG: rows})] == [wrong]
