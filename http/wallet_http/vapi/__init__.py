"""Vapi: its server messages, and the kill switch's question."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from wallet_http.routing import Route, Scope
from wallet_http.shapes import ErrorAnswer

from . import shapes
from .status_check import answer_question
from .webhook import take_message, take_org_message

__all__ = ["VAPI_ROUTES"]

_FAILURES: Final[Mapping[int, object]] = MappingProxyType(
    dict.fromkeys(
        (
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ),
        ErrorAnswer,
    )
)

VAPI_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/api/vapi/webhook",
        handler=take_message,
        summary="Take a server message of Vapi; refused calls get a 402, or what is configured",
        scope=Scope.VAPI,
        tag="vapi",
        request=shapes.MessageBody,
        responses={
            HTTPStatus.OK: shapes.WebhookAnswer,
            HTTPStatus.PAYMENT_REQUIRED: shapes.PaymentRequired,
            HTTPStatus.FORBIDDEN: ErrorAnswer,
            HTTPStatus.NOT_FOUND: ErrorAnswer,
            HTTPStatus.CONFLICT: ErrorAnswer,
            **_FAILURES,
        },
    ),
    Route(
        method="POST",
        path="/api/vapi/webhook/status-check",
        handler=answer_question,
        summary="Ask whether a call must end now, and how long it may last",
        scope=Scope.VAPI,
        tag="vapi",
        request=shapes.StatusCheckBody,
        responses={HTTPStatus.OK: shapes.StatusCheckAnswer, **_FAILURES},
    ),
    Route(
        method="POST",
        path="/api/vapi/orgs/{org_id}/webhook",
        handler=take_org_message,
        summary="Take a server message of Vapi for one org; refused callers hear a sentence",
        scope=Scope.VAPI,
        tag="vapi",
        request=shapes.MessageBody,
        responses={
            HTTPStatus.OK: shapes.WebhookAnswer,
            HTTPStatus.CONFLICT: ErrorAnswer,
            **_FAILURES,
        },
    ),
)
"""Register this address at Vapi: `/api/vapi/orgs/{org_id}/webhook`."""
