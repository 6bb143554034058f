"""Hooks of schemathesis: what it sends is sent again by somebody else, and the database is watched.

Loaded by its command line in a process of its own (`SCHEMATHESIS_HOOKS`).  What is refused must
change nothing, and neither must whoever is nobody.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import asyncpg
import requests
import schemathesis

from wallet_engine.commands import AssetType
from wallet_engine.texts import ORG_ID
from wallet_http.routes import ROUTES
from wallet_http.routing import Route, Scope

from .described import VARIABLE, Described, Identity, identities
from .digest import Digest, State
from .processes import until
from .raw_http import Answer

TIMEOUT_S: Final = 20.0
TO_BE_ENDED = """
-- Live calls that the engine is still to tell to end: theirs, or the fleet's, switch is thrown.
SELECT count(*) FROM credit_reservations r JOIN organizations o ON o.id = r.org_id
WHERE r.status = 'active' AND NOT r.killed AND (o.suspended OR (
    SELECT engaged AND end_live_calls FROM fleet_switches ORDER BY id DESC LIMIT 1
))
"""

AIMED_OF: Final = 5
"""One request of so many is sent as it was made."""

CALL_ID_MAX: Final = 128
KEY_MAX: Final = 255

SETTINGS: Final[tuple[dict[str, object], ...]] = (
    {"hold_minutes": 7},
    {"hold_minutes": 0},
    {"hold_minutes": None},
    {"hold_minutes": "7"},
    {"asset_prices": {"phone_number": 1}},
    {"asset_prices": []},
    {"debt_limit_pence": -1},
    {"unheard_of": 1},
)
"""Settings that can be, and that cannot: the description names none."""

ABOUT_HOLDS: Final = frozenset(f"/v1/{verb}" for verb in ("extend", "commit", "release", "kill"))

FOLLOWED: Final = frozenset({"/v1/suspend", "/admin/kill-switch"})
"""What makes the engine decide something of its own afterwards: live calls are told to end."""

RELEASE: Final = {"engaged": False, "end_live_calls": False, "reason": "the next request"}


class Asker:
    """Asks the node as an operator: for what a request needs to be there, or must not be there."""

    def __init__(self, known: Described) -> None:
        self.org_id = known.org_id
        self.turn = 0
        self.asked = False
        self._url = known.url
        self._keys = count()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {known.token('operator')}"

    def ask(self, path: str, body: Mapping[str, object]) -> None:
        """Ask for what must succeed."""
        headers = {"Idempotency-Key": f"asker-{next(self._keys)}"}
        url = f"{self._url}{path}"
        raw = json.dumps(body)
        self.asked = True
        self._session.post(url, raw, headers=headers, timeout=TIMEOUT_S).raise_for_status()

    def aim(self, case: Any, path: str) -> None:  # noqa: ANN401  # schemathesis'
        """Have most requests meet something that is there; what breaks its schema stays so."""
        self.turn += 1
        if self.turn % AIMED_OF == 0:
            return
        for part in (case.body, case.query, case.path_parameters):
            if isinstance(part, dict):
                self._aim_part(part, path)
        if fits(case.headers.get("Idempotency-Key"), KEY_MAX):
            case.headers["Idempotency-Key"] = f"key-{self.turn}"
        if case.meta is None or case.meta.generation.mode.is_positive:
            self._make_sense(case.body)

    def _aim_part(self, part: dict[str, Any], path: str) -> None:
        if ORG_ID.fullmatch(str(part.get("org_id", ""))):
            part["org_id"] = self.org_id
        if fits(part.get("call_id"), CALL_ID_MAX):
            part["call_id"] = f"call-{self.turn}"
            if path in ABOUT_HOLDS:
                self.ask("/v1/reserve", {"org_id": self.org_id, "call_id": part["call_id"]})

    def _make_sense(self, body: object) -> None:
        """Make of a body that fits its schema one that can be done."""
        if not isinstance(body, dict):
            return
        for name, value in body.items():
            if isinstance(value, float) and value.is_integer() and not name.endswith("_seconds"):
                body[name] = int(value)
        if "amount_pence" in body and {"seconds", "estimated_minutes", "actual_seconds"} & {*body}:
            del body["amount_pence"]
        if isinstance(body.get("settings"), dict):
            body["settings"] = SETTINGS[self.turn % len(SETTINGS)]
        if "class" in body:
            asset = str(list(AssetType)[self.turn % len(AssetType)])
            body["type"] = "call_deduction" if body["class"] == "call" else asset

    def lift(self, path: str) -> None:
        """Undo what would have all further requests refused."""
        if path == "/admin/kill-switch":
            self.ask(path, RELEASE)
        if path == "/v1/suspend":
            self.ask("/v1/resume", {"org_id": self.org_id, "reason": "the next request"})


class Watch:
    """Sends each request again as somebody else, and looks at the database in between."""

    def __init__(self, known: Described) -> None:
        self.asker = Asker(known)
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(known.dsn))
        self._digest = self._runner.run(Digest.over(self._connection))
        self._session = requests.Session()
        self._others = identities(known)
        self._routes = {(route.method, route.path): route for route in ROUTES}
        self._secrets = (known.jwt_secret.encode(), known.vapi_secret.encode(), b"postgresql://")
        self._before = self._taken()

    def aim(self, case: Any) -> None:  # noqa: ANN401  # schemathesis'
        """Look at the database before a request, which may be aimed at what is there."""
        self.asker.aim(case, case.operation.path)
        if self.asker.asked:
            self._before = self._taken()
            self.asker.asked = False

    def faults(self, response: Any, case: Any) -> list[str]:  # noqa: ANN401  # schemathesis'
        """Return what is wrong with an answer, and with that to somebody else."""
        route = self._routes[case.operation.method.upper(), case.operation.path]
        sent, status = response.request, response.status_code
        faults = self._faults_of(status, response.headers, response.content)
        now = self._settled(route, status)
        if status >= HTTPStatus.BAD_REQUEST and now != self._before:
            faults.append(f"it was refused, yet changed {changes(self._before, now)}")
        other = self._others[self.asker.turn % len(self._others)]
        heard = self._repeated(sent, other)
        faults += self._faults_of_other(heard, other, route, sent.method)
        then = self._settled(route, heard.status_code)
        refused = heard.status_code >= HTTPStatus.BAD_REQUEST
        if (refused or other.scope in {None, Scope.ORG}) and then != now:
            faults.append(f"{other.name} changed {changes(now, then)}")
        if route.path in FOLLOWED and min(status, heard.status_code) < HTTPStatus.BAD_REQUEST:
            self.asker.lift(route.path)
        self._before = then
        return faults

    def _repeated(self, sent: requests.PreparedRequest, other: Identity) -> requests.Response:
        again = sent.copy()
        for name in ("Authorization", "X-Vapi-Secret"):
            again.headers.pop(name, None)
        if other.authorization is not None:
            again.headers["Authorization"] = other.authorization
        return self._session.send(again, timeout=TIMEOUT_S, allow_redirects=False)

    def _faults_of_other(
        self, heard: requests.Response, other: Identity, route: Route, method: str | None
    ) -> list[str]:
        told = f"{other.name} heard {heard.status_code}: {heard.text[:300]}"
        unexpected = method == route.method and not other.expected(route)(heard.status_code)
        found = self._faults_of(heard.status_code, heard.headers, heard.content)
        return [told, *found] if unexpected or found else []

    def _faults_of(self, status: int, headers: Mapping[str, Any], raw: bytes | None) -> list[str]:
        told = {
            name.lower(): value[0] if isinstance(value, list) else value
            for name, value in headers.items()
        }
        faults = Answer(status, told, raw or b"").faults()
        if any(secret in (raw or b"") for secret in self._secrets):
            faults.append("it tells a secret")
        return faults

    def _settled(self, route: Route, status: int) -> State:
        """Look, once what follows from a decision has followed."""
        if route.path in FOLLOWED and status < HTTPStatus.BAD_REQUEST:
            self._runner.run(until(self._all_are_told, "all calls told to end"))
        return self._taken()

    async def _all_are_told(self) -> bool:
        return bool(await self._connection.fetchval(TO_BE_ENDED) == 0)

    def _taken(self) -> State:
        return self._runner.run(self._digest.taken())


def changes(before: State, after: State) -> dict[str, object]:
    """Return the tables that differ, each with what it was and is."""
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def fits(value: object, high: int) -> bool:
    """Whether a text keeps to its schema, so that another one that does may stand for it."""
    return isinstance(value, str) and 1 <= len(value) <= high


if VARIABLE in os.environ:  # schemathesis loads this module: here and nowhere else it acts
    _WATCH = Watch(Described(**json.loads(os.environ[VARIABLE])))

    @schemathesis.hook
    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:  # noqa: ANN401  # a hook
        """Look before each request."""
        _WATCH.aim(case)

    @schemathesis.check
    def refused_changes_nothing(_ctx: Any, response: Any, case: Any) -> None:  # noqa: ANN401
        """Fail unless an answer, and that to somebody else, are as they must be."""
        faults = _WATCH.faults(response, case)
        assert not faults, "\n".join(faults)
