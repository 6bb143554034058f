"""The alert rules and the dashboard: they are right, and ask for what a node really tells."""

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wallet_engine import commands, errors
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.wallet import HoldStatus
from wallet_http.metrics import FENCE_CAUSES, PROVISIONED
from wallet_persistence.embedded import EmbeddedValkey
from wallet_testing.edge import SECRET, Edge, edge
from wallet_testing.operator_files import (
    GRAFANA,
    PROMETHEUS,
    alerts,
    dashboards,
    grouped_by,
    panels,
    queries,
    selected,
    yaml_of,
)

PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on PATH (Debian: apt-get install prometheus)"
)

AWAITED = frozenset({"wallet_audit_drifted_wallets"})
"""What no node counts yet.  Whoever adds one takes it off here."""

OF_PROMETHEUS = frozenset({"up", "ALERTS"})
OF_THE_SCRAPE = frozenset({"instance", "job", "le"})

VALUES: Mapping[str, frozenset[str]] = {
    "verb": frozenset(filter(None, (getattr(it, "verb", None) for it in vars(commands).values()))),
    "outcome": frozenset({*map(str, Outcome), "error", *PROVISIONED}),
    "code": frozenset({*map(str, RefusalCode), *vars(errors)}),
    "status": frozenset(map(str, HoldStatus)),
    "booked": frozenset({"yes", "no"}),
    "reason": frozenset({"provisioning", "other"}),
    "cause": frozenset(FENCE_CAUSES),
}
"""What a label that a query names may be."""

Told = dict[str, set[str]]
"""The labels of each metric, by its name."""


def promtool(*words: str) -> None:
    ran = subprocess.run(
        [PROMTOOL or "", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@with_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_prometheus_takes_them(words: tuple[str, ...]) -> None:
    """Its own tool finds no fault, and each alert fires and stays silent where it should."""
    promtool(*words)


def test_each_alert_says_what_to_do() -> None:
    """Whoever is woken reads what is wrong, how much of it, and what to look at first."""
    incomplete = [
        rule["alert"]
        for rule in alerts()
        if set(rule["annotations"]) != {"summary", "description", "runbook"}
        or rule["labels"]["severity"] not in {"warning", "critical"}
    ]

    assert incomplete == []


def test_each_alert_is_tested_on_both_sides() -> None:
    """An alert that never fired in a test may never fire; one that always does is switched off."""
    sides: dict[str, set[bool]] = defaultdict(set)
    for case in yaml_of(PROMETHEUS / "alerts_test.yml")["tests"]:
        for expected in case["alert_rule_test"]:
            sides[expected["alertname"]].add(bool(expected["exp_alerts"]))

    assert sides == {rule["alert"]: {True, False} for rule in alerts()}


async def test_a_node_tells_all_that_is_asked_for(database: str, valkey: EmbeddedValkey) -> None:
    """Each metric and label of alerts and dashboard is in the answer of a real node."""
    redis = {"url": valkey.url, "prefix": "test-config-prometheus"}
    cluster = {"secret": SECRET, "port": 0}
    async with edge(database, redis=redis, cluster=cluster) as node:
        await lived_a_little(node)
        told = metrics_of((await node.ask("GET", "/metrics")).body)

    missing = [
        f"{where}: {it.name}{sorted(it.labels)}"
        for where, query in queries()
        for it in selected(query)
        if it.name not in OF_PROMETHEUS
        and it.name not in AWAITED
        and not set(it.labels) <= told.get(it.name, set()) | OF_THE_SCRAPE
    ]
    absent = {it.name for _, query in queries() for it in selected(query)} - set(told)
    ungrouped = [
        f"{where}: by {label}"
        for where, query in queries()
        for label in grouped_by(query) - OF_THE_SCRAPE
        if not any(label in told.get(it.name, ()) or it.name in AWAITED for it in selected(query))
    ]

    assert absent == OF_PROMETHEUS | AWAITED
    assert missing == []
    assert ungrouped == []


def test_queries_ask_for_values_that_exist() -> None:
    """A label's value that the engine never gives would make a query silent."""
    unknown = [
        f"{where}: {label}={sorted(values - VALUES[label])}"
        for where, query in queries()
        for it in selected(query)
        if it.name not in AWAITED
        for label, values in it.labels.items()
        if label in VALUES and not values <= VALUES[label]
    ]

    assert unknown == []


def test_the_dashboard_finds_its_source() -> None:
    """Panels ask the provisioned source, have ids of their own, and do not overlap."""
    [source] = yaml_of(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
    asked = {target["datasource"]["uid"] for it in panels() for target in it.get("targets", ())}
    cells = [
        (x, y)
        for it in panels()
        for x in range(it["gridPos"]["x"], it["gridPos"]["x"] + it["gridPos"]["w"])
        for y in range(it["gridPos"]["y"], it["gridPos"]["y"] + it["gridPos"]["h"])
    ]

    assert [it["uid"] for it in dashboards()] == ["wallet"]
    assert asked == {source["uid"]}
    assert len({it["id"] for it in panels()}) == len(panels())
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("up == 0", {"up": {}}),
        (
            'sum by (le) (rate(a_total{x=~"b|c",y!="d"}[5m])) / 2',
            {"a_total": {"x": "bc", "y": "d"}},
        ),
        ("(a > 0) and on (instance) (rate(b[1m]) == 0)", {"a": {}, "b": {}}),
        ("histogram_quantile(0.99, sum(c_bucket)) or vector(0)", {"c_bucket": {}}),
    ],
)
def test_the_tokenizer(query: str, names: Mapping[str, Mapping[str, str]]) -> None:
    """It finds metrics and labels, and takes neither functions nor durations for one."""
    found = {
        it.name: {label: "".join(sorted(values)) for label, values in it.labels.items()}
        for it in selected(query)
    }

    assert found == names


async def lived_a_little(node: Edge) -> None:
    """Have the node count under each label; what takes an accident is counted by hand."""
    await node.open(1000)
    await node.v1("reserve", key="r", call_id="c", estimated_minutes=1)
    await node.v1("commit", key="c", call_id="c", actual_seconds=30)
    sms = {"class": "asset", "type": "sms", "description": "texts"}
    await node.v1("deduct", key="d", amount_pence=5, **sms)
    refused = await node.v1("deduct", key="no", amount_pence=100_000, **sms)
    assert refused.status == 402
    node.program.health.stats.forwarded("answered")


def metrics_of(text: str) -> Told:
    told: Told = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            told[sample.name] |= set(sample.labels)
    return told
