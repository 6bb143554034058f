"""The tools of the fault runs: an even deck, and a watch that believes only new decisions."""

import random
from itertools import islice

from wallet_testing.faults.deck import KINDS, drawn
from wallet_testing.faults.scene import Watch
from wallet_testing.recorder import CHECK, Answer, Recorded, Request

NORTH, SOUTH = "north", "south"


def test_each_kind_is_drawn_as_often_as_the_others() -> None:
    """In every round of the deck once, in an order that the seed decides."""
    names = list(KINDS)

    first, again, other = (
        list(islice(drawn(names, random.Random(seed)), 2 * len(names))) for seed in (1, 1, 2)
    )

    assert first == again != other
    assert sorted(first[: len(names)]) == sorted(first[len(names) :]) == sorted(names)


def told(
    org_id: str, *, after_s: float, verb: str = "credit", status: int = 201, duplicate: bool = False
) -> Recorded:
    return Recorded(
        request=Request(verb=verb, org_id=org_id, fields={}),
        answer=Answer(status=status, body={"duplicate": duplicate}),
        seen_seq=0,
        sent_s=after_s,
    )


async def test_a_wallet_has_recovered_with_its_first_new_decision() -> None:
    """Not with a repeat, a read, a refusal, or the answer to an older request."""
    watch = Watch([NORTH, SOUTH])
    now_s = watch.began_s

    for no_proof in (
        told(NORTH, after_s=now_s - 1),
        told(NORTH, after_s=now_s, status=200, duplicate=True),
        told(NORTH, after_s=now_s, verb=CHECK, status=200),
        told(NORTH, after_s=now_s, status=402),
        told("elsewhere", after_s=now_s),
    ):
        watch(no_proof)
    assert watch.missing == {NORTH, SOUTH}

    watch(told(NORTH, after_s=now_s))
    assert not watch.done.is_set()
    watch(told(SOUTH, after_s=now_s))
    assert watch.done.is_set()
    assert watch.recovery().first_s <= watch.recovery().all_s
