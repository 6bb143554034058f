"""Reads what an operator edits: compose file, alert rules, dashboard; and the PromQL in them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PROMETHEUS = ROOT / "config/prometheus"
GRAFANA = ROOT / "config/grafana"
PROXY = ROOT / "config/proxy/haproxy.cfg"

Document = Any  # YAML and JSON

VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")
"""A variable as compose files write it: `${NAME:-default}`, `${NAME:?why}`; `$$` is a dollar."""

STRING = r'"(?:[^"\\]|\\.)*"'
GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<labels>[^)]*)\)"
)
MATCHER = re.compile(rf"\s*(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*(?P<value>{STRING})\s*,?")
SELECTOR = re.compile(
    rf"(?P<name>[a-zA-Z_:][\w:]*)\s*(?P<call>\()?(?:\{{(?P<labels>(?:[^{{}}\"]|{STRING})*)\}})?"
)
NOT_SELECTED = re.compile(rf"(?P<string>{STRING})|\[[^\]]*\]|\b\d[\w.]*")
"""Durations in brackets, and numbers: they hold letters too.  Strings are left as they are."""

OPERATORS = frozenset({"and", "or", "unless", "bool", "offset"})


def yaml_of(path: Path) -> Document:
    return YAML(typ="safe").load(path)


def compose(environment: Mapping[str, str]) -> Document:
    """Return the compose file with its variables filled in, as `docker compose config` does.

    Raises:
        KeyError: one that must be set is not; the text says which.
    """

    def filled(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        value = environment.get(found["name"], "")
        if not value and found["kind"] == "?":
            raise KeyError(found["name"])
        return value or (found["rest"] or "")

    def walked(node: Document) -> Document:
        match node:
            case str():
                return VARIABLE.sub(filled, node)
            case dict():
                return {key: walked(value) for key, value in node.items()}
            case list():
                return [walked(value) for value in node]
        return node

    return walked(yaml_of(COMPOSE))


def required() -> set[str]:
    """Return the variables without which the compose file is refused."""
    found = VARIABLE.finditer(COMPOSE.read_text())
    return {variable["name"] for variable in found if variable["kind"] == "?"}


def alerts() -> list[Document]:
    groups = yaml_of(PROMETHEUS / "alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> list[Document]:
    return [json.loads(path.read_text()) for path in sorted(GRAFANA.glob("dashboards/*.json"))]


def panels() -> list[Document]:
    return [panel for dashboard in dashboards() for panel in dashboard["panels"]]


def queries() -> Iterator[tuple[str, str]]:
    """Give each query of alerts and dashboards, with the name of where it stands."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@dataclass(frozen=True, slots=True)
class Selected:
    """One metric that a query asks for, with the labels and values that it names."""

    name: str
    labels: Mapping[str, frozenset[str]]


def selected(query: str) -> list[Selected]:
    """Return what a query of PromQL asks for.  Knows as much of it as ours use."""
    bare = NOT_SELECTED.sub(lambda it: it["string"] or " ", GROUPING.sub(" ", query))
    found = []
    for selector in SELECTOR.finditer(bare):
        if selector["call"] or selector["name"] in OPERATORS:
            continue
        labels = {
            matcher["label"]: frozenset(json.loads(matcher["value"]).split("|"))
            for matcher in MATCHER.finditer(selector["labels"] or "")
        }
        found.append(Selected(selector["name"], labels))
    return found


def grouped_by(query: str) -> set[str]:
    """Return the labels by which a query groups or joins."""
    listed = (name for found in GROUPING.finditer(query) for name in found["labels"].split(","))
    return {name.strip() for name in listed} - {""}
