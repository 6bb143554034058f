"""What this node counts, for Prometheus.  A registry of its own; no label names an org.

Children of labelled metrics are kept, because looking one up costs more than counting.
"""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from wallet_engine.cluster.ownership import LeaseCounts
from wallet_engine.commands import CALL_DEDUCTION, AssetType, CreditType
from wallet_engine.node import NodeCounts
from wallet_engine.wallet import Entry, HoldStatus

from .survey import Survey

DECISION_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
COMMIT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
KILL_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)

CHARGES: Final = frozenset({"deduct", "commit"})
BOOKED: Final = frozenset({"created", "repeated"})
NOT_OURS: Final = frozenset({"InvalidCommand", "UnknownOrg", "idempotency_key_reuse"})
"""Faults of the asker: they say nothing about billing."""

DEDUCTED: Final = frozenset({CALL_DEDUCTION, *map(str, AssetType)})
REFUND_REASONS: Final = frozenset({"provisioning", "other"})
FENCE_CAUSES: Final = (
    "busy", "fence", "lost_answer_committed", "lost_answer_not_committed", "poison", "probe",
    "sweep", "taken", "unknown",
)  # fmt: skip
"""All that the engine tells `Stats.fenced`."""

ENDINGS: Final = frozenset(HoldStatus) - {HoldStatus.ACTIVE}
PROVISIONED: Final = ("done", "failed")


class PrometheusStats:
    """Counts what the engine does.  Implements `ports.Stats`; called on the hot path."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._decisions = Counter(
            "wallet_decisions",
            "Asks that were answered.",
            ["verb", "outcome", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "wallet_decision_seconds",
            "From asking to the durable answer.",
            ["verb"],
            buckets=DECISION_S,
            registry=registry,
        )
        self._batch = Histogram(
            "wallet_commit_batch_size", "Entries in a commit.", buckets=BATCH, registry=registry
        )
        self._wallets = Histogram(
            "wallet_commit_wallets", "Wallets in a commit.", buckets=BATCH, registry=registry
        )
        self._commit = Histogram(
            "wallet_commit_seconds", "How long a commit took.", buckets=COMMIT_S, registry=registry
        )
        self._fenced = Counter(
            "wallet_fenced", "Writes that were turned away.", ["cause"], registry=registry
        )
        self._forwarded = Counter(
            "wallet_forwarded", "Asks sent to other nodes.", ["outcome"], registry=registry
        )
        self._killed = Histogram(
            "wallet_kill_latency_seconds",
            "From the reason why a call must end to telling it.",
            buckets=KILL_S,
            registry=registry,
        )
        self._deducted = Counter(
            "wallet_deducted_pence", "Money that was charged.", ["type"], registry=registry
        )
        self._credited = Counter(
            "wallet_credited_pence", "Money that came in.", ["type"], registry=registry
        )
        self._uncollected = Counter(
            "wallet_uncollected_pence", "Cost of calls beyond the debt limit.", registry=registry
        )
        self._refunds = Counter(
            "wallet_refunds", "Refunds that were journaled.", ["reason"], registry=registry
        )
        self._holds_ended = Counter(
            "wallet_holds_ended", "Holds that ended here.", ["status"], registry=registry
        )
        self._charges = Counter(
            "wallet_charges", "Charges that were asked for.", ["booked"], registry=registry
        )
        self._answers: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._money: dict[str, Counter] = {}
        self._booked = self._charges.labels("yes")
        self._not_booked = self._charges.labels("no")
        self._booked_count = self._charged_count = 0
        self._begin_at_zero()
        Gauge(
            "wallet_billing_success_ratio",
            "Share of the charges asked for since the start that were booked.",
            registry=registry,
        ).set_function(self._success_ratio)

    def _begin_at_zero(self) -> None:
        """Show what is rare from the start, or its first would be no increase to Prometheus."""
        provisioning = Counter(
            "wallet_provisioning", "Numbers asked for.", ["outcome"], registry=self.registry
        )
        for counter, values in (
            (self._refunds, REFUND_REASONS),
            (self._fenced, FENCE_CAUSES),
            (self._holds_ended, ENDINGS),
            (provisioning, PROVISIONED),
        ):
            for label in values:
                counter.labels(label)

    def decided(self, verb: str, outcome: str, code: str, seconds: float) -> None:
        """See `ports.Stats`."""
        key = (verb, outcome, code)
        found = self._answers.get(key)
        if found is None:
            found = (self._decisions.labels(*key), self._seconds.labels(verb))
            self._answers[key] = found
        found[0].inc()
        found[1].observe(seconds)
        if verb in CHARGES and code not in NOT_OURS and outcome != "answered":
            self._charged_count += 1
            if outcome in BOOKED:
                self._booked_count += 1
                self._booked.inc()
            else:
                self._not_booked.inc()

    def committed(self, wallets: int, entries: int, seconds: float) -> None:
        """See `ports.Stats`."""
        self._batch.observe(entries)
        self._wallets.observe(wallets)
        self._commit.observe(seconds)

    def killed(self, seconds: float) -> None:
        """See `ports.Stats`."""
        self._killed.observe(seconds)

    def fenced(self, cause: str) -> None:
        """See `ports.Stats`."""
        self._fenced.labels(cause).inc()

    def forwarded(self, outcome: str) -> None:
        """See `ports.Stats`."""
        self._forwarded.labels(outcome).inc()

    def entry(self, entry: Entry) -> None:
        """Count the money of an entry that became durable, and the holds that ended."""
        amount = entry.amount_pence
        if amount:
            counter = self._money.get(entry.type)
            if counter is None:
                counter = self._money[entry.type] = self._money_of(entry.type)
            counter.inc(abs(amount))
        if entry.type == CreditType.REFUND:
            self._refunds.labels(_reason_of(entry)).inc()
        hold = entry.hold
        if hold is not None and not hold.active and entry.type not in {"adjustment", "call_kill"}:
            self._holds_ended.labels(hold.status).inc()
        if entry.uncollected_pence > 0:
            self._uncollected.inc(entry.uncollected_pence)

    def watch(self, counts: Callable[[], NodeCounts], survey: Survey) -> None:
        """Show, at each scrape, what there is on this node and what was last surveyed."""
        self.registry.register(_Present(counts, survey))

    def watch_leases(self, counts: Callable[[], LeaseCounts]) -> None:
        """Show, at each scrape, how it stands with the leases of this node."""
        self.registry.register(_OfLeases(counts))

    def exposition(self) -> bytes:
        """Return all metrics in the format of Prometheus."""
        return generate_latest(self.registry)

    def _money_of(self, kind: str) -> Counter:
        metric = self._deducted if kind in DEDUCTED else self._credited
        return metric.labels(kind)

    def _success_ratio(self) -> float:
        return self._booked_count / self._charged_count if self._charged_count else 1.0


def _reason_of(entry: Entry) -> str:
    """Say why money was given back, in few words: a label must not hold a caller's text."""
    return "provisioning" if entry.key.startswith("refund:") else "other"


