"""What goes over the wire on `/v1`: bodies that are taken, answers that are given.

Bodies are strict and refuse unknown fields.  Bounds written here as schema only are checked by
the engine, when the command is made.
"""

from typing import Annotated, Any, Final, NotRequired, Required

from pydantic import ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from wallet_engine.commands import REASON_MAX, SECONDS_MAX, CreditType, SpendClass
from wallet_engine.settings import PENCE_MAX
from wallet_engine.texts import DESCRIPTION_MAX

from .bodies import IN_MS

STRICT: Final = ConfigDict(extra="forbid", strict=True)


def text(high: int, *, low: int = 1, **more: Any) -> WithJsonSchema:  # noqa: ANN401  # JSON
    """Return the schema of a text."""
    return WithJsonSchema({"type": "string", "minLength": low, "maxLength": high, **more})


def whole(low: int, high: int) -> WithJsonSchema:
    """Return the schema of a whole number."""
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


OrgId = Annotated[str, text(64, pattern="^[A-Za-z0-9_.:-]+$")]
CallId = Annotated[str, text(128)]
Reason = Annotated[str, text(REASON_MAX)]
Description = Annotated[str, text(DESCRIPTION_MAX, low=0)]
Pence = Annotated[int, whole(1, PENCE_MAX)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False), IN_MS]


class OrgBody(TypedDict, total=False):
    """What every body names."""

    __pydantic_config__ = STRICT  # type: ignore[misc]  # how pydantic is told

    org_id: Required[OrgId]
    dry_run: bool


class CallBody(OrgBody, total=False):
    """What every body about a call names."""

    call_id: Required[CallId]


class ReserveBody(CallBody, total=False):
    """Open a hold; without a length or an amount it is as long as the org's setting says."""

    estimated_minutes: Annotated[int, whole(1, 1440)] | None
    amount_pence: Pence | None


class ExtendBody(CallBody, total=False):
    """Enlarge a hold: give `seconds` or `amount_pence`."""

    seconds: Annotated[int, whole(1, SECONDS_MAX)] | None
    amount_pence: Pence | None


class CommitBody(CallBody, total=False):
    """Settle a call: give `actual_seconds` or `amount_pence`."""

    actual_ms: Annotated[Seconds | None, Field(alias="actual_seconds")]
    amount_pence: Annotated[int, whole(0, PENCE_MAX)] | None


class ReleaseBody(CallBody, total=False):
    """Free the hold of a call that costs nothing."""

    reason: Required[Reason]


class CheckBody(CallBody, total=False):
    """Ask whether a call may go on."""

    elapsed_ms: Annotated[Seconds | None, Field(alias="elapsed_seconds")]


class DeductBody(OrgBody, total=False):
    """Charge outright: class `call` takes type `call_deduction`, class `asset` an asset's."""

    amount_pence: Required[Pence]
    spend_class: Required[Annotated[SpendClass, Field(alias="class")]]
    type: Required[Annotated[str, text(64)]]
    description: Description


class CreditBody(OrgBody, total=False):
    """Pay in; an adjustment may be negative, a clawback is."""

    amount_pence: Required[Annotated[int, whole(-PENCE_MAX, PENCE_MAX)]]
    type: Required[CreditType]
    description: Description


class SwitchBody(OrgBody, total=False):
    """Suspend or resume a wallet."""

    reason: Required[Reason]


class KillBody(CallBody, total=False):
    """Tell a call to end."""

    reason: Required[Reason]


class ErrorAnswer(TypedDict):
    """Any error: a sentence for a person, a word for a machine, and what else there is to say."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # how pydantic is told

    error: str
    code: str
    field: NotRequired[str]


class DecisionAnswer(TypedDict):
    """What became of a command; `duplicate` tells a repeat from the first time."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # how pydantic is told

    org_id: str
    duplicate: bool
    seq: int
    balance_before_pence: int
    balance_after_pence: int
    effective_balance_pence: int
    held_pence: int
    type: str
    dry_run: NotRequired[bool]
    call_id: NotRequired[str]
    reserved_pence: NotRequired[int]
    max_duration_seconds: NotRequired[int]
    paid_seconds: NotRequired[int]
    extended_pence: NotRequired[int]
    charged_pence: NotRequired[int]
    released_pence: NotRequired[int]
    uncollected_pence: NotRequired[int]
    needs_recharge: NotRequired[bool]
    in_debt: NotRequired[bool]
    remaining_debt_capacity_pence: NotRequired[int]


class CheckAnswer(TypedDict):
    """Whether a call may go on; `warn_seconds` is set in its last minute."""

    org_id: str
    call_id: str
    duplicate: bool
    end_call: bool
    reason: str
    warn_seconds: int | None
    balance_pence: int
    effective_balance_pence: int
    held_pence: int
    accrued_pence: int
    remaining_seconds: int
