"""Vapi, simulated: calls that ring, talk and end, messages that get lost, and call control."""

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wallet_engine.commands import Proof
from wallet_engine.errors import CallControlFailed, WalletError
from wallet_testing import builders
from wallet_testing.builders import T0_MS

from .faults import Fault
from .history import NoAnswer, Posted

if TYPE_CHECKING:
    from .node import SimNode
    from .universe import Universe

ANSWER_S = 7.5
"""How long Vapi waits for the answer to an assistant-request.  Source: PROVIDERS §1."""

MESSAGE_S = 20.0
RETRIES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""How Vapi repeats a message that was not taken, if its server is configured so."""

GOODBYE_S = 1.5
"""How long the sentence takes after which a call is ended."""

RECONCILED = 0.2
"""How many calls are compared with the provider's books later."""

FAULTY = 0.1
"""How often something happens to a message, while the storm lasts."""


class Phone:
    """One call: what Vapi knows of it."""

    def __init__(self, org_id: str, call_id: str) -> None:
        self.org_id = org_id
        self.call_id = call_id
        self.hung_up = asyncio.Event()
        self.duration_ms = 0
        self.talked = False
        self.reconciled = False
        self.reported = False


class Phones:
    """Places calls at the engine, and implements `ports.CallControl` for them."""

    def __init__(self, universe: "Universe") -> None:
        self._universe = universe
        self._rng = random.Random(f"phones {universe.plan.seed}")
        self._messages: set[asyncio.Task[None]] = set()
        self.calls: dict[tuple[str, str], Phone] = {}

    # --- call control -------------------------------------------------------------------------

    async def say_goodbye(self, org_id: str, call_id: str, reason: str) -> None:
        assert reason
        await self._control()
        if (phone := self.calls.get((org_id, call_id))) is not None:
            self._universe.loop.call_later(GOODBYE_S, phone.hung_up.set)

    async def hang_up(self, org_id: str, call_id: str) -> None:
        await self._control()
        if (phone := self.calls.get((org_id, call_id))) is not None:
            phone.hung_up.set()

    async def warn(self, org_id: str, call_id: str, seconds: int) -> None:
        assert seconds >= 0, f"{org_id} {call_id}"
        await self._control()

    async def _control(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.01, 0.1))
        if self._faulty(Fault.CONTROL_FAILED):
            raise CallControlFailed("the provider did not take it")

    def _faulty(self, fault: Fault) -> bool:
        universe = self._universe
        calm = universe.weather.over or not universe.plan.large_faults
        if calm or self._rng.random() >= FAULTY:
            return False
        universe.tally.faults[fault.value] += 1
        return True

    # --- calls --------------------------------------------------------------------------------

    async def call(self, org_id: str, call_id: str, begins_in_s: float) -> None:
        """Let a phone ring, and if the engine lets it in, talk."""
        rng = random.Random(f"{call_id} {self._universe.plan.seed}")
        await asyncio.sleep(begins_in_s)
        phone = self.calls[org_id, call_id] = Phone(org_id, call_id)
        cap = await self._admitted(phone, rng)
        if cap is None:
            if rng.random() < 0.2:  # it went on all the same, and says so
                seconds = rng.randint(0, 30)
                phone.duration_ms = seconds * 1000
                self._deliver(phone, "end-of-call-report", durationSeconds=seconds)
            await self._delivered()
            return
        await asyncio.sleep(rng.uniform(0.1, 3.0))
        connected = rng.random() > 0.1
        started_ms = self._now_ms()
        if connected:
            self._deliver(phone, "status-update", status="in-progress")
            talk_s = rng.choice((rng.uniform(0.2, 10), rng.uniform(10, 60), 1000.0))
            await self._talk(phone, min(talk_s, cap), rng)
            phone.duration_ms = self._now_ms() - started_ms
            phone.talked = True
            times = {"startedAt": iso(started_ms), "endedAt": iso(self._now_ms())}
            reason = "hangup"
        else:
            times, reason = {}, "customer-did-not-answer"
        if rng.random() < 0.7:
            guessed = {**times}
            if connected and rng.random() < 0.4:  # the report will know better
                guessed["endedAt"] = iso(self._now_ms() + rng.randint(-1000, 90_000))
            self._deliver(phone, "status-update", status="ended", endedReason=reason, **guessed)
        if rng.random() < 0.8:
            await asyncio.sleep(rng.uniform(0.0, 10.0))
        report = {"endedReason": reason, **times}
        self._deliver(phone, "end-of-call-report", **report)
        if rng.random() < 0.1:
            self._deliver(phone, "end-of-call-report", **report)
        await self._delivered()
        if rng.random() < RECONCILED:
            await self._reconcile(phone, rng)

    async def _reconcile(self, phone: Phone, rng: random.Random) -> None:
        """Somebody compares the books with the provider's, again and again, and finds otherwise."""
        phone.reconciled = True
        backend = self._universe.backend
        for _ in range(rng.randint(1, 3)):
            ms = rng.randint(0, 100_000)
            proof = rng.choice((Proof.RECONCILED, Proof.REPORT))
            commit = builders.commit(
                phone.call_id, org_id=phone.org_id, ms=ms, proof=proof, strict=False
            )
            await backend.ask(commit)

    async def _admitted(self, phone: Phone, rng: random.Random) -> int | None:
        """Ask whether the call may start, perhaps twice; return its cap, or None."""
        cap: int | None = None
        for _ in range(2 if rng.random() < 0.2 else 1):
            posted = await self._post(phone, "assistant-request", spoken=rng.random() < 0.3)
            if posted.admitted:
                told = posted.body["assistantOverrides"]["maxDurationSeconds"]
                cap = told if cap is None else min(cap, told)
        return cap

    async def _talk(self, phone: Phone, seconds: float, rng: random.Random) -> None:
        """Talk until the time is up or somebody hangs up; ask now and then if that is in order."""
        until_s = self._universe.loop.time() + seconds
        began_s = self._universe.loop.time()
        while not phone.hung_up.is_set():
            left_s = until_s - self._universe.loop.time()
            pause_s = min(left_s, rng.uniform(1.0, 30.0))
            try:
                async with asyncio.timeout(max(0.0, pause_s)):
                    await phone.hung_up.wait()
            except TimeoutError:
                pass
            if self._universe.loop.time() >= until_s:
                return
            elapsed_ms = round((self._universe.loop.time() - began_s) * 1000)
            posted = await self._post(phone, "status-check", ms=elapsed_ms)
            if posted.body.get("endCall"):
                return

    # --- messages -----------------------------------------------------------------------------

    def _deliver(self, phone: Phone, kind: str, **parts: object) -> None:
        """Send a message for as long as it takes, in a task of its own."""
        if self._faulty(Fault.MESSAGE_LOST):
            return
        copies = 2 if self._faulty(Fault.MESSAGE_TWICE) else 1
        for _ in range(copies):
            late_s = self._rng.uniform(0.5, 8.0) if self._faulty(Fault.MESSAGE_LATE) else 0.0
            sending = self._insist(phone, kind, late_s, parts)
            task = asyncio.get_running_loop().create_task(sending)
            self._messages.add(task)
            task.add_done_callback(self._messages.discard)

    async def _delivered(self) -> None:
        """Wait until all that is on its way has arrived or been given up."""
        while self._messages:
            await asyncio.wait(self._messages)

    async def _insist(
        self, phone: Phone, kind: str, late_s: float, parts: dict[str, object]
    ) -> None:
        await asyncio.sleep(late_s)
        for wait_s in (*RETRIES_S, 0.0):
            posted = await self._post(phone, kind, parts=parts)
            if posted.status == 200:
                phone.reported |= kind == "end-of-call-report"
                return
            if 400 <= posted.status < 500:
                return
            await asyncio.sleep(wait_s)

    async def _post(
        self,
        phone: Phone,
        kind: str,
        *,
        spoken: bool = False,
        ms: int = 0,
        parts: dict[str, object] | None = None,
    ) -> Posted:
        """Send one message once, and note what came back."""
        universe = self._universe
        posted = Posted(
            kind=kind,
            org_id=phone.org_id,
            call_id=phone.call_id,
            spoken=spoken,
            ms=ms,
            known_seq=universe.history.known[phone.org_id],
            sent_tick=universe.server.tick,
        )
        universe.history.posted.append(posted)
        path, body = _request(phone, kind, posted, parts or {})
        timeout_s = ANSWER_S if kind == "assistant-request" else MESSAGE_S

        def answered(node: "SimNode") -> None:
            posted.done_tick = universe.server.tick
            posted.heard_s = universe.loop.time()
            posted.stale = universe.is_stale(node, phone.org_id)

        universe.say(f"vapi {kind} {phone.call_id} {parts or ''} …")
        try:
            answer = await universe.send(
                lambda node: node.post(path, body), timeout_s=timeout_s, answered=answered
            )
        except (NoAnswer, WalletError) as error:
            universe.say(f"vapi {kind} {phone.call_id}: {error!r}")
            return posted
        posted.status, posted.body = answer
        universe.say(f"vapi {kind} {phone.call_id}: {answer.status} {dict(answer.body)}")
        return posted

    def _now_ms(self) -> int:
        return T0_MS + self._universe.loop.now_us // 1000


def _request(
    phone: Phone, kind: str, posted: Posted, parts: dict[str, object]
) -> tuple[str, dict[str, object]]:
    if kind == "status-check":
        call = {"call": {"id": phone.call_id}, "elapsedSeconds": posted.ms / 1000}
        return "/api/vapi/webhook/status-check", call
    message = {
        "type": kind,
        "call": {"id": phone.call_id},
        "phoneNumber": {"id": phone.org_id},
        **parts,
    }
    path = f"/api/vapi/orgs/{phone.org_id}/webhook" if posted.spoken else "/api/vapi/webhook"
    return path, {"message": message}


def iso(ms: int) -> str:
    """Return a time as Vapi writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