class _Present(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, counts: Callable[[], NodeCounts], survey: Survey) -> None:
        self._counts = counts
        self._survey = survey

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return what there is now."""
        counts, survey = self._counts(), self._survey
        for name, text, value in (
            ("wallet_wallets", "Wallets in the memory of this node.", counts.wallets),
            ("wallet_live_calls", "Calls whose deadlines this node watches.", counts.live_calls),
            ("wallet_waiting", "Commands that wait to be decided.", counts.waiting),
            ("wallet_undurable", "Entries that wait for the disk.", counts.undurable),
            ("wallet_ledger_ok", "1 if the last contact was good.", int(counts.ledger_ok)),
            (
                "wallet_balance_pence_avg",
                "Average balance of all wallets, as last surveyed.",
                survey.balance_pence_avg,
            ),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        holds = GaugeMetricFamily(
            "wallet_holds", "Holds of the whole ledger, as last surveyed.", labels=["status"]
        )
        for status in HoldStatus:
            holds.add_metric([str(status)], float(survey.holds.get(status, 0)))
        yield holds


class _OfLeases(Collector):
    """How it stands with the leases, read when it is asked for."""

    def __init__(self, counts: Callable[[], LeaseCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Return what there is now, and what happened since the start."""
        counts = self._counts()
        for name, text, value in (
            ("wallet_lease_shards", "Shards that are this node's.", counts.shards),
            ("wallet_lease_fresh_shards", "Those that nobody else can hold.", counts.fresh),
            ("wallet_cluster_nodes", "Nodes that live, as this one sees it.", counts.nodes),
            ("wallet_leases_reachable", "1 if Redis answered last.", int(counts.reachable)),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        for name, text, value in (
            ("wallet_lease_gained", "Shards that became this node's.", counts.gained),
            ("wallet_lease_handed_over", "Shards given to other nodes.", counts.handed_over),
            ("wallet_lease_lost", "Shards that others took.", counts.lost),
        ):
            yield CounterMetricFamily(name, text, value=float(value))
