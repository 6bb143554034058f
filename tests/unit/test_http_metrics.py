"""What is counted, and under which names."""

import ast
from pathlib import Path
from typing import Any

import pytest

import wallet_engine
from wallet_engine.node import NodeCounts
from wallet_engine.tariff import Tariff
from wallet_engine.wallet import Entry, Hold, HoldStatus
from wallet_http.metrics import PrometheusStats
from wallet_http.survey import Survey

SERIES_MAX = 500
"""A scrape of more would block the loop for long.  Source: ENGINEERING, Tooling choices."""


def entry(kind: str, amount: int = 0, **more: Any) -> Entry:  # noqa: ANN401  # columns
    return Entry(
        org_id="o",
        seq=1,
        key=more.pop("key", "client:k"),
        type=kind,
        balance_before_pence=0,
        held_after_pence=0,
        fingerprint="f",
        detail={},
        epoch=1,
        node="n",
        at_ms=0,
        amount_pence=amount,
        **more,
    )


def hold(status: HoldStatus) -> Hold:
    return Hold("c", Tariff(56, 60, 60), 0, 0, 600, status=status)


def value(stats: PrometheusStats, name: str, **labels: str) -> float | None:
    return stats.registry.get_sample_value(name, labels)


def test_decisions_are_counted_by_what_became_of_them() -> None:
    """And timed by verb."""
    stats = PrometheusStats()
    stats.decided("deduct", "created", "", 0.002)
    stats.decided("deduct", "created", "", 0.2)
    stats.decided("deduct", "refused", "debt_limit_exceeded", 0.001)

    assert value(stats, "wallet_decisions_total", verb="deduct", outcome="created", code="") == 2
    assert value(stats, "wallet_decision_seconds_count", verb="deduct") == 3


@pytest.mark.parametrize(
    ("asked", "ratio"),
    [
        ([], 1.0),
        ([("deduct", "created", "")], 1.0),
        ([("deduct", "created", ""), ("commit", "error", "LedgerUnavailable")], 0.5),
        ([("deduct", "repeated", ""), ("deduct", "refused", "debt_limit_exceeded")], 0.5),
        ([("deduct", "created", ""), ("deduct", "error", "InvalidCommand")], 1.0),
        ([("deduct", "created", ""), ("reserve", "refused", "insufficient_credits")], 1.0),
        ([("deduct", "created", ""), ("deduct", "refused", "idempotency_key_reuse")], 1.0),
    ],
)
def test_the_ratio_of_billing(asked: list[tuple[str, str, str]], ratio: float) -> None:
    """Charges that were booked, of those that should have been; faults of askers do not count."""
    stats = PrometheusStats()
    for verb, outcome, code in asked:
        stats.decided(verb, outcome, code, 0.001)

    assert value(stats, "wallet_billing_success_ratio") == ratio


def test_money_is_counted_by_type() -> None:
    """Each penny once, from durable rows."""
    stats = PrometheusStats()
    stats.entry(entry("call_deduction", -112, hold=hold(HoldStatus.COMMITTED)))
    stats.entry(entry("sms", -5))
    stats.entry(entry("topup", 1000))
    stats.entry(entry("refund", 1000, key="refund:saga-1"))
    stats.entry(entry("call_deduction", -10, uncollected_pence=7))

    assert value(stats, "wallet_deducted_pence_total", type="call_deduction") == 122
    assert value(stats, "wallet_deducted_pence_total", type="sms") == 5
    assert value(stats, "wallet_credited_pence_total", type="topup") == 1000
    assert value(stats, "wallet_refunds_total", reason="provisioning") == 1
    assert value(stats, "wallet_refunds_total", reason="other") == 0
    assert value(stats, "wallet_uncollected_pence_total") == 7
    assert value(stats, "wallet_holds_ended_total", status="committed") == 1


def test_what_there_is_now() -> None:
    """Read at each scrape."""
    stats, survey = PrometheusStats(), Survey()
    survey.balance_pence_avg, survey.holds = 512.5, {"active": 3, "committed": 9}
    counts = NodeCounts(wallets=2, live_calls=3, waiting=4, undurable=5, ledger_ok=False)
    stats.watch(lambda: counts, survey)

    assert value(stats, "wallet_balance_pence_avg") == 512.5
    assert value(stats, "wallet_holds", status="active") == 3
    assert value(stats, "wallet_holds", status="expired") == 0
    assert value(stats, "wallet_ledger_ok") == 0
    assert value(stats, "wallet_live_calls") == 3


def test_there_are_few_series() -> None:
    """However busy the node is: labels come from closed lists, and no org is one."""
    stats = PrometheusStats()
    verbs = "reserve extend prolong commit release expire kill deduct credit suspend resume check"
    for verb in verbs.split():
        for outcome in ("created", "repeated", "refused", "error"):
            stats.decided(verb, outcome, "", 0.001)
    counts = NodeCounts(wallets=0, live_calls=0, waiting=0, undurable=0, ledger_ok=True)
    stats.watch(lambda: counts, Survey())
    lines = [line for line in stats.exposition().decode().splitlines() if line[:1] != "#"]

    assert len(lines) < SERIES_MAX
    assert not [line for line in lines if "org" in line.partition("{")[2]]


def test_two_nodes_in_one_process_count_apart() -> None:
    """No global registry."""
    one, two = PrometheusStats(), PrometheusStats()
    one.fenced("fence")

    assert value(one, "wallet_fenced_total", cause="fence") == 1
    assert value(two, "wallet_fenced_total", cause="fence") == 0


def test_what_is_rare_is_shown_from_the_start() -> None:
    """Prometheus takes a series that begins at 1 for no increase: the first would go unseen."""
    stats = PrometheusStats()
    expected = {
        "wallet_fenced_total": ("cause", causes_in_the_engine()),
        "wallet_holds_ended_total": ("status", {"committed", "released", "expired"}),
        "wallet_provisioning_total": ("outcome", {"done", "failed"}),
        "wallet_refunds_total": ("reason", {"provisioning", "other"}),
    }
    samples = [it for family in stats.registry.collect() for it in family.samples]
    shown = {
        name: {it.labels[label]: it.value for it in samples if it.name == name}
        for name, (label, _) in expected.items()
    }

    assert shown == {name: dict.fromkeys(labels, 0) for name, (_, labels) in expected.items()}


def causes_in_the_engine() -> set[str]:
    """Return every text that the engine's source gives to `fenced`."""
    calls = [
        node
        for path in Path(wallet_engine.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "fenced"
    ]
    return {
        inner.value
        for call in calls
        for argument in call.args
        for inner in ast.walk(argument)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    }
