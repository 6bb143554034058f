"""A client that remembers every answer, so that they can be held against the journal afterwards.

It speaks the engine's own interface and, with the secret, also as Vapi does.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

ANSWER_S_MAX = 10.0
"""How long one answer may take: above every deadline of the engine."""

CALL_VERBS = frozenset({"reserve", "commit", "release"})
"""Verbs whose key is derived from the call.  Source: SPEC §4."""

ADMISSION = "assistant-request"
REPORT = "end-of-call-report"
WEBHOOKS = {ADMISSION: "reserve", REPORT: "commit"}
"""Messages of Vapi, and what each is journaled as."""

CHECK = "check"

CALL_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""When calls are reported to have begun: only how long they took is money."""

REMEMBERED = (
    "assistant", "assistantId", "balance_after_pence", "balance_before_pence", "balance_pence",
    "code", "currentBalance", "current_balance_pence", "duplicate", "effectiveBalance",
    "effective_balance_pence", "held_pence", "seq", "type",
)  # fmt: skip
"""What is kept of an answer: there are hundreds of thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command, question or message as sent; a repeat is an equal one."""

    verb: str
    org_id: str
    fields: Mapping[str, object]
    key: str = ""

    @property
    def stored_key(self) -> str:
        """What it is journaled under; empty for a question."""
        if self.verb in CALL_VERBS:
            return f"{self.verb}:{self.fields['call_id']}"
        if self.verb in WEBHOOKS:
            return f"{WEBHOOKS[self.verb]}:{self.fields['call_id']}"
        return "" if self.verb == CHECK else f"client:{self.key}"

    @property
    def path(self) -> str:
        """Where it is sent."""
        return "/api/vapi/webhook" if self.verb in WEBHOOKS else f"/v1/{self.verb}"

    def body(self) -> str:
        """What is sent."""
        if self.verb in WEBHOOKS:
            return json.dumps({"message": self._message()})
        return json.dumps({"org_id": self.org_id, **self.fields})

    def _message(self) -> Mapping[str, object]:
        found: dict[str, object] = {
            "type": self.verb,
            "call": {"id": self.fields["call_id"], "assistantId": assistant_of(self.org_id)},
        }
        if self.verb == REPORT:
            seconds = int(str(self.fields["seconds"]))
            found["startedAt"] = CALL_BEGAN.isoformat()
            found["endedAt"] = (CALL_BEGAN + timedelta(seconds=seconds)).isoformat()
        return found


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
    """An answer to a request; `seen_seq` is the last decision of its org known when it was sent.

    `sent_s` is when that was, on the clock of the event loop.
    """

    request: Request
    answer: Answer
    seen_seq: int
    sent_s: float = 0.0


class Recorder:
    """Sends commands to wherever `address` says at the moment, and remembers the answers."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: Callable[[], str],
        token: str,
        *,
        vapi_secret: str = "",
    ) -> None:
        self._session = session
        self._address = address
        self._headers = {
            "Authorization": f"Bearer {token}",
            "X-Vapi-Secret": vapi_secret,
            "Content-Type": "application/json",
        }
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._counts: Counter[int] = Counter()
        self._asking: set[asyncio.Timeout] = set()
        self.answers: list[Recorded] = []
        self.listeners: list[Callable[[Recorded], None]] = []

    async def ask(
        self, request: Request, *, patience_s: float | None = None, at: str = ""
    ) -> Answer:
        """Send a request once and return what came back, if anything did.

        After `patience_s` the caller hangs up.  `at` is where to send it, if not as usual.
        """
        seen_seq = self._seen[request.org_id]
        sent_s = asyncio.get_running_loop().time()
        answer = await self._heard(request, patience_s, at)
        kept = {name: answer.body[name] for name in REMEMBERED if name in answer.body}
        recorded = Recorded(
            request=request, answer=replace(answer, body=kept), seen_seq=seen_seq, sent_s=sent_s
        )
        self.answers.append(recorded)
        self._counts[answer.status] += 1
        if answer.acknowledged and "seq" in answer.body:
            self._seen[request.org_id] = max(self._seen[request.org_id], answer.body["seq"])
        for listener in self.listeners:
            listener(recorded)
        return answer

    def hang_up(self) -> None:
        """Hang up on everybody who has not answered yet."""
        for patience in self._asking:
            patience.reschedule(0)

    def count(self, *statuses: int) -> int:
        """Return how many answers had one of these statuses."""
        return sum(self._counts[status] for status in statuses)

    @property
    def acknowledged(self) -> int:
        """How many answers said yes."""
        return self.count(200, 201)

    async def _heard(self, request: Request, patience_s: float | None, at: str) -> Answer:
        try:
            async with asyncio.timeout(patience_s) as patience:
                self._asking.add(patience)
                try:
                    return await self._sent(request, at)
                finally:
                    self._asking.discard(patience)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Answer(status=0)

    async def _sent(self, request: Request, at: str) -> Answer:
        headers = {**self._headers, **({"Idempotency-Key": request.key} if request.key else {})}
        url = (at or self._address()) + request.path
        async with self._session.post(url, data=request.body(), headers=headers) as response:
            return Answer(
                status=response.status,
                body=json.loads(await response.read()),
                retry_after=response.headers.get("Retry-After", ""),
            )


def assistant_of(org_id: str) -> str:
    """Return the id of the assistant that answers an org's calls."""
    return f"assistant-of-{org_id}"


def recording_session() -> aiohttp.ClientSession:
    """Return a session for many at once; aiohttp repeats no POST by itself."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
    )
