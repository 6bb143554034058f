"""The composition root: the settings become one running program, and the program ends in order.

The only module besides the command line that knows all packages.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Literal

import aiohttp
from pydantic import SecretStr

from wallet_config import AuthSettings, Settings, VapiSettings
from wallet_engine.calls import Calls
from wallet_engine.clock import SystemClock
from wallet_engine.directory import Directory
from wallet_engine.endings import Endings
from wallet_engine.errors import LedgerUnavailable, WalletError
from wallet_engine.fleet import Fleet
from wallet_engine.limits import Limits
from wallet_engine.node import Node
from wallet_engine.ports import CallControl
from wallet_engine.settings import Settings as WalletSettings
from wallet_persistence.directory import PostgresDirectory
from wallet_persistence.fleet import PostgresFleet
from wallet_persistence.history import PostgresHistory
from wallet_persistence.leases import RedisLeases
from wallet_persistence.ledger import PostgresLedger
from wallet_persistence.postgres import Access, open_pool
from wallet_persistence.recorder import PostgresRecorder
from wallet_persistence.survey import survey
from wallet_persistence.verify import PASSING, verify

from .auth import OneKey
from .effects import Following
from .listener import Listener
from .logs import DecisionLog
from .membership import Membership, Where
from .metrics import PrometheusStats
from .openapi import DOCUMENT, Document
from .operations import HEALTH, OPEN_ROUTES, Health
from .options import AuthOptions, EdgeOptions, VapiHmacOptions, VapiOptions
from .providers.control_urls import ControlUrls
from .providers.simulated import SimulatedControl
from .providers.vapi_control import VapiControl
from .routes import ROUTES
from .routing import Route
from .running import ended, follow, follow_once, patiently, settle_memory
from .server import make_app
from .services import Services
from .survey import Survey
from .version import program_version

BALANCER_S = 2.0
"""How long a balancer may take to see that this node is not ready any more, in production."""

Providers = Literal["real", "simulated"]

log = logging.getLogger(__name__)


class StartError(Exception):
    """The program cannot start; the text says why, a line for each reason."""


class Program:
    """Everything of one node, wired.  `start` and `stop`, once each.

    What `start` opened is closed by `stop` in the opposite order, also after a failed start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dsn: str,
        providers: Providers,
        decisions: DecisionLog,
    ) -> None:
        self.settings = settings
        self._dsn = dsn
        self._providers = providers
        self._decisions = decisions
        self._open = AsyncExitStack()
        self._listeners: list[Listener] = []
        self.services: Services
        self.health: Health

    @property
    def port(self) -> int:
        """Where requests are taken."""
        return self._listeners[0].port

    async def start(self) -> None:
        """Connect, load, listen.  A database that is away is waited for.

        Raises:
            StartError: something is not as it must be; nothing is left running.
        """
        try:
            await patiently(self._start, self._open.aclose, self.settings.postgres.start_patience_s)
        except WalletError as error:
            raise StartError(str(error)) from error
        except OSError as error:  # of our own sockets: the stores' are told as `WalletError`
            raise StartError(f"cannot listen: {error.strerror}") from error

    async def stop(self) -> None:
        """End in order: no more requests, hand over, let become durable, close connections."""
        self.health.draining = True
        if self.settings.environment == "production":
            await asyncio.sleep(BALANCER_S)
        for listener in self._listeners:
            await listener.stop_listening()
        if (cluster := self.services.cluster) is not None:
            await cluster.hand_over()
        await self._open.aclose()

    async def _start(self) -> None:
        settings, opened = self.settings, self._open
        await check_database(self._dsn)
        boot_id = secrets.token_hex(8)
        access = access_of(settings, self._dsn, boot_id)
        low, high = settings.postgres.pool_connections_min, settings.postgres.pool_connections_max
        pool = await open_pool(access, connections_min=low, connections_max=high)
        opened.push_async_callback(pool.close)
        ledger = PostgresLedger(access)
        opened.push_async_callback(ledger.close)
        await ledger.open()
        clock = SystemClock()
        await follow_once(clock, ledger)
        recorder = PostgresRecorder(pool)
        await recorder.start()
        opened.push_async_callback(recorder.stop)

        stats, numbers = PrometheusStats(), Survey()
        history, store = PostgresHistory(pool), PostgresDirectory(pool)
        urls = ControlUrls(recorder=recorder, history=history)
        options = replace(options_of(settings), providers=self._providers)
        endings = Endings(control=await self._control(urls, options), clock=clock, stats=stats)
        node = Node(
            node_id=settings.node.id,
            boot_id=boot_id,
            ledger=ledger,
            clock=clock,
            effects=Following(endings=endings, decisions=self._decisions, stats=stats),
            stats=stats,
            defaults=options.defaults,
            limits=limits_of(settings),
        )
        cluster = await self._cluster(node, stats)
        await node.start()
        opened.push_async_callback(node.stop, grace_s=settings.http.shutdown_grace_s)
        opened.push_async_callback(endings.stop)
        fleet = Fleet(node=node, store=PostgresFleet(pool))
        await fleet.start()
        opened.push_async_callback(fleet.stop)
        if cluster is not None:
            opened.push_async_callback(cluster.leave)
            await cluster.join()
        calls = Calls(
            node=node,
            history=history,
            endings=endings,
            clock=clock,
            grace_s=settings.vapi.report_grace_s,
        )
        await calls.start()
        opened.push_async_callback(calls.stop)
        stats.watch(node.counts, numbers)
        self._in_background("survey", numbers.follow(lambda: survey(pool)))
        self._in_background("clock", follow(clock, ledger))
        self.health = Health(ping=ledger.now_ms, queue=recorder.counts, stats=stats)
        self.services = Services(
            node=node,
            calls=calls,
            directory=Directory(store, clock),
            store=store,
            history=history,
            fleet=fleet,
            recorder=urls,
            clock=clock,
            options=options,
            cluster=cluster,
        )
        await self._listen()
        warn_of(settings)
        settle_memory()

    async def _control(self, urls: ControlUrls, options: EdgeOptions) -> CallControl:
        if self._providers == "simulated":
            return SimulatedControl()
        session = aiohttp.ClientSession()
        self._open.push_async_callback(session.close)
        return VapiControl(session=session, urls=urls, options=options.vapi)

    async def _cluster(self, node: Node, stats: PrometheusStats) -> Membership | None:
        """Prepare the node to share the wallets with others, if there is a Redis for it."""
        redis, own = self.settings.redis, self.settings.cluster
        if redis.url is None:
            return None
        try:
            leases = RedisLeases(redis.url.get_secret_value(), prefix=redis.prefix)
        except ValueError as error:
            raise StartError(f"WALLET_REDIS__URL cannot be used: {error}") from None
        self._open.push_async_callback(leases.close)
        where = Where(
            host=own.host,
            port=own.port,
            address=own.address or "",
            secret=_revealed(own.secret).encode(),
        )
        cluster = Membership(node=node, leases=leases, where=where)
        self._open.push_async_callback(cluster.close)
        await cluster.listen()
        stats.watch_leases(cluster.ownership.counts)
        return cluster

    def _in_background(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"wallet-{name}")
        self._open.push_async_callback(ended, task)

    async def _listen(self) -> None:
        http = self.settings.http
        routes = ROUTES
        if http.metrics_port is not None:
            routes = tuple(route for route in ROUTES if route.path != "/metrics")
            await self._listen_on(http.metrics_port, OPEN_ROUTES)
        await self._listen_on(http.port, routes)
        self._listeners.reverse()  # the one for requests comes first, and closes last

    async def _listen_on(self, port: int, routes: Sequence[Route]) -> None:
        http = self.settings.http
        app = make_app(self.services, routes, decisions=self._decisions)
        app[HEALTH] = self.health
        app[DOCUMENT] = Document(routes, self.services.options)
        listener = Listener(
            app,
            host=http.host,
            port=port,
            body_max_bytes=http.body_max_bytes,
            grace_s=http.shutdown_grace_s,
            reuse_port=http.reuse_port,
        )
        self._open.push_async_callback(listener.close)
        await listener.start()
        self._listeners.append(listener)


