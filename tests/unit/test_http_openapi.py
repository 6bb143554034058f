"""The description of the interface: valid, and of every route."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from wallet_http.openapi import PAGE, document, responses_of
from wallet_http.options import EdgeOptions
from wallet_http.routes import ROUTES
from wallet_http.routing import Route, Scope


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document(ROUTES, EdgeOptions(version="1.2.3"))))
    return found


def test_it_is_valid(described: dict[str, Any]) -> None:
    """By the specification of OpenAPI 3.1."""
    validate(described)
    assert described["openapi"] == "3.1.0"
    assert described["info"]["version"] == "1.2.3"


def test_every_route_is_in_it_once(described: dict[str, Any]) -> None:
    """And nothing else is."""
    operations = [
        (method.upper(), path) for path, found in described["paths"].items() for method in found
    ]

    assert sorted(operations) == sorted((route.method, route.path) for route in ROUTES)
    ids = [found["operationId"] for path in described["paths"].values() for found in path.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_operation_says_enough(described: dict[str, Any], route: Route) -> None:
    """What it does, for whom, what it takes, and how it fails."""
    operation = described["paths"][route.path][route.method.lower()]

    assert operation["summary"]
    assert operation["summary"][-1] != "."
    assert bool(operation["security"]) == (route.scope is not Scope.OPEN)
    assert ("requestBody" in operation) == (route.request is not None)
    named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
    assert named == set(re.findall(r"\{(\w+)\}", route.path))
    expected = {"401", "403", "500", "503"}
    if route.scope in {Scope.ORG, Scope.SERVICE, Scope.OPERATOR}:
        assert expected <= set(operation["responses"])
    assert any(status < 300 for status in responses_of(route))


def test_bodies_name_their_fields_as_callers_do(described: dict[str, Any]) -> None:
    """Not as the engine does."""
    schemas = described["components"]["schemas"]

    assert set(schemas["DeductBody"]["properties"]) == {
        *("org_id", "dry_run", "amount_pence", "class", "type", "description"),
    }
    assert schemas["DeductBody"]["additionalProperties"] is False
    assert "actual_seconds" in schemas["CommitBody"]["properties"]
    assert schemas["CommitBody"]["required"] == ["org_id", "call_id"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """It works without the internet, and tells nobody who reads it."""
    page = PAGE.read_text()

    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "openapi.json" in page
