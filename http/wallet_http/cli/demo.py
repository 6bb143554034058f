"""`wallet up`: everything on one machine, with an organisation to try things on."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import SecretStr

from wallet_config import Settings
from wallet_engine.commands import Credit, CreditType
from wallet_engine.errors import LedgerUnavailable, WalletError
from wallet_engine.ports import Assistant, Org, PhoneNumber
from wallet_http.compose import Program
from wallet_http.logs import DecisionLog
from wallet_http.running import logs, run, run_fast, serve
from wallet_http.services import Services
from wallet_persistence.migrate import migrate

from .local import CommandError, embedded, embedded_leases
from .several import plans_of, shared_port, stop_s_of
from .supervisor import Supervisor
from .tries import tries

ORG = "demo-org"
CREDIT_PENCE = 1000

ASSISTANT = "e2a7b2a2-6d8b-4d6e-8c1f-20f5b8a8d0aa"
NUMBER_ID, NUMBER = "0c9c3b52-4a77-4a0e-9d0a-6f9a6c3b7e21", "+14155550123"
"""Whom the recorded messages in `tests/fixtures/vapi` name."""

ASK_S = 10.0


def run_demo(settings: Settings, nodes: int) -> None:
    """Run everything until it is told to stop.

    Raises:
        CommandError, StartError: it does not start.
    """
    if "WALLET_LOGS__FORMAT" not in os.environ and (nodes > 1 or sys.stdout.isatty()):
        settings = _with(settings, "logs", format="text")
    form, level = settings.logs.format, settings.logs.level
    if nodes == 1:
        run(lambda decisions: _demo(settings, decisions), form=form, level=level)
        return
    if "id" not in settings.node.model_fields_set:
        settings = _with(settings, "node", id="node")
    with (
        shared_port(settings.http.host, settings.http.port) as port,
        logs(form=form, level=level) as (write, _),
    ):
        run_fast(_several(settings, nodes, port, write))


async def _demo(settings: Settings, decisions: DecisionLog) -> None:
    async with _stores(settings) as (stored, where):
        dsn = _revealed(stored.postgres.dsn)
        program = Program(stored, dsn=dsn, providers="simulated", decisions=decisions)

        async def ready() -> None:
            await stock(program.services)
            who = f"node {settings.node.id}"
            print(tries(settings, program.port, who, where), flush=True)

        await serve(program, ready=ready)


async def _several(settings: Settings, nodes: int, port: int, write: Callable[[str], None]) -> None:
    """Run nodes as processes of their own, on the stores of this one."""
    async with _stores(settings) as (stored, where):
        variables = {
            "WALLET_POSTGRES__DSN": _revealed(stored.postgres.dsn),
            "WALLET_REDIS__URL": _revealed(stored.redis.url),
            "WALLET_CLUSTER__SECRET": _revealed(stored.cluster.secret),
            "WALLET_LOGS__FORMAT": settings.logs.format,
        }
        plans = plans_of(stored, nodes, port=port, more=variables, arguments=["--demo"])
        named = settings.logs.format == "text"
        supervisor = Supervisor(plans, write=write, named=named, stop_s=stop_s_of(settings))

        async def ready() -> None:
            pids = supervisor.pids
            who = "nodes " + ", ".join(f"{name} (pid {pid})" for name, pid in pids.items())
            victim = list(pids.values())[-1]
            write(f"\n{tries(settings, port, who, where, victim)}\n\n")

        await supervisor.run(ready)


@asynccontextmanager
async def _stores(settings: Settings) -> AsyncIterator[tuple[Settings, str]]:
    """Give the settings with a migrated database and a Redis, and where both are.

    What is not set is started here.
    """
    async with _postgres(settings) as (dsn, where), _leases(settings) as (shared, also):
        try:
            await migrate(dsn)
        except LedgerUnavailable as error:
            raise CommandError(str(error)) from error
        yield _with(shared, "postgres", dsn=SecretStr(dsn)), f"{where};\n  leases in {also}"


@asynccontextmanager
async def _postgres(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    if settings.postgres.dsn is not None:
        yield _revealed(settings.postgres.dsn), "the Postgres of WALLET_POSTGRES__DSN"
        return
    async with embedded() as server:
        yield server.dsn, f"its own Postgres, whose data are kept in {server.home}"


@asynccontextmanager
async def _leases(settings: Settings) -> AsyncIterator[tuple[Settings, str]]:
    if settings.redis.url is not None:
        yield settings, "the Redis of WALLET_REDIS__URL"
        return
    async with embedded_leases() as server:
        cluster = settings.cluster
        own = {
            "secret": cluster.secret or SecretStr(secrets.token_urlsafe(24)),
            "port": cluster.port if "port" in cluster.model_fields_set else 0,
        }
        shared = _with(settings, "redis", url=SecretStr(server.url))
        yield _with(shared, "cluster", **own), f"its own Valkey on port {server.port}"


def _with(settings: Settings, group: str, **values: object) -> Settings:
    """Return `settings` with other values in one group."""
    changed = getattr(settings, group).model_copy(update=values)
    return settings.model_copy(update={group: changed})


def _revealed(secret: SecretStr | None) -> str:
    assert secret is not None, "it was set, or made here"
    return secret.get_secret_value()


async def stock(services: Services) -> None:
    """Make the demo organisation, once; what somebody changed since stays changed.

    Raises:
        CommandError: it cannot be made now.
    """
    try:
        await _stock(services)
    except WalletError as error:
        raise CommandError(f"{ORG} cannot be made: {error}") from error


async def _stock(services: Services) -> None:
    store, clock = services.store, services.clock
    if await store.org(ORG) is None:
        org = Org(org_id=ORG, name="Demo", created_ms=clock.now_ms())
        await store.create_org(org, {}, node=services.node.node_id)
    credit = Credit(
        org_id=ORG,
        client_key="demo-credit",
        amount_pence=CREDIT_PENCE,
        type=CreditType.BONUS,
        description="To try things with",
    )
    await services.node.ask(credit, timeout_s=ASK_S)
    if await store.assistant(ASSISTANT) is None:
        await store.put_assistant(
            Assistant(assistant_id=ASSISTANT, org_id=ORG, default=True, config_json=None)
        )
    if await store.number(NUMBER_ID, "") is None:
        await store.put_number(
            PhoneNumber(phone_number_id=NUMBER_ID, org_id=ORG, number=NUMBER, assistant_id=None)
        )
