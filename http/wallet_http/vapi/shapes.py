"""What goes over the wire on `/api/vapi`, for the interface's description.

Only what is read here is named: Vapi sends much more, and may send any of it in other types.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict


class MessageBody(TypedDict):
    """A server message of Vapi: `message.type` says what it is about."""

    message: dict[str, Any]


class StatusCheckBody(TypedDict, total=False):
    """Which call is asked about: `callId`, `call.id` or `message.call.id`."""

    callId: Any
    call: Any
    message: Any
    elapsedSeconds: float | None


class LastMinute(TypedDict):
    """What to say in the last minute."""

    message: str
    remainingSeconds: int


class StatusCheckAnswer(TypedDict):
    """Whether the call must end; `held_pence` is what is set aside for this call."""

    endCall: bool
    message: NotRequired[str]
    warning: NotRequired[LastMinute]
    balance_pence: int
    effective_balance_pence: int
    held_pence: int
    accrued_pence: int
    remaining_seconds: int


class Server(TypedDict):
    """Where Vapi shall send what happens in the call."""

    url: str
    timeoutSeconds: int
    backoffPlan: dict[str, Any]
    credentialId: NotRequired[str]


class AssistantOverrides(TypedDict):
    """What is laid over the assistant's own configuration for this call."""

    maxDurationSeconds: int
    metadata: dict[str, str]
    server: NotRequired[Server]
    serverMessages: NotRequired[list[str]]


class WebhookAnswer(TypedDict, total=False):
    """Who answers an admitted call; in the spoken form what a refused caller hears (`error`).

    Every other message is answered by nothing.
    """

    assistantId: str
    assistant: dict[str, Any]
    assistantOverrides: AssistantOverrides
    error: str


class PaymentRequired(TypedDict):
    """The call is not admitted: money in pence."""

    error: str
    code: str
    currentBalance: int
    effectiveBalance: int
    requiredBalance: int
    deficit: int
    autoRechargeEnabled: bool
