"""What a message tells about its call, as the recorder takes it.

The control URL is a secret: whoever knows it can speak in the call.  It is stored, never logged.
"""

from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from wallet_engine.ports import CallFacts

from .durations import duration_ms, ended_at, ended_reason, epoch_ms, scaled, started_at
from .messages import Message, word

CONTROL_HOST_SUFFIX: Final = ".vapi.ai"
"""The engine posts to no other host: the address comes from a request.  Source: PROVIDERS §3.1."""

URL_MAX = 2_000
COST_USD_MAX = 1_000_000
"""No call costs this much; more is not a cost."""


def facts_of(message: Message, org_id: str, received_ms: int) -> CallFacts:
    """Return what `message` tells about its call; what it does not tell is None."""
    call = message.call
    report = message.type == "end-of-call-report"
    status = "ended" if report else word(call.get("status"))
    if message.type == "status-update":
        status = message.status
    ended = status == "ended"
    customer = message.message.get("customer") or call.get("customer") or {}
    return CallFacts(
        org_id=org_id,
        call_id=message.call_id,
        type=word(call.get("type")),
        status=status,
        assistant_id=message.assistant_id or None,
        phone_number_id=message.phone_number_id or None,
        customer_number=word(customer.get("number")),
        control_url=control_url(call.get("monitor", {}).get("controlUrl")),
        heard_started_ms=received_ms if status == "in-progress" else None,
        started_ms=epoch_ms(started_at(message)),
        ended_ms=(epoch_ms(ended_at(message)) or received_ms) if ended else None,
        ended_reason=ended_reason(message) if ended else None,
        duration_ms=duration_ms(message) if ended else None,
        provider_cost_usd=_cost_usd(message) if report else None,
    )


def control_url(value: object) -> str | None:
    """Return `value` if it is an address at Vapi that may be posted to, else None."""
    url = word(value, URL_MAX)
    if url is None or not url.isascii() or "\\" in url or " " in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme != "https" or "@" in parts.netloc or port == 0:
        return None
    return url if host.endswith(CONTROL_HOST_SUFFIX) and host != CONTROL_HOST_SUFFIX else None


def _cost_usd(message: Message) -> str | None:
    for value in (message.message.get("cost"), message.call.get("cost")):
        micro_usd = scaled(value, 10**6, COST_USD_MAX * 10**6)
        if micro_usd is not None:
            return str(Decimal(micro_usd).scaleb(-6))
    return None
