"""What a wallet holds and what became of it: `GET /api/billing/…`.

A customer's token sees its own org; the others name one with `?org_id=`.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NotRequired

from aiohttp import web
from typing_extensions import TypedDict

from wallet_engine.commands import (
    CALL_DEDUCTION,
    CLIENT_SPACE,
    AssetType,
    CreditType,
    Look,
)
from wallet_engine.errors import InvalidCommand, UnknownOrg
from wallet_engine.ports import HistoryQuery
from wallet_engine.texts import check_call_id, check_key
from wallet_engine.wallet import Entry

from .answers import iso_ms, json_response, shown
from .bodies import check_query, org_of
from .explain import explained, is_refusal, refused_delivery, transaction
from .routing import Handler, Route, Scope
from .services import SERVICES, Services

LIMIT, LIMIT_MAX = 25, 100
"""Rows on a page.  Source: SPEC §5.5."""

SEQ_MAX = 2**63 - 1

TYPES: Final = (
    *map(str, CreditType),
    CALL_DEDUCTION,
    "reservation",
    "reservation_extension",
    "reservation_release",
    "reservation_expiry",
    "call_kill",
    "suspend",
    "resume",
    "settings_change",
    *map(str, AssetType),
)
"""What a row of the journal can be.  Source: SPEC §7."""

MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)(Z|[+ -][0-9]{2}:?[0-9]{2})?)?"
)
"""A day in ISO 8601, a time, a zone.  A `+` that was not escaped comes as a blank."""

ORG: Final[Mapping[str, str]] = {"org_id": "Which org; not needed with a token of scope org."}
PAGE: Final[Mapping[str, str]] = {
    **ORG,
    "cursor": "The `next_cursor` of the page before.",
    "limit": f"Rows on a page, 1 to {LIMIT_MAX}; {LIMIT} if left out.",
    "type": "Only rows of this type.",
    "from": "Only rows at this time or later (ISO 8601; UTC if no zone is named).",
    "to": "Only rows before this time.",
    "call_id": "Only rows about this call.",
}
AT: Final[Mapping[str, str]] = {**ORG, "time": "The moment (ISO 8601; UTC if no zone is named)."}
EXPLAIN: Final[Mapping[str, str]] = {
    **ORG,
    "call_id": "Everything about this call.",
    "key": "The decision under this idempotency key.",
    "seq": "The decision of this number.",
}


class CallView(TypedDict):
    """A live call; `final` means that not one more increment can be afforded."""

    call_id: str
    held_pence: int
    started_at: str
    paid_until: str
    final: bool


class WalletView(TypedDict):
    """What a wallet holds now."""

    org_id: str
    seq: int
    balance_pence: int
    effective_balance_pence: int
    held_pence: int
    debt_limit_pence: int
    suspended: bool
    low_balance_warning: bool
    needs_recharge: bool
    calls: list[CallView]
    burn_rate_pence_per_minute: int
    runs_dry_at: str | None


class Transaction(TypedDict):
    """A row of the journal: one decision."""

    seq: int
    type: str
    amount_pence: int
    held_delta_pence: int
    balance_before_pence: int
    balance_after_pence: int
    held_after_pence: int
    effective_balance_pence: int
    uncollected_pence: int
    call_id: str | None
    description: str
    key: str
    created_at: str


class TransactionsPage(TypedDict):
    """Rows, newest first; `next_cursor` is null on the last page."""

    transactions: list[Transaction]
    next_cursor: str | None


class WalletAt(TypedDict):
    """What a wallet held at a moment; `seq` 0 is before its first decision."""

    org_id: str
    time: str
    seq: int
    balance_pence: int
    held_pence: int
    effective_balance_pence: int


class Explained(Transaction):
    """A decision with its inputs."""

    explanation: str
    inputs: dict[str, object]
    hold: dict[str, object] | None
    epoch: int
    node: str


class RefusedDelivery(TypedDict):
    """A webhook that was answered with a no."""

    type: str
    status: str | None
    received_at: str
    http_status: int
    outcome: str
    explanation: str
    inputs: dict[str, object]


class Explanation(TypedDict):
    """Decisions, oldest first, and refusals."""

    org_id: str
    decisions: list[Explained]
    refusals: list[RefusedDelivery]
    truncated: NotRequired[bool]


async def wallet(request: web.Request) -> web.Response:
    """Show a wallet, from durable state only."""
    check_query(request, ORG)
    services = request.app[SERVICES]
    return json_response(await looked(services, org_of(request)))


async def looked(services: Services, org_id: str) -> dict[str, object]:
    """Return what a wallet holds, as its owner says."""
    answer = await services.node.ask(
        Look(org_id=org_id), timeout_s=services.options.request_deadline_s
    )
    return shown(answer.body)


async def transactions(request: web.Request) -> web.Response:
    """Show a page of the journal, newest first."""
    check_query(request, PAGE)
    services, query, org_id = request.app[SERVICES], request.query, org_of(request)
    kind, call_id = query.get("type"), query.get("call_id")
    if kind is not None and kind not in TYPES:
        raise InvalidCommand("type", f"must be one of {', '.join(TYPES)}")
    limit = _whole(query.get("limit", str(LIMIT)), "limit", 1, LIMIT_MAX)
    rows = await services.history.page(
        HistoryQuery(
            org_id=org_id,
            limit=limit + 1,
            before_seq=_whole(query.get("cursor", "0"), "cursor", 0, SEQ_MAX),
            type=kind,
            call_id=None if call_id is None else check_call_id(call_id),
            from_ms=_moment(query.get("from"), "from"),
            to_ms=_moment(query.get("to"), "to"),
        )
    )
    if not rows:
        await _check_org(services, org_id)
    page = rows[:limit]
    return json_response(
        {
            "transactions": [transaction(entry) for entry in page],
            "next_cursor": str(page[-1].seq) if len(rows) > limit else None,
        }
    )


async def at(request: web.Request) -> web.Response:
    """Show what a wallet held at a moment."""
    check_query(request, AT)
    services, org_id = request.app[SERVICES], org_of(request)
    at_ms = _moment(request.query.get("time"), "time")
    if at_ms is None:
        raise InvalidCommand("time", "is required in the query")
    await _check_org(services, org_id)
    entry = await services.history.at(org_id, at_ms)
    balance, held = (0, 0) if entry is None else (entry.balance_after_pence, entry.held_after_pence)
    return json_response(
        {
            "org_id": org_id,
            "time": iso_ms(at_ms),
            "seq": 0 if entry is None else entry.seq,
            "balance_pence": balance,
            "held_pence": held,
            "effective_balance_pence": balance - held,
        }
    )


async def explain(request: web.Request) -> web.Response:
    """Explain decisions: those of a call, or the one under a key or number."""
    check_query(request, EXPLAIN)
    services, query, org_id = request.app[SERVICES], request.query, org_of(request)
    named = [name for name in ("call_id", "key", "seq") if name in query]
    if len(named) != 1:
        raise InvalidCommand("call_id", "give one of call_id, key and seq in the query")
    history = services.history
    await _check_org(services, org_id)
    rows: list[Entry] = []
    refusals: list[dict[str, object]] = []
    truncated = False
    match named[0]:
        case "call_id":
            call_id = check_call_id(query["call_id"])
            found = await history.page(
                HistoryQuery(org_id=org_id, limit=LIMIT_MAX + 1, call_id=call_id)
            )
            truncated = len(found) > LIMIT_MAX
            rows = list(reversed(found[:LIMIT_MAX]))
            noted = await history.deliveries(org_id, call_id)
            refusals = [refused_delivery(one) for one in noted if is_refusal(one)]
        case "key":
            key = check_key(query["key"])
            rows = list(await history.by_key(org_id, [CLIENT_SPACE + key, key]))
        case _:
            row = await history.by_seq(org_id, _whole(query["seq"], "seq", 1, SEQ_MAX))
            rows = [] if row is None else [row]
    body = {
        "org_id": org_id,
        "decisions": [explained(entry) for entry in rows],
        "refusals": refusals,
    }
    return json_response({**body, "truncated": True} if truncated else body)


async def _check_org(services: Services, org_id: str) -> None:
    if await services.store.org(org_id) is None:
        raise UnknownOrg(org_id)


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high))):
        raise InvalidCommand(name, f"must be a whole number in {low}..{high}")
    if not low <= (value := int(text)) <= high:
        raise InvalidCommand(name, f"must be a whole number in {low}..{high}")
    return value


def _moment(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    wrong = InvalidCommand(name, "must be a time such as 2026-01-31T12:00:00Z")
    found = MOMENT.fullmatch(text)
    if found is None:
        raise wrong
    day, clock, zone = found.groups(default="")
    text = f"{day}T{clock or '00:00'}{zone.replace(' ', '+') or 'Z'}"
    try:
        at_ms = int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise wrong from None
    if at_ms < 0:
        raise InvalidCommand(name, "must not be before 1970")
    return at_ms


def _get(
    path: str, handler: Handler, summary: str, query: Mapping[str, str], gives: object
) -> Route:
    return Route(
        method="GET",
        path=f"/api/billing/wallet{path}",
        handler=handler,
        summary=summary,
        scope=Scope.ORG,
        tag="billing",
        query=MappingProxyType(dict(query)),
        responses={HTTPStatus.OK: gives},
    )


BILLING_ROUTES: Final[tuple[Route, ...]] = (
    _get("", wallet, "What a wallet holds, and how fast its calls use it up", ORG, WalletView),
    _get("/transactions", transactions, "The journal, newest first", PAGE, TransactionsPage),
    _get("/at", at, "What a wallet held at a moment", AT, WalletAt),
    _get("/explain", explain, "Why a decision came out as it did", EXPLAIN, Explanation),
)
