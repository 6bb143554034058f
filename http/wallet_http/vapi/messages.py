"""What Vapi sends, read: only what is needed, whatever else a body holds.

Reading into typed dictionaries skips all other parts before they become objects: a report of
5 MB takes 7 ms, where `pydantic_core.from_json` takes 28 and `json.loads` 47.  What is
missing or has another type than Vapi documents counts as not said; only ids that no database
can store are refused, because leaving them out would change whose message it is.
"""

import json
from typing import Any, Final

from pydantic import OnErrorOmit, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from wallet_engine.directory import MessageIds
from wallet_engine.errors import InvalidCommand
from wallet_engine.texts import check_printable

ID_MAX = 128
"""How long an id may be; Vapi's are UUIDs.  The engine takes no longer call ids."""

WORD_MAX = 200
"""How long a type, a status or a reason may be; the longest that Vapi lists has 84 characters."""


class _Party(TypedDict, total=False):
    id: Any
    number: Any


class _Monitor(TypedDict, total=False):
    controlUrl: Any


class _Call(TypedDict, total=False):
    id: Any
    type: Any
    status: Any
    assistantId: Any
    phoneNumberId: Any
    startedAt: Any
    endedAt: Any
    endedReason: Any
    cost: Any
    customer: OnErrorOmit[_Party]
    monitor: OnErrorOmit[_Monitor]


class _Cost(TypedDict, total=False):
    type: Any
    minutes: Any


class _Message(TypedDict, total=False):
    type: Any
    status: Any
    assistantId: Any
    startedAt: Any
    endedAt: Any
    endedReason: Any
    durationSeconds: Any
    durationMs: Any
    elapsedSeconds: Any
    cost: Any
    costs: OnErrorOmit[list[OnErrorOmit[_Cost]]]
    call: OnErrorOmit[_Call]
    phoneNumber: OnErrorOmit[_Party]
    customer: OnErrorOmit[_Party]
    assistant: OnErrorOmit[_Party]


class Body(TypedDict, total=False):
    """What is read of a body: a message, or the question of a status-check."""

    message: OnErrorOmit[_Message]
    call: OnErrorOmit[_Call]
    callId: Any
    assistantId: Any
    elapsedSeconds: Any


_BODY: Final = TypeAdapter(Body)


class Message:
    """One message of Vapi.  `type` is empty where none is named, ids where they are not said."""

    __slots__ = ("body", "call", "call_id", "message", "type")

    def __init__(self, body: Body) -> None:
        """Find the call and the type.

        Raises:
            InvalidCommand: the call's id cannot be stored.
        """
        self.body = body
        self.message: _Message = body.get("message") or {}
        outer = body.get("call") or {}
        self.call: _Call = self.message.get("call") or outer
        self.call_id = (
            _identifier("message.call.id", self.call.get("id"))
            or _identifier("call.id", outer.get("id"))
            or _identifier("callId", body.get("callId"))
        )
        self.type = word(self.message.get("type")) or ""

    @property
    def status(self) -> str | None:
        """What a status-update tells; other types use the word in other senses."""
        return word(self.message.get("status"))

    @property
    def assistant_id(self) -> str:
        """The id of the assistant, from the first place that has one."""
        message = self.message
        return (
            _identifier("message.assistant.id", message.get("assistant", {}).get("id"))
            or _identifier("message.call.assistantId", self.call.get("assistantId"))
            or _identifier("message.assistantId", message.get("assistantId"))
            or _identifier("assistantId", self.body.get("assistantId"))
        )

    @property
    def phone_number_id(self) -> str:
        """The id of the number that was called, from the first place that has one."""
        named = self.message.get("phoneNumber", {}).get("id")
        return _identifier("message.phoneNumber.id", named) or _identifier(
            "message.call.phoneNumberId", self.call.get("phoneNumberId")
        )

    @property
    def number(self) -> str:
        """The number that was called."""
        named = self.message.get("phoneNumber", {}).get("number")
        return _identifier("message.phoneNumber.number", named)

    def ids(self, path_org_id: str) -> MessageIds:
        """Return all that tells whose message this is.

        Raises:
            InvalidCommand: an id cannot be stored.
        """
        return MessageIds(
            call_id=self.call_id,
            path_org_id=path_org_id,
            phone_number_id=self.phone_number_id,
            number=self.number,
            assistant_id=self.assistant_id,
        )


def read_message(raw: bytes) -> Message:
    """Read a server message, whose envelope must be `{"message": {…}}`.

    Raises:
        InvalidCommand: it is not JSON, not an object, or holds an id that cannot be stored.
    """
    body = read_body(raw)
    if "message" not in body:
        raise InvalidCommand("message", "must be an object")
    return Message(body)


def read_body(raw: bytes) -> Body:
    """Read what is known of a body.

    Raises:
        InvalidCommand: it is not JSON in UTF-8, is nested too deeply, or is not an object.
    """
    try:
        return _BODY.validate_json(raw)
    except ValidationError:
        pass
    # The fast reader refuses what a long transcript may well hold: half of an emoji, or many
    # levels of somebody's structured data.  The slow one is left to say what is not JSON.
    try:
        found = json.loads(raw.decode())
    except UnicodeDecodeError:
        raise InvalidCommand("body", "must be UTF-8") from None
    except RecursionError:
        raise InvalidCommand("body", "is nested too deeply") from None
    except ValueError:
        raise InvalidCommand("body", "must be JSON") from None
    if not isinstance(found, dict):
        raise InvalidCommand("body", "must be a JSON object")
    return _BODY.validate_python(found)


def word(value: object, high: int = WORD_MAX) -> str | None:
    """Return `value` if it is a storable text of 1..`high` characters, else None."""
    try:
        return check_printable("", value, high=high)
    except InvalidCommand:
        return None


def _identifier(field: str, value: object) -> str:
    """Return an id, or an empty text if none is said.

    Raises:
        InvalidCommand: it is a text, but none that can be stored.
    """
    if type(value) is not str or not value:
        return ""
    return check_printable(field, value, high=ID_MAX)


NO_MESSAGE: Final = Message({})
"""What is known of a body that could not be read."""
