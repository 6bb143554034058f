"""Locust users who are phone calls: they ring, talk for no time, end, and are reported.

Run by `wallet_loadtests.mix`, and behind Locust's own page by `wallet_loadtests locust`.
"""

import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task
from locust.env import Environment
from locust.exception import RescheduleTask

from wallet_loadtests.messages import STATUS_CHECK, WEBHOOK, message, status_check
from wallet_loadtests.volley import OUTCOME_VARIABLE, PLAN_VARIABLE

PLAN: dict[str, Any] = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text())

CHATTER = ("conversation-update", "speech-update", "speech-update", "speech-update", "hang")
"""What Vapi sends while people talk, in about these shares."""

CHATTER_MAX = 8
FORWARDED_SHARE = 0.1
REMEMBERED_MAX = 1_000_000

REPORTED: list[str] = []
FAILURES: list[str] = []


class Phone(FastHttpUser):
    """Places one call after the other."""

    wait_time = constant(0)
    network_timeout = 30.0
    connection_timeout = 30.0

    @task
    def call(self) -> None:
        call_id = str(uuid.uuid4())
        number_id = random.choice(PLAN["number_ids"])

        def said(name: str) -> dict[str, Any]:
            return self.sent(name, WEBHOOK, message(name, call_id=call_id, number_id=number_id))

        admitted = said("assistant-request")
        cap = admitted.get("assistantOverrides", {}).get("maxDurationSeconds")
        self.expect(type(cap) is int and cap > 0, f"admitted without a cap: {admitted}")
        said("status-update-in-progress")
        for name in random.choices(CHATTER, k=random.randint(1, CHATTER_MAX)):
            said(name)
        checked = self.sent("status-check", STATUS_CHECK, json.dumps(status_check(call_id)))
        self.expect(checked.get("endCall") is False, f"a paid call must end: {checked}")
        self.expect(checked.get("held_pence", 0) > 0, f"a live call without a hold: {checked}")
        if random.random() < FORWARDED_SHARE:
            said("status-update-forwarding")
        said("status-update-ended")
        said("end-of-call-report")
        if len(REPORTED) < REMEMBERED_MAX:
            REPORTED.append(call_id)

    def sent(self, name: str, path: str, body: str) -> dict[str, Any]:
        """Send a message and return its answer; a call whose message failed is given up."""
        with self.client.post(
            path, data=body, headers=PLAN["headers"], name=name, catch_response=True
        ) as response:
            try:
                answer = json.loads(response.text or "")
            except ValueError:
                answer = None
            if response.status_code == 200 and isinstance(answer, dict):
                response.success()
                return answer
            told = f"{name}: {response.status_code} {(response.text or '')[:200]}"
            response.failure(told)
        FAILURES.append(told)
        raise RescheduleTask

    def expect(self, is_true: bool, otherwise: str) -> None:
        """Give the call up if an answer is not what it should be."""
        if not is_true:
            FAILURES.append(otherwise)
            raise RescheduleTask


def write(environment: Environment, **_: object) -> None:
    """Write down which calls were reported, and what went wrong."""
    if OUTCOME_VARIABLE not in os.environ:
        return
    total = environment.stats.total
    outcome = {
        "reported": REPORTED,
        "failures": FAILURES[:100],
        "requests": total.num_requests,
        "rate": round(total.total_rps),
        "p50_ms": total.get_response_time_percentile(0.5),
        "p99_ms": total.get_response_time_percentile(0.99),
    }
    Path(os.environ[OUTCOME_VARIABLE]).write_text(json.dumps(outcome))


events.quitting.add_listener(write)  # type: ignore[no-untyped-call]  # locust
