"""Who may speak for Vapi: shared secret, bearer token, signature; any one is enough."""

import base64
import hmac
from typing import Any, Literal

import pytest

from wallet_http.options import EdgeOptions, VapiHmacOptions, VapiOptions
from wallet_http.vapi.auth import signature_verifies
from wallet_testing.vapi_world import NOW_MS, WEBHOOK, fixture, message, vapi_world

KEY = "s3cret-key"
BODY = b'{"message":{"type":"hang"}}'
URL = "https://wallet.example.com/api/vapi/webhook?a=1"
AT_S = str(NOW_MS // 1000)


def signed(payload: bytes, *, key: bytes = KEY.encode(), algorithm: str = "sha256") -> bytes:
    return hmac.new(key, payload, algorithm).digest()


def verifies(options: VapiHmacOptions, headers: dict[str, str], body: bytes = BODY) -> bool:
    return signature_verifies(options, headers, "POST", URL, body, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("changes", "headers", "payload"),
    [
        ({}, {}, f"{AT_S}.".encode() + BODY),
        ({"algorithm": "sha512"}, {}, f"{AT_S}.".encode() + BODY),
        ({"algorithm": "sha1"}, {}, f"{AT_S}.".encode() + BODY),
        ({"payload_format": "{body}"}, {}, BODY),
        ({"prefix": "sha256="}, {}, f"{AT_S}.".encode() + BODY),
        (
            {"payload_format": "{method} {url} {timestamp} {body}"},
            {},
            f"POST {URL} {AT_S} ".encode() + BODY,
        ),
        (
            {"payload_format": "{svix-id}.{timestamp}.{body}"},
            {"svix-id": "msg_1"},
            f"msg_1.{AT_S}.".encode() + BODY,
        ),
        (
            {"payload_format": "{svix-id}.{body}", "message_id_header": "x-id"},
            {"x-id": "{body}"},
            b"{body}." + BODY,
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_signatures(
    changes: dict[str, Any],
    headers: dict[str, str],
    payload: bytes,
    encoding: Literal["hex", "base64"],
) -> None:
    """Every plan of a credential that Vapi offers verifies, and only for this very body."""
    options = VapiHmacOptions(secret=KEY, encoding=encoding, **changes)
    digest = signed(payload, algorithm=options.algorithm)
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    sent = {**headers, "x-timestamp": AT_S, "x-signature": options.prefix + text}

    assert verifies(options, sent)
    assert not verifies(options, sent, BODY + b" ")
    assert not verifies(options, {**sent, "x-signature": ""})
    assert not verifies(options, {**sent, "x-signature": options.prefix + "\udcff"})


def test_a_signature_may_be_written_in_capitals_or_without_padding() -> None:
    """What is the same number of the same bytes is the same signature."""
    digest = signed(BODY)
    plain = VapiHmacOptions(secret=KEY, payload_format="{body}")
    based = VapiHmacOptions(secret=KEY, payload_format="{body}", encoding="base64")

    assert verifies(plain, {"x-signature": digest.hex().upper()})
    assert verifies(based, {"x-signature": base64.b64encode(digest).decode().rstrip("=")})


def test_the_names_of_the_headers_can_be_chosen() -> None:
    """Vapi lets its user name them."""
    options = VapiHmacOptions(secret=KEY, signature_header="x-a", timestamp_header="x-b")
    digest = signed(f"{AT_S}.".encode() + BODY).hex()

    assert verifies(options, {"x-a": digest, "x-b": AT_S})
    assert not verifies(options, {"x-signature": digest, "x-timestamp": AT_S})


def test_a_key_may_be_given_in_base64() -> None:
    """The key is then the bytes; what is not base64 verifies nothing."""
    key = bytes(range(256))
    digest = signed(BODY, key=key).hex()
    given = VapiHmacOptions(
        secret=base64.b64encode(key).decode(), payload_format="{body}", secret_is_base64=True
    )
    broken = VapiHmacOptions(secret="no base64!", payload_format="{body}", secret_is_base64=True)

    assert verifies(given, {"x-signature": digest})
    assert not verifies(broken, {"x-signature": digest})


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (str(NOW_MS // 1000 - 300), False),
        (str(NOW_MS // 1000 - 299), True),
        (str(NOW_MS // 1000 + 300), True),
        (str(NOW_MS // 1000 + 301), False),
        (str(NOW_MS - 300_000), True),
        (str(NOW_MS - 300_001), False),
        (str(NOW_MS + 300_000), True),
        ("", False),
        ("now", False),
        ("-1", False),
        ("1" * 17, False),
        ("\u0661", False),
    ],
)
def test_old_signatures_are_replays(timestamp: str, expected: bool) -> None:
    """Five minutes either way, in seconds or milliseconds; the time must be signed too."""
    digest = signed(f"{timestamp}.".encode() + BODY).hex()
    headers = {"x-timestamp": timestamp, "x-signature": digest}

    assert verifies(VapiHmacOptions(secret=KEY), headers) is expected


HMAC = VapiHmacOptions(secret=KEY, payload_format="{timestamp}.{url}.{body}")


@pytest.mark.parametrize(
    ("vapi", "headers", "status"),
    [
        (VapiOptions(), {}, 200),
        (VapiOptions(secret="s"), {}, 401),
        (VapiOptions(secret="s"), {"X-Vapi-Secret": "t"}, 401),
        (VapiOptions(secret="s"), {"X-Vapi-Secret": "s"}, 200),
        (VapiOptions(secret="s"), {"Authorization": "Bearer s"}, 401),
        (VapiOptions(bearer_token="b"), {"Authorization": "Bearer b"}, 200),
        (VapiOptions(bearer_token="b"), {"Authorization": "bearer  b "}, 200),
        (VapiOptions(bearer_token="b"), {"Authorization": "Basic b"}, 401),
        (VapiOptions(bearer_token="b"), {"X-Vapi-Secret": "b"}, 401),
        (VapiOptions(secret="s", bearer_token="b"), {"Authorization": "Bearer b"}, 200),
        (VapiOptions(secret="s", hmac=HMAC), {"X-Vapi-Secret": "s"}, 200),
        (VapiOptions(secret="s", hmac=HMAC), {"X-Vapi-Secret": "t"}, 401),
        (VapiOptions(secret="\u00e9"), {"X-Vapi-Secret": "\u00e9"}, 200),
    ],
)
async def test_methods_at_the_door(vapi: VapiOptions, headers: dict[str, str], status: int) -> None:
    """Any one configured method is enough; with none set, outside production, all come in."""
    async with vapi_world(EdgeOptions(environment="test", vapi=vapi)) as world:
        got, body = await world.post(WEBHOOK, message("hang"), headers)

    assert got == status
    assert body == {} or body["code"] == "unauthorized"


async def test_nobody_comes_in_unproven_in_production() -> None:
    """The engine does not start so; if it did, it would believe nobody."""
    async with vapi_world(EdgeOptions(environment="production")) as world:
        assert (await world.post(WEBHOOK, message("hang")))[0] == 401
        assert world.notes.deliveries == []


async def test_a_signature_covers_the_public_address() -> None:
    """Behind a proxy the request names another host than the one that Vapi signed."""
    options = EdgeOptions(
        environment="test", public_url="https://wallet.example.com", vapi=VapiOptions(hmac=HMAC)
    )
    async with vapi_world(options) as world:
        payload = f"{AT_S}.https://wallet.example.com{WEBHOOK}.".encode() + BODY
        headers = {"x-timestamp": AT_S, "x-signature": signed(payload).hex()}

        assert await world.post(WEBHOOK, BODY, headers) == (200, {})
        assert (await world.post(WEBHOOK, BODY + b" ", headers))[0] == 401


async def test_an_unproven_admission_changes_nothing() -> None:
    """Who is not Vapi gets 401, on every path, and leaves no trace in wallet or log."""
    options = EdgeOptions(environment="test", vapi=VapiOptions(secret="s"))
    async with vapi_world(options) as world:
        for path in (WEBHOOK, "/api/vapi/orgs/demo-org/webhook", WEBHOOK + "/status-check"):
            status, body = await world.post(path, fixture("assistant-request"))
            assert (status, body["code"]) == (401, "unauthorized")

        assert world.calls.wallet().holds == {}
        assert world.notes.deliveries == []


def test_the_secret_does_not_show() -> None:
    """Options may end up in a log line."""
    shown = repr(VapiOptions(secret="hidden-1", hmac=VapiHmacOptions(secret="hidden-2")))

    assert "hidden" not in shown
