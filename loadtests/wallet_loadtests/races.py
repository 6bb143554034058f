"""Races for one wallet's money: what many callers at once may get, and what they may not.

Each race is a volley followed by a look into the database; the answers alone prove nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .books import Auditor, Books
from .operators import Operator
from .system import System
from .verdict import Verdict, faults_of
from .volley import Hit, Shot, volley

PRICE_PENCE = 1000
"""Of a number.  Source: SPEC §3, asset prices."""

HOLD_PENCE = 280
"""Of a call: 5 minutes at 56 p.  Source: SPEC §3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where a race is run: the system, who prepares it, who looks at it afterwards."""

    system: System
    operator: Operator
    auditor: Auditor

    def purchase(self, org_id: str, number: int) -> Shot:
        """Return a purchase under a key of its own."""
        return Shot(
            name="purchase",
            path="/v1/deduct",
            headers={**self.system.bearer(), "Idempotency-Key": f"purchase-{number}"},
            body={
                "org_id": org_id,
                "amount_pence": PRICE_PENCE,
                "class": "asset",
                "type": "phone_number",
                "description": f"Number {number}",
            },
        )

    def reservation(self, org_id: str, call_id: str) -> Shot:
        """Return a reservation for a call."""
        return Shot(
            name="reservation",
            path="/v1/reserve",
            headers=self.system.bearer(),
            body={"org_id": org_id, "call_id": call_id},
        )


Judge = Callable[[Sequence[Hit], Books], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """A volley on a fresh wallet with `pence` in it, and what must be true afterwards."""

    name: str
    slug: str
    pence: int
    shots: Callable[[Arena, str], list[Shot]]
    judge: Judge


def _purchases(arena: Arena, org_id: str) -> list[Shot]:
    return [arena.purchase(org_id, number) for number in range(100)]


def _one_purchase(hits: Sequence[Hit], books: Books) -> list[str]:
    rows = books.wrote("phone_number").rows
    refused = sum(hit.status == 402 for hit in hits)
    return faults_of(
        (rows == 1, f"{rows} purchases are journaled, not 1"),
        (books.balance_pence == 0, f"the balance is {books.balance_pence}, not 0"),
        (sum(hit.created for hit in hits) == 1, "not exactly one caller was told yes"),
        (refused == len(hits) - 1, f"{refused} callers were told 402, not {len(hits) - 1}"),
    )


def _same_call(arena: Arena, org_id: str) -> list[Shot]:
    return [arena.reservation(org_id, "call-1") for _ in range(50)]


def _one_hold(hits: Sequence[Hit], books: Books) -> list[str]:
    repeated = sum(hit.repeated for hit in hits)
    rows = books.wrote("reservation").rows
    seqs = {hit.body.get("seq") for hit in hits}
    return faults_of(
        (books.active.rows == 1, f"{books.active.rows} holds are live, not 1"),
        (rows == 1, f"{rows} reservations are journaled, not 1"),
        (books.held_pence == HOLD_PENCE, f"{books.held_pence} p are held, not {HOLD_PENCE}"),
        (sum(hit.created for hit in hits) == 1, "not exactly one caller was told: created"),
        (repeated == len(hits) - 1, f"{repeated} were told: duplicate, not {len(hits) - 1}"),
        (len(seqs) == 1, f"callers were told of {len(seqs)} decisions, not of one"),
    )


def _purchases_and_one_call(arena: Arena, org_id: str) -> list[Shot]:
    return _mixed(arena, org_id, lambda _: "call-1")


def _purchases_and_calls(arena: Arena, org_id: str) -> list[Shot]:
    return _mixed(arena, org_id, lambda number: f"call-{number}")


def _mixed(arena: Arena, org_id: str, call_id: Callable[[int], str]) -> list[Shot]:
    return [
        shot
        for number in range(25)
        for shot in (arena.purchase(org_id, number), arena.reservation(org_id, call_id(number)))
    ]


def _at_most_two(hits: Sequence[Hit], books: Books) -> list[str]:
    decided = books.wrote("phone_number").rows + books.wrote("reservation").rows
    return [
        *faults_of((1 <= decided <= 2, f"{decided} were accepted, not 1 or 2")),
        *_within_the_money(hits, books),
    ]


def _within_the_money(hits: Sequence[Hit], books: Books) -> list[str]:
    decided = books.wrote("phone_number").rows + books.wrote("reservation").rows
    created = sum(hit.created for hit in hits)
    strange = sorted({hit.status for hit in hits} - {200, 201, 402})
    return faults_of(
        (books.spent_pence <= 1000, f"{books.spent_pence} p of 1000 are charged or held"),
        (books.balance_pence >= books.held_pence, "more is held than is there"),
        (created == decided, f"{created} were told: created, {decided} are journaled"),
        (not strange, f"some were answered {strange}"),
    )


RACES: tuple[Race, ...] = (
    Race(
        name="100 purchases with money for one",
        slug="purchases",
        pence=PRICE_PENCE,
        shots=_purchases,
        judge=_one_purchase,
    ),
    Race(
        name="50 reservations of one call",
        slug="same-call",
        pence=1000,
        shots=_same_call,
        judge=_one_hold,
    ),
    Race(
        name="25 purchases against 25 reservations of one call, 1000 p",
        slug="against-one",
        pence=1000,
        shots=_purchases_and_one_call,
        judge=_at_most_two,
    ),
    Race(
        name="25 purchases against 25 reservations of 25 calls, 1000 p",
        slug="against-many",
        pence=1000,
        shots=_purchases_and_calls,
        judge=_within_the_money,
    ),
)


async def run_race(arena: Arena, race: Race, *, turn: int) -> Verdict:
    """Run a race on a fresh wallet, and judge it by the database."""
    org_id = await arena.operator.org(f"{race.slug}-{turn}", pence=race.pence)
    return await judged(arena, race.name, org_id, race.shots(arena, org_id), race.judge)


async def judged(
    arena: Arena, name: str, org_id: str, shots: Sequence[Shot], judge: Judge
) -> Verdict:
    """Fire `shots` and judge what they left behind."""
    hits = await volley(arena.system.url, shots)
    books = await arena.auditor.books(org_id)
    return Verdict(name=name, seen=_seen(hits, books), faults=[*judge(hits, books), *books.faults])


def _seen(hits: Sequence[Hit], books: Books) -> str:
    answers = Counter(
        f"{hit.status}{' duplicate' if hit.repeated else ''}" for hit in hits
    ).most_common()
    told = ", ".join(f"{count} x {answer}" for answer, count in answers)
    slowest_ms = max(hit.seconds for hit in hits) * 1000
    return (
        f"balance {books.balance_pence}, held {books.held_pence}"
        f" in {books.active.rows} holds; {told}; slowest {slowest_ms:.0f} ms"
    )