def warn_of(settings: Settings) -> None:
    """Say what is open that should not be, outside production where it is allowed."""
    if not settings.vapi.is_authenticated:
        log.warning("No secret of Vapi is set: anybody may speak for Vapi (WALLET_VAPI__SECRET)")
    if settings.public_url is None:
        log.info("No public URL is set: Vapi is not told where to send what happens in calls")


async def check_database(dsn: str) -> None:
    """Refuse a database that the engine cannot work on.

    Raises:
        StartError: what is wrong with it, a line for each.
        LedgerUnavailable: the same, and it may pass.
    """
    checks = await verify(dsn)
    for check in checks:
        if check.warning:
            log.warning("database: %s: %s", check.name, check.detail)
    if failed := [check for check in checks if not check.ok]:
        told = "\n".join(f"{check.name}: {check.detail}" for check in failed)
        if all(check.name in PASSING for check in failed):
            raise LedgerUnavailable(f"the database cannot be used:\n{told}")
        raise StartError(f"the database cannot be used (is it migrated? wallet migrate):\n{told}")


# --- settings, as the engine and the edge take them -------------------------------------------


def access_of(settings: Settings, dsn: str, boot_id: str) -> Access:
    """Return how the database is reached."""
    postgres = settings.postgres
    return Access(
        dsn=dsn,
        node=settings.node.id,
        boot=boot_id,
        connect_timeout_s=postgres.connect_timeout_s,
        statement_timeout_s=postgres.statement_timeout_ms / 1000,
        lock_timeout_s=postgres.lock_timeout_ms / 1000,
    )


