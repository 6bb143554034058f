"""A grammar of Vapi's messages: every type and field, rightly filled or not.

Source: PROVIDERS §1.  Ids in angle brackets stand for calls, numbers and assistants that exist
when a message is sent (`hostile_world`), so that a message found here can be read and sent again.
"""

from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st

from wallet_http.vapi.webhook import IGNORED

from .hostile_json import Hostile, Members, anything, spoiled, times

ORGS: Final = ("rich", "other", "poor")
"""The orgs of a world: one with money, one beside it, one with hardly any."""

CALLS: Final = ("live", "ended", "others", "poor", "placed", "new", "newer")
"""Its calls: live ones of each org, one that ended, one held over /v1, two nobody knows."""

SETTLING: Final = ("assistant-request", "end-of-call-report", "status-update")
KINDS: Final = (*SETTLING, *SETTLING, *SETTLING, *sorted(IGNORED), "call.deleted", "unheard-of")
"""What a message may say it is; those that do something come more often."""

STATUSES: Final = (
    "scheduled", "queued", "ringing", "in-progress", "forwarding", "ended", "ended", "not-found",
    "deletion-failed",
)  # fmt: skip
REASONS: Final = (
    "customer-ended-call", "assistant-ended-call", "exceeded-max-duration", "customer-busy",
    "customer-did-not-answer", "assistant-request-failed", "twilio-failed-to-connect-call",
    "call.start.error-subscription-frozen", "silence-timed-out", "unheard-of",
)  # fmt: skip

call_ids: Hostile = st.sampled_from([f"<{name}>" for name in CALLS]) | st.sampled_from(
    ["<live>\ud800", "<live>\0", "<live> ", " <live>", "<LIVE>", "é<live>", "<live>" + "x" * 129]
)
numbers: Hostile = st.sampled_from([f"<number of {org}>" for org in ORGS])
assistants: Hostile = st.sampled_from([f"<assistant of {org}>" for org in ORGS])
seconds: Hostile = st.sampled_from([0, 0.2, 42.7, 60, 61, 90, 180, 600, 43_200, 86_400, 86_401])
usd: Hostile = st.sampled_from([0, 0.15, 1, 999_999, 10**7])
words: Hostile = st.sampled_from(["a word", "started", "user", "https://example.vapi.ai/x/control"])
objects: Hostile = st.sampled_from([{}, {"a": 1}, {"id": "x", "number": "+1"}])
lists: Hostile = st.sampled_from([[], [{}], [{"role": "user", "message": "\ud83d"}], [[]]])


def members(required: Mapping[str, Hostile], **optional: Hostile) -> Hostile:
    """Give an object with these members, each of which may be spoiled."""
    return st.fixed_dictionaries(
        {name: spoiled(value) for name, value in required.items()},
        optional={name: spoiled(value) for name, value in optional.items()},
    )


party: Hostile = members(
    {"id": numbers}, number=st.sampled_from(["<e164 of rich>", "<e164 of poor>", "+15550001"])
)
customer: Hostile = members(
    {"number": words}, sipUri=words, name=words, externalId=words, assistantOverrides=objects
)
cost_rows: Hostile = st.lists(
    members(
        {"type": st.sampled_from(["vapi", "transport", "model"]), "minutes": seconds},
        cost=usd,
        provider=words,
    ),
    max_size=3,
)
monitor: Hostile = members(
    {
        "controlUrl": st.sampled_from(
            [
                "https://phone-call.vapi.ai/x/control", "http://a.vapi.ai/", "https://evil.example/",
                "https://a.vapi.ai@evil.example/", "https://[::1]/", "https://a.vapi.ai:99999/",
            ]
        )
    },
    listenUrl=words,
)  # fmt: skip
call: Hostile = members(
    {"id": call_ids},
    orgId=words,
    type=words,
    status=st.sampled_from(STATUSES),
    assistantId=assistants,
    phoneNumberId=numbers,
    startedAt=times,
    endedAt=times,
    endedReason=st.sampled_from(REASONS),
    cost=usd,
    costs=cost_rows,
    costBreakdown=objects,
    customer=customer,
    monitor=monitor,
    artifact=objects,
    analysis=objects,
    transport=objects,
    createdAt=times,
    updatedAt=times,
)

COMMON: Final[Mapping[str, Hostile]] = {
    "timestamp": times | seconds,
    "phoneNumber": party,
    "customer": customer,
    "assistant": members({"id": assistants}, name=words, maxDurationSeconds=seconds),
    "assistantId": assistants,
    "assistantVersion": words,
    "artifact": objects,
    "chat": objects,
}
"""Members of nearly every message, beside the call.  Source: PROVIDERS §1.1."""

ENDING: Final[Mapping[str, Hostile]] = {
    "endedReason": st.sampled_from(REASONS),
    "startedAt": times,
    "endedAt": times,
    "durationSeconds": seconds,
    "durationMs": seconds.map(lambda it: it * 1000),
    "durationMinutes": seconds,
    "cost": usd,
    "costs": cost_rows,
    "costBreakdown": objects,
}
TALK: Final[Mapping[str, Hostile]] = {
    "messages": lists,
    "messagesOpenAIFormatted": lists,
    "transcript": words,
    "transcriptType": words,
    "summary": words,
    "role": words,
    "turn": seconds,
    "destination": objects,
    "toolCallList": lists,
    "toolWithToolCallList": lists,
    "functionCall": objects,
    "request": words,
    "campaignId": words,
    "contact": objects,
    "toAssistant": objects,
    "fromAssistant": objects,
}
OWN: Final[Mapping[str, Mapping[str, Hostile]]] = {
    "assistant-request": {},
    "end-of-call-report": {**ENDING, "compliance": objects, "analysis": objects},
    "status-update": {**ENDING, **TALK, "inboundPhoneCallDebuggingArtifacts": objects},
}
"""What a type has of its own, where that is more than `TALK`.  Source: PROVIDERS §1.3."""


def message_of(kind: str) -> Hostile:
    """Give messages of one type; those that do nothing may well tell of an end."""
    required: dict[str, Hostile] = {"type": st.just(kind), "call": call}
    optional = {**COMMON, "status": st.sampled_from(STATUSES)}
    if kind == "status-update":
        required["status"] = optional.pop("status")
    owns = [OWN[kind]] if kind in OWN else [TALK, ENDING]
    return st.one_of([members(required, **{**optional, **own}) for own in owns])


messages: Hostile = st.sampled_from(KINDS).flatmap(message_of)

envelopes: Hostile = st.one_of(
    members({"message": messages}),
    members({"message": messages}),
    members({"message": messages}, call=call, callId=call_ids, assistantId=assistants),
    st.tuples(messages, messages).map(lambda two: Members(zip(("message",) * 2, two, strict=True))),
    messages.map(lambda it: Members([*it.items(), ("message", it), ("type", "hang")])),
    messages,
    anything,
    st.lists(members({"message": messages}), max_size=2),
)
"""Whole bodies: the envelope, twice over, without it, or something else."""

questions: Hostile = st.one_of(
    members({"message": members({"call": call}, elapsedSeconds=seconds)}, elapsedSeconds=seconds),
    members({"call": call}, elapsedSeconds=seconds),
    members({"callId": call_ids}, elapsedSeconds=seconds, assistantId=assistants),
    envelopes,
)
"""Bodies of status-check."""
