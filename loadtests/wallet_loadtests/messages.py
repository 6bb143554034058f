"""Vapi's server messages, made from the recorded ones in tests/fixtures/vapi.

Standard library only: also imported inside Locust.
"""

from functools import cache
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures" / "vapi"

CALL_ID = "019a5193-90ae-7fff-b06b-d09a3312294a"
NUMBER_ID = "0c9c3b52-4a77-4a0e-9d0a-6f9a6c3b7e21"
"""What the recorded messages name, and each message made here replaces."""

REPORT_PENCE = 168
"""What the call of the recorded report costs: 180 s at 56 p a minute."""

WEBHOOK = "/api/vapi/webhook"
STATUS_CHECK = "/api/vapi/webhook/status-check"


def message(name: str, *, call_id: str, number_id: str) -> str:
    """Return a recorded message as if it were about this call to this number."""
    return _recorded(name).replace(CALL_ID, call_id).replace(NUMBER_ID, number_id)


def status_check(call_id: str) -> dict[str, object]:
    """Return what asks whether a call must end."""
    return {"message": {"call": {"id": call_id}}}


@cache
def _recorded(name: str) -> str:
    """Return a recorded message without Vapi's addresses: load must stay on this machine."""
    return (FIXTURES / f"{name}.json").read_text().replace("vapi.ai", "vapi.invalid")