def limits_of(settings: Settings) -> Limits:
    """Return the bounds of the node."""
    values = settings.engine.model_dump()
    values["remembered_keys"] = values.pop("remembered_keys_per_wallet")
    return Limits(**values)


def options_of(settings: Settings) -> EdgeOptions:
    """Return what the edge needs to know."""
    http = settings.http
    return EdgeOptions(
        environment=settings.environment,
        version=program_version(),
        public_url=settings.public_url or "",
        request_deadline_s=http.request_deadline_s,
        vapi_deadline_s=http.vapi_deadline_s,
        body_max_bytes=http.body_max_bytes,
        vapi_body_max_bytes=http.vapi_body_max_bytes,
        auth=_auth_options_of(settings.auth),
        vapi=_vapi_options_of(settings.vapi),
        defaults=WalletSettings(**settings.defaults.model_dump()),
    )


def _auth_options_of(auth: AuthSettings) -> AuthOptions:
    given = auth.model_dump(exclude={"jwt_secret"}, exclude_none=True)
    options = AuthOptions(jwt_secret=_revealed(auth.jwt_secret), **given)
    try:
        OneKey(options)
    except ValueError as error:
        raise StartError(f"WALLET_AUTH__JWT_PUBLIC_KEY cannot be used: {error}") from error
    return options


def _vapi_options_of(vapi: VapiSettings) -> VapiOptions:
    hmac = vapi.hmac
    shared = set(VapiOptions.__dataclass_fields__) - {"secret", "bearer_token", "hmac"}
    return VapiOptions(
        secret=_revealed(vapi.secret),
        bearer_token=_revealed(vapi.bearer_token),
        hmac=None
        if hmac is None
        else VapiHmacOptions(**{**hmac.model_dump(), "secret": _revealed(hmac.secret)}),
        **{name: value for name, value in vapi.model_dump().items() if name in shared},
    )


def _revealed(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
