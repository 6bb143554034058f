"""A client that remembers every answer, and afterwards holds the journal against them.

What was acknowledged must be there, once, as it was told; what was refused must have been told
of a state that existed.  Nothing is assumed about requests that were never answered.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg

ANSWER_S_MAX = 10.0
"""How long one answer may take: above every deadline of the engine."""

CALL_VERBS = frozenset({"reserve", "commit", "release"})
"""Verbs whose key is derived from the call.  Source: SPEC §4."""

ROWS = """
-- Every decision in every journal.
SELECT org_id, seq, idempotency_key, transaction_type, amount_pence, held_delta_pence,
       balance_before_pence, balance_after_pence, held_after_pence
FROM credit_transactions ORDER BY org_id, seq
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command as sent; a repeat is an equal one."""

    verb: str
    org_id: str
    fields: Mapping[str, object]
    key: str = ""

    @property
    def stored_key(self) -> str:
        """What it is journaled under."""
        if self.verb in CALL_VERBS:
            return f"{self.verb}:{self.fields['call_id']}"
        return f"client:{self.key}"

    def body(self) -> str:
        """What is sent."""
        return json.dumps({"org_id": self.org_id, **self.fields})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `status` 0: nothing did."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    retry_after: str = ""

    @property
    def acknowledged(self) -> bool:
        """Whether it says that the command was done."""
        return self.status in {200, 201}

    @property
    def duplicate(self) -> bool:
        """Whether it says that the command had been done before."""
        return self.body.get("duplicate") is True

    @property
    def settled(self) -> bool:
        """Whether it is a yes or a no, and not: try again."""
        return self.status not in {0, 503}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An answer to a request; `seen_seq` is the last decision of its org known when it was sent."""

    request: Request
    answer: Answer
    seen_seq: int


class Recorder:
    """Sends commands to wherever `address` says at the moment, and remembers the answers."""

    def __init__(
        self, session: aiohttp.ClientSession, address: Callable[[], str], token: str
    ) -> None:
        self._session = session
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._seen: defaultdict[str, int] = defaultdict(int)
        self.answers: list[Recorded] = []

    async def ask(self, request: Request) -> Answer:
        """Send a command once and return what came back, if anything did."""
        seen_seq = self._seen[request.org_id]
        answer = await self._sent(request)
        self.answers.append(Recorded(request=request, answer=answer, seen_seq=seen_seq))
        if answer.acknowledged:
            self._seen[request.org_id] = max(self._seen[request.org_id], answer.body["seq"])
        return answer

    def count(self, status: int) -> int:
        """Return how many answers had this status."""
        return sum(it.answer.status == status for it in self.answers)

    @property
    def acknowledged(self) -> list[Recorded]:
        """The answers that said yes."""
        return [it for it in self.answers if it.answer.acknowledged]

    async def faults(self, dsn: str) -> list[str]:
        """Hold all answers against the journals, and return whatever does not agree."""
        return faults_of(self.answers, await _journal(dsn))

    async def _sent(self, request: Request) -> Answer:
        headers = {**self._headers, **({"Idempotency-Key": request.key} if request.key else {})}
        url = f"{self._address()}/v1/{request.verb}"
        try:
            async with self._session.post(url, data=request.body(), headers=headers) as response:
                return Answer(
                    status=response.status,
                    body=json.loads(await response.read()),
                    retry_after=response.headers.get("Retry-After", ""),
                )
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Answer(status=0)


def recording_session() -> aiohttp.ClientSession:
    """Return a session for many at once; aiohttp repeats no POST by itself."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
    )


Row = Mapping[str, Any]
Journal = Mapping[str, list[Row]]


def faults_of(answers: Sequence[Recorded], journal: Journal) -> list[str]:
    """Return whatever does not agree between answers and journals."""
    faults = []
    created = Counter(
        (it.request.org_id, it.request.stored_key) for it in answers if it.answer.status == 201
    )
    for recorded in answers:
        if recorded.answer.acknowledged:
            faults += _acknowledged_faults(recorded, journal)
        elif recorded.answer.status == 402:
            faults += _refused_faults(recorded, journal)
        elif recorded.answer.settled:
            faults.append(f"{recorded.request}: {recorded.answer}")
    twice = [f"{key} was created {count} times" for key, count in created.items() if count > 1]
    return faults + twice


async def _journal(dsn: str) -> Journal:
    connection = await asyncpg.connect(dsn)
    try:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for row in await connection.fetch(ROWS):
            found[row["org_id"]].append(dict(row))
        return found
    finally:
        await connection.close()


def _acknowledged_faults(recorded: Recorded, journal: Journal) -> list[str]:
    request, body = recorded.request, recorded.answer.body
    seq, rows = body["seq"], journal.get(request.org_id, [])
    where = f"{request.org_id} seq {seq}, {request.stored_key}"
    if not 1 <= seq <= len(rows):
        return [f"{where}: acknowledged, and not in the journal"]
    row = rows[seq - 1]
    claims = (
        ("seq", row["seq"], seq),
        ("key", row["idempotency_key"], request.stored_key),
        ("type", row["transaction_type"], body["type"]),
        ("balance before", row["balance_before_pence"], body["balance_before_pence"]),
        ("balance after", row["balance_after_pence"], body["balance_after_pence"]),
        ("held after", row["held_after_pence"], body["held_pence"]),
    )
    faults = [
        f"{where}: {name} is {stored}, the answer said {told}"
        for name, stored, told in claims
        if stored != told
    ]
    amount = request.fields.get("amount_pence")
    if request.verb in {"deduct", "credit"}:
        moved = amount if request.verb == "credit" else -int(str(amount))
        if row["amount_pence"] != moved:
            faults.append(f"{where}: {row['amount_pence']} p were moved, not {moved}")
    if not recorded.answer.duplicate and seq <= recorded.seen_seq:
        faults.append(f"{where}: decided after seq {recorded.seen_seq} was known, but before it")
    return faults


def _refused_faults(recorded: Recorded, journal: Journal) -> list[str]:
    """A refusal must tell of a state that was durable, and not older than what was known."""
    body, org_id = recorded.answer.body, recorded.request.org_id
    told = (body["current_balance_pence"], body["effective_balance_pence"])
    states = [
        (row["balance_after_pence"], row["balance_after_pence"] - row["held_after_pence"])
        for row in journal.get(org_id, [])
    ]
    if told in [(0, 0), *states][recorded.seen_seq :]:
        return []
    return [f"{org_id}: refused for {told}, which never was so after seq {recorded.seen_seq}"]
