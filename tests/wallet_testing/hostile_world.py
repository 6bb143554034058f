"""A node on a real database, with three orgs and their calls, made anew for each example.

What a message may do to them is checked after every single one; a fault says which it was.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Any

import asyncpg
from yarl import URL

from .complaints import complaints
from .digest import Digest, Purse, State, findings, purses
from .edge import Edge, edge
from .hostile_posts import WEBHOOK, Post, Wire
from .hostile_vapi import CALLS, ORGS
from .raw_http import Answer
from .servers import Databases

VAPI_SECRET = "what only Vapi knows"
ANSWER_S_MAX = 20.0
"""Far past the deadline of 4 s: a node that answers later than this hangs."""

OPENING_PENCE: Mapping[str, int] = {"rich": 100_000, "other": 100_000, "poor": 300}
"""What each org has.  The poor one can pay for one call of five minutes and no more."""

STATUSES = frozenset({200, 400, 401, 402, 403, 404, 408, 409, 413})
"""What Vapi may be answered.  Source: SPEC §5.1, /openapi.json."""


SHARED_CALLS = """
-- Calls of Vapi that more than one of the orgs was charged or holds money for.  $1 orgs, $2 the
-- call of another system: whose those are is its own business.
SELECT call_id FROM credit_reservations WHERE org_id = ANY($1::text[]) AND call_id <> $2
GROUP BY call_id HAVING count(*) > 1
"""

LIVE_CALLS = """
-- Calls that the engine would extend, and end after minutes.  $1 orgs.
SELECT call_id FROM credit_reservations
WHERE org_id = ANY($1::text[]) AND managed AND status = 'active'
"""

FORGOTTEN = (
    "DELETE FROM calls",
    "UPDATE credit_reservations SET vapi_call_id = NULL WHERE vapi_call_id IS NOT NULL",
)
"""What makes the calls of an example unknown to the next, which may use the same strange ids."""


@dataclass(slots=True)
class HostileWorld:
    """A node, and whoever posts to it, on an event loop of its own."""

    runner: asyncio.Runner
    api: Edge
    connection: asyncpg.Connection
    digest: Digest
    errors: list[str]
    numbers: Iterator[int] = field(default_factory=count)
    names: dict[str, str] = field(default_factory=dict)

    def play(self, posts: Sequence[Post]) -> list[int]:
        """Send `posts` one after the other, look after each, and return what was answered."""
        return self.runner.run(self._play(posts))

    async def _play(self, posts: Sequence[Post]) -> list[int]:
        await self._settle_down()
        self.errors.clear()
        statuses = []
        for post in posts:
            before, stored = await self._purses(), await self.stored()
            answer = await self._sent(post)
            await self._settle_down()
            after = await self._purses()
            faults = [*answer.faults(), *self.errors]
            if answer.status not in STATUSES:
                faults.append(f"status {answer.status} is not documented")
            if answer.status >= 400 and await self.stored() != stored:
                faults.append("a refused message changed what is stored")
            faults += faults_of(before, after, may_change=post.acts and is_yes(answer))
            statuses.append(answer.status)
            told = f"{answer.status} {answer.raw[:500]!r}"
            shared = await self.connection.fetch(SHARED_CALLS, self._orgs, self.names["placed"])
            faults += [f"several orgs pay for {row['call_id']}" for row in shared]
            assert not faults, (
                f"{faults}\nafter {post}\nin {posts}\nas {self.names}\nanswered {told}"
            )
        return statuses

    async def prepare(self, *, calls: bool = True) -> None:
        """Make three orgs with their calls; the names of an example mean them from now on."""
        await self._clear_up()
        number = next(self.numbers)
        for statement in FORGOTTEN:
            await self.connection.execute(statement)
        self.api.program.services.directory._calls.clear()
        self.names = {
            **{org: f"{org}-{number}" for org in ORGS},
            **{f"number of {org}": f"number-{org}-{number}" for org in ORGS},
            **{f"e164 of {org}": f"+1{at}{number:08}" for at, org in enumerate(ORGS, 2)},
            **{f"assistant of {org}": f"assistant-{org}-{number}" for org in ORGS},
            **{call: f"call-{call}-{number}" for call in CALLS if call != "poor"},
        }
        await asyncio.gather(*(self._org(org, pence) for org, pence in OPENING_PENCE.items()))
        if not calls:
            return
        placed = {"org_id": self.names["rich"], "call_id": self.names["placed"]}
        heard = await self.api.ask("POST", "/v1/reserve", placed)
        assert heard.status == 201, heard
        for call_id, org in (("live", "rich"), ("ended", "rich"), ("others", "other")):
            await self._vapi(message("assistant-request", call_id, org))
        await self._vapi(message("end-of-call-report", "ended", "rich", durationSeconds=90))

    async def _clear_up(self) -> None:
        """End the calls of the example before, of which the engine would speak in a long run."""
        for row in await self.connection.fetch(LIVE_CALLS, self._orgs if self.names else []):
            ended = {"type": "end-of-call-report", "call": {"id": row["call_id"]}}
            await self._vapi({"message": {**ended, "durationSeconds": 0}})

    async def _org(self, org: str, pence: int) -> None:
        org_id, ask = self.names[org], self.api.ask
        assistant_id = self.names[f"assistant of {org}"]
        number = {"number": self.names[f"e164 of {org}"], "assistant_id": assistant_id}
        credit = {"org_id": org_id, "amount_pence": pence, "type": "topup"}
        for heard in (
            await ask("POST", "/admin/orgs", {"org_id": org_id, "name": org}),
            await ask("POST", "/v1/credit", credit, key="opening"),
            await ask("PUT", f"/admin/assistants/{assistant_id}", {"org_id": org_id}),
            await ask(
                "PUT",
                f"/admin/phone-numbers/{self.names[f'number of {org}']}",
                {"org_id": org_id, **number},
            ),
        ):
            assert heard.status == 201, heard

    async def _vapi(self, body: object) -> None:
        answer = await self._sent(Post(WEBHOOK, body))
        assert answer.status == 200, answer

    async def _sent(self, post: Post) -> Answer:
        path, raw, headers = post.told(self.names)
        headers["X-Vapi-Secret"] = VAPI_SECRET
        data: Any = in_chunks(raw) if post.wire is Wire.CHUNKED else BytesIO(raw)
        url = URL(f"http://127.0.0.1:{self.api.program.port}{path}", encoded=True)
        async with (
            asyncio.timeout(ANSWER_S_MAX),
            self.api.session.post(
                url, data=data, headers=headers, expect100=post.wire is Wire.BEYOND
            ) as response,
        ):
            told = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, told, await response.read())

    async def _settle_down(self) -> None:
        """Wait until what follows from a message has followed."""
        calls = self.api.program.services.calls
        while calls._ended or calls._settling:  # noqa: ASYNC110  # nothing tells of the last one
            await asyncio.sleep(0)  # the node runs on this loop
        recorder: Any = self.api.program.services.recorder
        await recorder._recorder.flush()

    async def _purses(self) -> dict[str, Purse]:
        return await purses(self.connection, self._orgs)

    async def stored(self) -> State:
        """Return a digest of all that is stored of the orgs, but for the delivery log."""
        return await self.digest.taken(self._orgs)

    @property
    def _orgs(self) -> list[str]:
        return [self.names[org] for org in ORGS]


def message(kind: str, call_id: str, org: str, **more: object) -> dict[str, object]:
    """Return a well-formed message about a call of an org."""
    call = {"id": f"<{call_id}>", "phoneNumberId": f"<number of {org}>"}
    return {"message": {"type": kind, "call": call, **more}}


def is_yes(answer: Answer) -> bool:
    """Whether Vapi was not refused; a spoken refusal has status 200."""
    return answer.status == 200 and "error" not in json.loads(answer.raw)


def faults_of(
    before: Mapping[str, Purse], after: Mapping[str, Purse], *, may_change: bool
) -> list[str]:
    """Return what one message may not do: at most one decision, for one org, above its floor."""
    changed = [org_id for org_id in before if before[org_id] != after[org_id]]
    if not may_change:
        return [f"{org_id}: {before[org_id]} became {after[org_id]}" for org_id in changed]
    faults = [f"several orgs changed: {changed}"] if len(changed) > 1 else []
    for org_id in changed:
        was, now = before[org_id], after[org_id]
        floor = min(-now.debt_limit_pence, was.effective_pence)
        told = f"{org_id}: {was} became {now}"
        if now.seq != was.seq + 1:
            faults.append(f"not one decision, {told}")
        if now.effective_pence < floor:
            faults.append(f"below the floor, {told}")
        if now.balance_pence > OPENING_PENCE[org_id.rpartition("-")[0]]:
            faults.append(f"money from nothing, {told}")
    return faults


async def in_chunks(raw: bytes) -> AsyncIterator[bytes]:
    """Give `raw` in two pieces, so that it is sent without a length."""
    yield raw[: len(raw) // 3]
    yield raw[len(raw) // 3 :]


@contextmanager
def own_database(databases: Databases) -> Iterator[tuple[asyncio.Runner, str]]:
    """Give an event loop for a test that has none, and the DSN of a database."""
    with asyncio.Runner() as runner:
        context = databases.fresh()
        dsn = runner.run(context.__aenter__())
        try:
            yield runner, dsn
        finally:
            runner.run(context.__aexit__(None, None, None))


@contextmanager
def hostile_world(runner: asyncio.Runner, dsn: str, **settings: Any) -> Iterator[HostileWorld]:  # noqa: ANN401  # as read
    """Run a node on a migrated database; in the end its books must be in order."""
    vapi = {"secret": VAPI_SECRET, "report_grace_s": 0, **settings.pop("vapi", {})}
    context = edge(dsn, vapi=vapi, **settings)
    api = runner.run(context.__aenter__())
    connection = runner.run(asyncpg.connect(dsn))
    try:
        with complaints() as errors:
            digest = runner.run(Digest.over(connection, without={"webhook_delivery_log"}))
            yield HostileWorld(runner, api, connection, digest, errors)
            heard = runner.run(api.ask("GET", "/health", token=None))
            assert heard["status"] == "ok", heard
        assert runner.run(findings(dsn)) == []
    finally:
        runner.run(connection.close())
        runner.run(context.__aexit__(None, None, None))
