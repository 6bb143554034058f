"""`wallet org …`: the organisations of an installation."""

import asyncio
import json
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Create and look at organisations.", no_args_is_help=True)
    group.command()(create)
    group.command()(show)
    group.command(name="list")(list_orgs)
    app.add_typer(group, name="org")


def create(
    org_id: Annotated[str, typer.Argument(help="Its name for machines: A-Z a-z 0-9 _ . : -")],
    name: Annotated[str, typer.Option(help="Its name for people; left out: the same.")] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An own setting: --set debt_limit_pence=0"
        ),
    ] = None,
) -> None:
    """Create an organisation with an empty wallet. Money comes in by /v1/credit."""
    from wallet_engine.errors import InvalidCommand, WalletError

    from .local import CommandError

    try:
        created = asyncio.run(_create(org_id, name or org_id, _settings_of(setting or [])))
    except InvalidCommand as error:
        raise CommandError(str(error)) from error
    except WalletError as error:
        raise CommandError(f"the database cannot be used: {error}") from error
    if not created:
        raise CommandError(f"there is an organisation {org_id} already")
    typer.echo(f"Created {org_id}.")


def show(org_id: Annotated[str, typer.Argument(help="Whom to show.")]) -> None:
    """Show an organisation and its wallet as stored."""
    from .local import CommandError

    found = [org for org in _listed(org_id, 1) if org["org_id"] == org_id]
    if not found:
        raise CommandError(f"there is no organisation {org_id}")
    typer.echo(json.dumps(found[0], indent=2, ensure_ascii=False))


def list_orgs(
    prefix: Annotated[str, typer.Option(help="Only names that begin so.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
) -> None:
    """List organisations and their money."""
    from rich.console import Console
    from rich.table import Table

    table = Table("org", "name", "balance p", "held p", "decisions", "state")
    for org in _listed(prefix, limit):
        state = "suspended" if org["suspended"] else "in use" if org["owner"] else ""
        numbers = (str(org[name]) for name in ("balance_pence", "held_pence", "seq"))
        table.add_row(org["org_id"], org["name"], *numbers, state)
    Console().print(table)


def _settings_of(texts: list[str]) -> dict[str, object]:
    """Read `name=value`, where a value is JSON, or a text without quotes."""
    from .local import CommandError

    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--set {text}: want NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


async def _create(org_id: str, name: str, overrides: dict[str, object]) -> bool:
    from wallet_engine.clock import SystemClock
    from wallet_engine.ports import Org
    from wallet_engine.settings import Settings, settings_of
    from wallet_engine.texts import NAME_MAX, check_org_id, check_text
    from wallet_http.compose import access_of
    from wallet_persistence.directory import PostgresDirectory
    from wallet_persistence.postgres import open_pool

    from .local import database, settings_or_complaint

    settings = settings_or_complaint()
    settings_of(Settings(**settings.defaults.model_dump()), overrides)
    org = Org(
        org_id=check_org_id(org_id),
        name=check_text("name", name, low=1, high=NAME_MAX),
        created_ms=SystemClock().now_ms(),
    )
    async with database(settings) as dsn:
        pool = await open_pool(
            access_of(settings, dsn, "cli"), connections_min=1, connections_max=1
        )
        try:
            return await PostgresDirectory(pool).create_org(org, overrides, node=settings.node.id)
        finally:
            await pool.close()


def _listed(prefix: str, limit: int) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from wallet_engine.errors import WalletError
    from wallet_persistence.listing import stored_orgs

    from .local import CommandError, database, settings_or_complaint

    async def work() -> list[dict[str, Any]]:
        async with database(settings_or_complaint()) as dsn:
            return [asdict(org) for org in await stored_orgs(dsn, prefix=prefix, limit=limit)]

    try:
        return asyncio.run(work())
    except WalletError as error:
        raise CommandError(f"the database cannot be read: {error}") from error
