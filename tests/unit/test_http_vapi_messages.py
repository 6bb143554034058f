"""What is read of Vapi's messages: the needed parts, whatever else is there."""

import json
from typing import Any

import pytest

from wallet_engine.directory import MessageIds
from wallet_engine.errors import InvalidCommand
from wallet_http.vapi.durations import DURATION_MS_MAX, duration_ms, scaled
from wallet_http.vapi.facts import control_url, facts_of
from wallet_http.vapi.messages import Message, read_body, read_message, word
from wallet_testing.vapi_world import ASSISTANT, CALL, NOW_MS, NUMBER, NUMBER_ID, ORG, fixture


def told(**fields: object) -> Message:
    return read_message(json.dumps({"message": {"type": "end-of-call-report", **fields}}).encode())


def recorded(name: str) -> Message:
    return read_message(json.dumps(fixture(name)).encode())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("assistant-request", MessageIds(CALL, "", NUMBER_ID, NUMBER, "")),
        ("status-update-in-progress", MessageIds(CALL, "", NUMBER_ID, NUMBER, ASSISTANT)),
        (
            "assistant-request-by-assistant-id",
            MessageIds("019a5193-aaaa-7fff-b06b-d09a3312294b", "", "", "", ASSISTANT),
        ),
        (
            "end-of-call-report-duration-only",
            MessageIds("019a5193-bbbb-7fff-b06b-d09a3312294c", "", NUMBER_ID, "", ""),
        ),
    ],
)
def test_the_ids_of_recorded_messages(name: str, expected: MessageIds) -> None:
    """Call, number and assistant are found where Vapi puts them."""
    assert recorded(name).ids("") == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": {"assistant": {"id": "a"}, "assistantId": "c"}}, "a"),
        ({"message": {"call": {"assistantId": "b"}, "assistantId": "c"}}, "b"),
        ({"message": {"assistant": {"name": "x"}, "assistantId": "c"}, "assistantId": "d"}, "c"),
        ({"message": {"assistant": 5, "call": []}, "assistantId": "d"}, "d"),
        ({"message": {"assistantId": 7}}, ""),
    ],
)
def test_the_assistant_is_found_in_order(body: dict[str, Any], expected: str) -> None:
    """Each place counts only if the ones before it name nobody."""
    assert read_message(json.dumps(body).encode()).assistant_id == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": {"call": {"id": "a"}}, "call": {"id": "b"}, "callId": "c"}, "a"),
        ({"message": {"call": {}}, "call": {"id": "b"}, "callId": "c"}, "b"),
        ({"message": {"call": {"status": "x"}}, "call": {"id": "b"}}, "b"),
        ({"message": "?", "callId": "c"}, "c"),
        ({"call": {"id": 5}}, ""),
    ],
)
def test_the_call_is_found_in_three_forms(body: dict[str, Any], expected: str) -> None:
    """A status-check may name its call in any of these."""
    assert Message(read_body(json.dumps(body).encode())).call_id == expected


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b'{"message":{"type":"\xff"}}', "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'"message"', "body"),
        (b'{"message":{}' + b" " * 10 + b"}x", "body"),
        (b'{"message":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body"),
        (b'{"message":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "body"),
        (b"{}", "message"),
        (b'{"message":null}', "message"),
        (b'{"message":[]}', "message"),
        (b'{"message":{"call":{"id":"a\\u0000b"}}}', "message.call.id"),
        (b'{"message":{"call":{"id":"a\\ud800"}}}', "message.call.id"),
        (b'{"message":{"call":{"id":"a\\nb"}}}', "message.call.id"),
        (b'{"message":{"call":{"id":"' + b"x" * 129 + b'"}}}', "message.call.id"),
    ],
)
def test_what_cannot_be_read_is_named(raw: bytes, field: str) -> None:
    """Whatever is not a message is an error that says where, and never a crash."""
    with pytest.raises(InvalidCommand) as caught:
        read_message(raw)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"phoneNumber": {"id": "a\0"}}, "message.phoneNumber.id"),
        ({"phoneNumber": {"number": "\ud800"}}, "message.phoneNumber.number"),
        ({"call": {"phoneNumberId": "a\tb"}}, "message.call.phoneNumberId"),
        ({"assistant": {"id": "x" * 129}}, "message.assistant.id"),
    ],
)
def test_ids_that_cannot_be_stored_are_named(part: dict[str, Any], field: str) -> None:
    """Such an id is not passed over: the message would seem to belong to somebody else."""
    with pytest.raises(InvalidCommand) as caught:
        told(**part).ids("")

    assert caught.value.field == field


