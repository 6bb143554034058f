"""Locust users who fire one request each, in the same moment.

Every user opens its connection first, then waits for all the others.  Run by
`wallet_loadtests.volley`.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]  # it has no types
from gevent.event import Event  # type: ignore[import-untyped]  # it has no types
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser

from wallet_loadtests.volley import OUTCOME_VARIABLE, PLAN_VARIABLE

READY_S_MAX = 20.0
"""How long the first user waits for the last one; the volley is then fired without it."""

ANSWER_S_MAX = 30.0


class Volley:
    """What the users share: the requests still to be fired, and the answers."""

    def __init__(self) -> None:
        self.shots: list[dict[str, Any]] = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text())[
            "shots"
        ]
        random.shuffle(self.shots)  # no kind of request shall always be first
        self.hits: list[dict[str, Any]] = []
        self.total = len(self.shots)
        self.ready = 0
        self.go = Event()
        self.over = Event()

    def aim(self) -> dict[str, Any]:
        """Take the next request, and wait until everybody has one."""
        shot = self.shots.pop()
        self.ready += 1
        if self.ready == self.total:
            self.go.set()
        self.go.wait(READY_S_MAX)
        return shot

    def hit(self, answer: dict[str, Any]) -> None:
        """Note an answer."""
        self.hits.append(answer)
        if len(self.hits) == self.total:
            self.over.set()


VOLLEY = Volley()
"""One per process: Locust makes its users itself, and hands them nothing."""


class Caller(FastHttpUser):
    """Fires one request."""

    network_timeout = ANSWER_S_MAX
    connection_timeout = ANSWER_S_MAX

    def on_start(self) -> None:
        """Open the connection, so that the volley itself is nothing but requests."""
        self.client.get("/health/live", name="connect")

    @task
    def fire(self) -> None:
        shot = VOLLEY.aim()
        began_s = time.perf_counter()
        with self.client.post(
            shot["path"],
            data=json.dumps(shot["body"]),
            headers=shot["headers"],
            name=shot["name"],
            catch_response=True,
        ) as response:
            seconds = time.perf_counter() - began_s
            response.success()  # what an answer is worth is judged by the books
            VOLLEY.hit(
                {
                    "name": shot["name"],
                    "status": response.status_code,
                    "seconds": seconds,
                    "body": parsed(response.text),
                }
            )
        raise StopUser


def parsed(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def watch(environment: Environment, **_: object) -> None:
    """End the run as soon as the last answer is there."""

    def end() -> None:
        VOLLEY.over.wait()
        assert environment.runner is not None
        environment.runner.quit()

    gevent.spawn(end)


def write(**_: object) -> None:
    """Write down the answers."""
    Path(os.environ[OUTCOME_VARIABLE]).write_text(json.dumps({"hits": VOLLEY.hits}))


events.test_start.add_listener(watch)  # type: ignore[no-untyped-call]  # locust


events.quitting.add_listener(write)  # type: ignore[no-untyped-call]  # locust
