"""`wallet migrate`, `wallet verify`, `wallet audit`: the care of an installation."""

import asyncio
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(migrate)
    app.command()(verify)
    app.command()(audit)


def migrate() -> None:
    """Bring the database to the schema that this program needs.

    Safe at any time and from any number of processes; migrations only add, so older nodes go on.
    """
    from wallet_engine.errors import LedgerUnavailable
    from wallet_persistence.migrate import migrate as migrate_database

    from .local import CommandError, database, settings_or_complaint

    async def work() -> str:
        async with database(settings_or_complaint()) as dsn:
            return await migrate_database(dsn)

    try:
        revision = asyncio.run(work())
    except LedgerUnavailable as error:
        raise CommandError(str(error)) from error
    typer.echo(f"The database is at revision {revision}.")


def verify(
    gates: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Walk the gates of a running server instead, with an own test org."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="WALLET_TOKEN",
            help="A token of scope operator for --gates; left out: one signed with the key here.",
        ),
    ] = None,
) -> None:
    """Check the database: tables, columns, indexes, settings. Exit code 1 if anything is wrong.

    With --gates URL: no money, then nothing passes; money, then calls pass and are charged; a
    repeat changes nothing. Prints how many gates passed.
    """
    from . import checks

    passed = asyncio.run(checks.gates(gates, token) if gates else checks.database_checks())
    if not passed:
        raise typer.Exit(1)


def audit(
    org: Annotated[str | None, typer.Option(help="One wallet only.")] = None,
) -> None:
    """Replay every journal, and compare with what is stored. Exit code 1 on drift.

    The engine may go on meanwhile: each wallet is read as of one moment.
    """
    from . import checks

    if not asyncio.run(checks.audit(org)):
        raise typer.Exit(1)