@pytest.mark.parametrize(
    "extra",
    [
        {"artifact": {"transcript": "half an emoji \ud83d"}},
        {"artifact": {"transcript": "a NUL \0 inside"}},
        {"analysis": json.loads('{"a":' * 400 + "1" + "}" * 400)},
        {"assistant": "a text", "phoneNumber": 5, "customer": [], "costs": {"a": 1}},
        {"costs": [5, None, {"minutes": "x"}]},
        {"timestamp": "yesterday", "status": {"a": 1}},
    ],
)
def test_whatever_else_is_there_is_tolerated(extra: dict[str, Any]) -> None:
    """A report is settled however strange the parts are that nobody needs."""
    message = told(call={"id": CALL}, durationSeconds=60, **extra)

    assert (message.type, message.call_id) == ("end-of-call-report", CALL)
    assert duration_ms(message) == 60_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"startedAt": "2026-11-20T18:00:03.000Z", "endedAt": "2026-11-20T18:03:03.000Z"}, 180_000),
        ({"startedAt": "2026-11-20T18:00:03Z", "endedAt": "2026-11-20T19:00:03+01:00"}, 0),
        ({"startedAt": "2026-11-20T18:00:03", "endedAt": "2026-11-20T18:00:03.001Z"}, 1),
        ({"startedAt": "2026-11-20T18:00:00Z", "endedAt": "2026-11-20T18:00:00.0001Z"}, 1),
        (
            {
                "call": {"startedAt": "2026-11-20T18:00:03Z"},
                "endedAt": "2026-11-20T18:00:13Z",
                "durationSeconds": 99,
            },
            10_000,
        ),
        ({"startedAt": "2026-11-20T18:00:03Z", "durationSeconds": 42.7}, 42_700),
        ({"startedAt": "soon", "endedAt": 5, "durationSeconds": 1.0005}, 1_001),
        (
            {
                "startedAt": "2026-11-20T18:03:03Z",
                "endedAt": "2026-11-20T18:00:03Z",
                "durationSeconds": 7,
            },
            7_000,
        ),
        (
            {
                "startedAt": "2006-11-20T18:00:03Z",
                "endedAt": "2026-11-20T18:00:03Z",
                "durationMs": 1,
            },
            1,
        ),
        ({"durationSeconds": 0}, 0),
        ({"durationSeconds": -1, "durationMs": 12.5}, 13),
        ({"durationSeconds": True, "durationMs": "5"}, None),
        ({"durationSeconds": 86_400}, DURATION_MS_MAX),
        ({"durationSeconds": 86_400.001}, None),
        ({"durationSeconds": 10**400}, None),
        ({"durationSeconds": float("inf"), "durationMs": float("nan")}, None),
        ({"costs": [{"type": "vapi", "minutes": 3.0}]}, 180_000),
        (
            {"costs": [{"type": "transport", "minutes": 2}, {"type": "vapi", "minutes": 0.7117}]},
            42_702,
        ),
        ({"costs": [{"type": "model"}, {"type": "transport", "minutes": 0.5}]}, 30_000),
        ({"costs": [{"minutes": 1}]}, 60_000),
        ({"costs": [{"type": "vapi", "minutes": -1}]}, None),
        ({}, None),
        ({"endedReason": "customer-ended-call"}, None),
        ({"endedReason": "customer-did-not-answer"}, 0),
        ({"call": {"endedReason": "assistant-request-failed"}}, 0),
        ({"endedReason": "customer-busy", "startedAt": "2026-11-20T18:00:03Z"}, None),
        ({"endedReason": "customer-busy", "durationSeconds": 5}, 5_000),
    ],
)
def test_durations(fields: dict[str, Any], expected: int | None) -> None:
    """The first source that can be true counts, exactly, rounded up to a millisecond."""
    assert duration_ms(told(**fields)) == expected


