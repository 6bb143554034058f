"""What a machine keeps for development, under `.wallet`: a database, and a key for tokens."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from wallet_config import Settings, SettingsError, load_settings
from wallet_persistence.embedded import (
    EmbeddedPostgres,
    EmbeddedServerError,
    EmbeddedValkey,
    running_dsn,
)

HOME = Path(".wallet")
POSTGRES = HOME / "postgres"
SECRET = HOME / "jwt-secret"


class CommandError(Exception):
    """A command cannot do what it was asked; the text says why, for a person."""


def settings_or_complaint() -> Settings:
    """Read the settings.

    Raises:
        CommandError: they cannot be used.
    """
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(f"the settings cannot be used:\n{error}") from error


def with_local_key(settings: Settings) -> Settings:
    """Return `settings` with a key for tokens.

    Outside production that is this machine's own, if none is set.
    """
    if settings.auth.is_set or settings.environment == "production":
        return settings
    auth = settings.auth.model_copy(update={"jwt_secret": SecretStr(local_secret())})
    return settings.model_copy(update={"auth": auth})


def local_secret() -> str:
    """Return the key under `.wallet`, made when it is first asked for."""
    _make_home()
    try:
        descriptor = os.open(SECRET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return SECRET.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(made := secrets.token_urlsafe(48))
    return made


def _make_home() -> None:
    HOME.mkdir(exist_ok=True)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """Give the DSN of the database that is set, else of the one under `.wallet`.

    The latter is started for as long as it is needed, unless `wallet up` is running.

    Raises:
        CommandError: there is none.
    """
    if settings.postgres.dsn is not None:
        yield settings.postgres.dsn.get_secret_value()
        return
    if (dsn := running_dsn(POSTGRES)) is not None:
        yield dsn
        return
    if not POSTGRES.exists():
        raise CommandError(
            "there is no database: set WALLET_POSTGRES__DSN, or make one with `wallet up`"
        )
    async with embedded() as server:
        yield server.dsn


@asynccontextmanager
async def embedded() -> AsyncIterator[EmbeddedPostgres]:
    """Run the database under `.wallet`, made when it is first asked for."""
    _make_home()
    server = EmbeddedPostgres(POSTGRES)
    try:
        await server.start()
    except EmbeddedServerError as error:
        raise CommandError(f"Postgres does not start: {error}") from error
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def embedded_leases() -> AsyncIterator[EmbeddedValkey]:
    """Run a Valkey for the leases; it keeps nothing, and needs no folder."""
    server = EmbeddedValkey()
    try:
        await server.start()
    except EmbeddedServerError as error:
        raise CommandError(f"Valkey does not start: {error}") from error
    try:
        yield server
    finally:
        await server.stop()
