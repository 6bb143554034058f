"""What operators and balancers look at: health, readiness, metrics, queues.

Readiness is about this process alone.  Were it to fail with the database, a balancer would take
every node away, and callers would hear its error page where `on_unavailable` has an answer.  A
node that shares the wallets with others is ready once it has joined them, see `membership`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, NotRequired

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from typing_extensions import TypedDict

from wallet_engine.errors import WalletError

from .answers import iso_ms, json_response
from .metrics import PrometheusStats
from .routing import Route, Scope
from .services import SERVICES

PING_S = 1.0
"""How long one look at the database is believed: many may ask for the health at once."""

PING_S_MAX = 2.0
"""A database that answers later than this is down."""

QUEUE: Final = ("active", "completed", "delayed", "failed", "paused", "waiting")
"""What is told of each queue.  Source: SPEC §5.7."""

Counts = dict[str, int]


class Health:
    """How this node is.  `draining` is set when it shuts down."""

    def __init__(
        self,
        *,
        ping: Callable[[], Awaitable[object]],
        queue: Callable[[], Counts],
        stats: PrometheusStats,
    ) -> None:
        self.draining = False
        self.started_s = time.monotonic()
        self.stats = stats
        self._ping = ping
        self._queue = queue
        self._pinged_s = float("-inf")
        self._reachable = False
        self._pinging: asyncio.Lock = asyncio.Lock()

    async def database(self) -> bool:
        """Whether the database answers, as of at most a second ago."""
        async with self._pinging:
            if time.monotonic() - self._pinged_s > PING_S:
                try:
                    async with asyncio.timeout(PING_S_MAX):
                        await self._ping()
                    self._reachable = True
                except (WalletError, TimeoutError):
                    self._reachable = False
                self._pinged_s = time.monotonic()
            return self._reachable

    def queue(self) -> Counts:
        """How much there is in the queue of notes about webhooks."""
        return {**dict.fromkeys(QUEUE, 0), **self._queue()}


HEALTH: Final = web.AppKey("HEALTH", Health)


class NodeHealth(TypedDict):
    """Which node answers, and how much it has."""

    id: str
    version: str
    wallets: int
    live_calls: int
    providers: str


class ServicesHealth(TypedDict):
    """What works; `redis`: whether the leases are reached, null where there are none."""

    database: bool
    redis: bool | None
    backgroundJobs: bool
    webhookQueue: bool


class QueueCounts(TypedDict):
    """How much is in a queue."""

    active: int
    completed: int
    delayed: int
    failed: int
    paused: int
    waiting: int


class HealthAnswer(TypedDict):
    """How this node is; `uptime` in seconds."""

    status: str
    services: ServicesHealth
    timestamp: str
    uptime: int
    queueMetrics: QueueCounts
    node: NodeHealth


class LiveAnswer(TypedDict):
    """Whether this process lives, or may be sent requests; if not, what it waits for."""

    status: str
    problem: NotRequired[str]


class QueueStatsAnswer(TypedDict):
    """The queues by name."""

    queues: dict[str, QueueCounts]
    timestamp: str


async def health(request: web.Request) -> web.Response:
    """Say how this node is: 503 if nothing can be decided."""
    services, own = request.app[SERVICES], request.app[HEALTH]
    counts = services.node.counts()
    database = await own.database() and counts.ledger_ok
    queue = own.queue()
    keeping_up = queue["failed"] == 0
    cluster = services.cluster
    redis = None if cluster is None else cluster.ownership.counts().reachable
    as_usual = keeping_up and redis is not False and not own.draining
    status = "ok" if as_usual else "degraded"
    if not database:
        status = "down"
    body = {
        "status": status,
        "services": {
            "database": database,
            "redis": redis,
            "backgroundJobs": True,
            "webhookQueue": keeping_up,
        },
        "timestamp": iso_ms(services.clock.now_ms()),
        "uptime": int(time.monotonic() - own.started_s),
        "queueMetrics": queue,
        "node": {
            "id": services.node.node_id,
            "version": services.options.version,
            "wallets": counts.wallets,
            "live_calls": counts.live_calls,
            "providers": services.options.providers,
        },
    }
    down = HTTPStatus.SERVICE_UNAVAILABLE if status == "down" else HTTPStatus.OK
    return json_response(body, down)


async def live(_request: web.Request) -> web.Response:
    """Say that this process lives."""
    return json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Say whether this node may be sent requests: since it has joined, until it shuts down."""
    if request.app[HEALTH].draining:
        return json_response({"status": "draining"}, HTTPStatus.SERVICE_UNAVAILABLE)
    cluster = request.app[SERVICES].cluster
    if cluster is not None and not cluster.has_joined:
        waits = {"status": "joining", "problem": cluster.problem or "No look at the leases yet."}
        return json_response(waits, HTTPStatus.SERVICE_UNAVAILABLE)
    return json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    """Return all metrics, for Prometheus."""
    return web.Response(
        body=request.app[HEALTH].stats.exposition(),
        headers={"Content-Type": CONTENT_TYPE_LATEST, "Server": "wallet"},
    )


async def queue_stats(request: web.Request) -> web.Response:
    """Say how much there is in each queue."""
    clock = request.app[SERVICES].clock
    queues = {"webhook_notes": request.app[HEALTH].queue()}
    return json_response({"queues": queues, "timestamp": iso_ms(clock.now_ms())})


OPEN_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/health",
        handler=health,
        summary="How this node is",
        scope=Scope.OPEN,
        tag="operations",
        responses={
            HTTPStatus.OK: HealthAnswer,
            HTTPStatus.SERVICE_UNAVAILABLE: HealthAnswer,
        },
    ),
    Route(
        method="GET",
        path="/health/live",
        handler=live,
        summary="Whether the process lives",
        scope=Scope.OPEN,
        tag="operations",
        responses={HTTPStatus.OK: LiveAnswer},
    ),
    Route(
        method="GET",
        path="/health/ready",
        handler=ready,
        summary="Whether the node may be sent requests",
        scope=Scope.OPEN,
        tag="operations",
        responses={HTTPStatus.OK: LiveAnswer, HTTPStatus.SERVICE_UNAVAILABLE: LiveAnswer},
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="All metrics, in the text format of Prometheus",
        scope=Scope.OPEN,
        tag="operations",
        responses={HTTPStatus.OK: str},
    ),
)
"""What may also be served on a port of its own."""

OPERATIONS_ROUTES: Final[tuple[Route, ...]] = (
    *OPEN_ROUTES,
    Route(
        method="GET",
        path="/api/monitoring/queue-stats",
        handler=queue_stats,
        summary="How much there is in each queue",
        scope=Scope.OPERATOR,
        tag="operations",
        responses={HTTPStatus.OK: QueueStatsAnswer},
    ),
)
