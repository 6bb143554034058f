"""Who is not Vapi: hostile headers against each way in which Vapi may prove itself.

What is sent would admit a call.  Whoever cannot prove that they are Vapi is told 401, and nothing
happens; whoever can is let in, whatever stands beside the proof.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from wallet_testing.fuzzing import Run
from wallet_testing.hostile_world import HostileWorld, hostile_world, own_database
from wallet_testing.raw_http import Answer, exchange, post
from wallet_testing.servers import Databases

SECRET = "the secret of these tests, long enough"
KEY = base64.b64encode(SECRET.encode()).decode()

WAYS: Mapping[str, Mapping[str, Any]] = {
    "secret": {"secret": SECRET},
    "bearer": {"bearer_token": SECRET},
    "hmac": {"hmac": {"secret": SECRET, "prefix": "sha256="}},
    "hmac of all": {
        "hmac": {"secret": SECRET, "payload_format": "{method}{url}{svix-id}{timestamp}{body}"}
    },
    "hmac in base64": {
        "hmac": {
            "secret": KEY,
            "secret_is_base64": True,
            "encoding": "base64",
            "algorithm": "sha512",
            "payload_format": "{body}",
        }
    },
}
"""What an operator may configure.  Source: PROVIDERS §2."""

PATHS = (
    b"/api/vapi/webhook", b"/api/vapi/webhook?a=%00", b"/api/vapi/orgs/<rich>/webhook",
    b"/api/vapi/orgs/%2e%2e/webhook", b"/api/vapi/webhook/status-check",
)  # fmt: skip
BODY = b"""{"message": {"type": "assistant-request", "call": {"id": "<new>",
"phoneNumberId": "<number of rich>"}}, "callId": "<live>"}"""

VALUES = (
    b"", b" ", b"null", b"true", b"Bearer", b"Bearer ", b"Basic eDp4", b"sha256=", b"v1,===",
    b"sha256=" + b"0" * 64, b"0" * 64, b"A" * 88, b"=" * 64, b"\xff\xfe\x80", "пароль".encode(),
    b"x" * 8000, SECRET[:-1].encode(), SECRET.upper().encode(), SECRET.encode() + b"\xa0",
    b"'%s'" % SECRET.encode(), b"Bearer x %s" % SECRET.encode(), KEY[1:].encode(),
    b"0", b"-1", b"now", b"1e9", b"9" * 16, b"9" * 300, b"1.5", b"0x10", "١٢".encode(), b"+1",
)  # fmt: skip
"""What is never the secret, never a signature of ours, and never the time."""

NAMES = (
    b"X-Vapi-Secret", b"x-vapi-secret", b"Authorization", b"X-Signature", b"x-timestamp",
    b"Svix-Id", b"X-Vapi-Signature", b"X-Forwarded-For", b"X-HTTP-Method-Override",
    b"X-Original-URL", b"Content-Type", b"Cookie", b"X-Request-Id", b"Accept",
)  # fmt: skip
HOSTS = (b"x", b"", b"a:b:c", b"[::1", b"x:0", b"x:99999", b"evil.example", b"%00", b"\xff", b"a b")

said = st.sampled_from(VALUES) | st.binary(max_size=40).map(
    lambda raw: bytes(it for it in raw if it >= 0x20 and it != 0x7F)
)
lines = st.lists(st.tuples(st.sampled_from(NAMES), said).map(b": ".join), max_size=4)

OLD_S, WRONG_S = 301 + 60, 10**6
"""Ages of signatures that are too old: a minute more than is allowed, and much more."""

forgeries = st.sampled_from(
    [
        {"body": BODY + b" "},
        {"method": b"GET"},
        {"secret": b"another secret"},
        {"cut": 1},
        {"cut": 8},
    ]
) | st.sampled_from([{"age_s": age_s} for age_s in (OLD_S, -OLD_S, WRONG_S, -WRONG_S)])
"""What a signature may be of, or lack, so that it is none of this request."""


def proof(
    way: str,
    path: bytes,
    *,
    body: bytes,
    method: bytes = b"POST",
    secret: bytes = SECRET.encode(),
    age_s: int = 0,
    cut: int = 0,
) -> list[bytes]:
    """Return the headers by which Vapi would prove itself, so many characters short."""
    end = -cut or None
    match way:
        case "secret":
            return [b"X-Vapi-Secret: " + secret[:end]]
        case "bearer":
            return [b"Authorization: Bearer " + secret[:end]]
        case "hmac in base64":
            digest = hmac.digest(secret, body, "sha512")
            return [b"X-Signature: " + base64.b64encode(digest).rstrip(b"=")[:end]]
    stamp = b"%d" % (int(time.time()) - age_s)
    text, prefix = stamp + b"." + body, b"sha256="
    if way == "hmac of all":
        text, prefix = method + b"http://x" + path + b"an id" + stamp + body, b""
    signature = hmac.new(secret, text, hashlib.sha256).hexdigest().encode()
    return [
        b"X-Signature: " + prefix + signature[:end],
        b"X-Timestamp: " + stamp,
        b"Svix-Id: an id",
    ]


class Gate:
    """Three orgs behind a node that must be convinced first."""

    def __init__(self, world: HostileWorld) -> None:
        self._world = world
        world.runner.run(world.prepare(calls=False))

    def named(self, raw: bytes) -> bytes:
        """Return `raw` with the names that things have."""
        for name, meant in self._world.names.items():
            raw = raw.replace(f"<{name}>".encode(), meant.encode())
        return raw

    def post(self, path: bytes, host: bytes, headers: Sequence[bytes]) -> Answer:
        """Post what would admit a call; return the answer, which must be one of ours."""
        raw = post(path, self.named(BODY), *headers, b"Connection: close")
        port = self._world.api.program.port
        raw = raw.replace(b"Host: x\r\n", b"Host: " + host + b"\r\n")
        heard = self._world.runner.run(exchange(port, raw))
        [answer] = heard.answers
        assert (answer.faults(), self._world.errors) == ([], []), raw
        return answer

    def stored(self) -> object:
        """Return what is stored."""
        return self._world.runner.run(self._world.stored())


@pytest.fixture(params=list(WAYS))
def guarded(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[str, Gate]]:
    """Give a world whose node wants a proof of one kind, and which."""
    with (
        own_database(databases) as (runner, dsn),
        hostile_world(runner, dsn, vapi={"secret": None, **WAYS[request.param]}) as world,
    ):
        yield request.param, Gate(world)


@pytest.mark.timeout(7200)
def test_who_cannot_prove_it_is_refused(guarded: tuple[str, Gate]) -> None:
    """Whatever they say they are, and however nearly right it is."""
    way, gate = guarded
    run = Run(name=f"not Vapi, {way}", usual=40)
    before = gate.stored()

    @given(
        path=st.sampled_from(PATHS),
        host=st.sampled_from(HOSTS),
        around=lines,
        forgery=st.none() | forgeries,
    )
    def holds(
        path: bytes, host: bytes, around: list[bytes], forgery: dict[str, Any] | None
    ) -> None:
        note(f"WALLET_FUZZ_SEED={run.seed}")
        run.step()
        path = gate.named(path)
        forged: list[bytes] = []
        if forgery is not None and is_forged(way, forgery):
            forged = proof(way, path, **{"body": gate.named(BODY), **forgery})
        answer = gate.post(path, host, [*forged, *around])
        refused = answer.status == 401 or answer.body.get("code") == "invalid_http"
        assert refused, (way, path, host, forgery, around, answer)
        assert gate.stored() == before

    run.by_hypothesis(holds)()


def is_forged(way: str, forgery: Mapping[str, Any]) -> bool:
    """Whether a proof of that way lacks anything by it: not all are of the method or the time."""
    matters = {"secret", "cut", *({"body"} if way.startswith("hmac") else ())}
    if way in ("hmac", "hmac of all"):
        matters.add("age_s")
    return bool({*forgery} & (matters | ({"method"} if way == "hmac of all" else set())))


@pytest.mark.timeout(7200)
def test_who_can_prove_it_is_let_in(guarded: tuple[str, Gate]) -> None:
    """Whatever stands behind the proof."""
    way, gate = guarded
    run = Run(name=f"Vapi, {way}", usual=15)

    @given(path=st.sampled_from(PATHS[:3]), around=lines)
    def holds(path: bytes, around: list[bytes]) -> None:
        note(f"WALLET_FUZZ_SEED={run.seed}")
        run.step()
        path = gate.named(path)
        sent = [*proof(way, path, body=gate.named(BODY)), *around]
        answer = gate.post(path, b"x", sent)
        names = [line.partition(b":")[0].lower() for line in sent]
        if len(set(names)) < len(names) and answer.status == 400:
            assert answer.body["code"] == "invalid_http", (sent, answer)  # one may not come twice
            return
        assert answer.status == 200, (path, sent, answer)
        assert "assistantId" in answer.body, (path, sent, answer)

    run.by_hypothesis(holds)()