def test_a_text_of_float_is_taken_as_it_is_written() -> None:
    """42.7 s are 42,700 ms: binary fractions are never multiplied."""
    assert scaled(42.7, 1000, DURATION_MS_MAX) == 42_700
    assert scaled(1.1, 1000, DURATION_MS_MAX) == 1_100


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://phone-call-websocket.aws-us-west-2-backend-production2.vapi.ai/c/control", True),
        ("https://a.vapi.ai:8443/c", True),
        ("HTTPS://A.VAPI.AI/c", True),
        ("http://a.vapi.ai/c", False),
        ("wss://a.vapi.ai/c", False),
        ("https://vapi.ai.evil.com/c", False),
        ("https://evilvapi.ai/c", False),
        ("https://.vapi.ai/c", False),
        ("https://a.vapi.ai@evil.com/c", False),
        ("https://evil.com\\.vapi.ai/c", False),
        ("https://evil.com#.vapi.ai", False),
        ("https://evil.com?.vapi.ai", False),
        ("https://user:pass@a.vapi.ai/c", False),
        ("https://a.vapi.ai:99999/c", False),
        ("https://a.vapi.ai/c d", False),
        ("https://a.vapi.ai/" + "c" * 2_000, False),
        ("https://[a.vapi.ai/c", False),
        ("//a.vapi.ai/c", False),
        ("", False),
        (None, False),
        (5, False),
    ],
)
def test_control_urls(url: object, good: bool) -> None:
    """Only https at Vapi is ever posted to: the address comes from a request."""
    assert control_url(url) == (url if good else None)


def test_the_facts_of_a_call_in_progress() -> None:
    """The clock, the control URL and the caller are learned."""
    facts = facts_of(recorded("status-update-in-progress"), ORG, NOW_MS)

    assert (facts.status, facts.type) == ("in-progress", "inboundPhoneCall")
    assert facts.heard_started_ms == NOW_MS
    assert facts.started_ms == 1_795_197_603_000
    assert facts.ended_ms is None
    assert facts.customer_number == "+14155559876"
    assert facts.control_url is not None
    assert facts.control_url.endswith("/control")


def test_the_facts_of_a_report() -> None:
    """End, reason, length and the provider's cost are learned."""
    facts = facts_of(recorded("end-of-call-report"), ORG, NOW_MS)

    assert (facts.status, facts.ended_reason) == ("ended", "customer-ended-call")
    assert (facts.ended_ms, facts.duration_ms) == (1_795_197_783_000, 180_000)
    assert facts.provider_cost_usd == "0.217300"


def test_an_end_without_a_time_ended_when_it_was_heard() -> None:
    """Whoever looks for ended calls must find it."""
    facts = facts_of(recorded("end-of-call-report-duration-only"), ORG, NOW_MS)

    assert (facts.ended_ms, facts.duration_ms) == (NOW_MS, 42_700)


def test_facts_hold_nothing_that_cannot_be_stored() -> None:
    """One NUL or lone surrogate would abort the statement of a whole batch."""
    message = read_message(
        b'{"message":{"type":"status-update","status":"ended","endedReason":"a\\u0000",'
        b'"customer":{"number":"\\ud800"},"call":{"id":"c","type":"\\u0007","cost":1e300,'
        b'"startedAt":"0001-01-01T00:00:00Z"}}}'
    )
    facts = facts_of(message, ORG, NOW_MS)

    assert (facts.ended_reason, facts.customer_number, facts.type) == (None, None, None)
    assert (facts.provider_cost_usd, facts.started_ms) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("hang", "hang"), ("", None), ("a\0", None), ("x" * 201, None), (5, None), (None, None)],
)
def test_words(value: object, expected: str | None) -> None:
    """A word is a printable text of bounded length, or it was not said."""
    assert word(value) == expected
