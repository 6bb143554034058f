"""`wallet up`: everything on one machine, with an organisation to try things on."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wallet_config import Settings
from wallet_engine.commands import Credit, CreditType
from wallet_engine.errors import LedgerUnavailable
from wallet_engine.ports import Assistant, Org, PhoneNumber
from wallet_http.compose import Program
from wallet_http.logs import DecisionLog
from wallet_http.running import run, serve
from wallet_http.services import Services
from wallet_persistence.migrate import migrate

from .local import CommandError, embedded
from .tries import tries

ORG = "demo-org"
CREDIT_PENCE = 1000

ASSISTANT = "e2a7b2a2-6d8b-4d6e-8c1f-20f5b8a8d0aa"
NUMBER_ID, NUMBER = "0c9c3b52-4a77-4a0e-9d0a-6f9a6c3b7e21", "+14155550123"
"""Whom the recorded messages in `tests/fixtures/vapi` name."""

ASK_S = 10.0


def run_demo(settings: Settings) -> None:
    """Run everything until it is told to stop.

    Raises:
        CommandError, StartError: it does not start.
    """
    if "WALLET_LOGS__FORMAT" not in os.environ and sys.stdout.isatty():
        text = settings.logs.model_copy(update={"format": "text"})
        settings = settings.model_copy(update={"logs": text})
    logs = settings.logs
    run(lambda decisions: _demo(settings, decisions), form=logs.format, level=logs.level)


async def _demo(settings: Settings, decisions: DecisionLog) -> None:
    async with _database(settings) as (dsn, where):
        try:
            await migrate(dsn)
        except LedgerUnavailable as error:
            raise CommandError(str(error)) from error

        program = Program(settings, dsn=dsn, providers="simulated", decisions=decisions)

        async def ready() -> None:
            await stock(program.services)
            print(tries(settings, program.port, where), flush=True)

        await serve(program, ready=ready)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """Give the DSN of the database that is set, else of one started here, and where it is."""
    if settings.postgres.dsn is not None:
        yield settings.postgres.dsn.get_secret_value(), "the Postgres of WALLET_POSTGRES__DSN"
        return
    async with embedded() as server:
        yield server.dsn, f"its own Postgres, whose data are kept in {server.home}"


async def stock(services: Services) -> None:
    """Make the demo organisation, once; what somebody changed since stays changed."""
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
