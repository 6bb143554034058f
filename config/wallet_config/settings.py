"""All settings of a node, and how they are read.

A value comes from the environment (`WALLET_HTTP__PORT`), else from the TOML file that
`WALLET_CONFIG` names, else from the defaults.  Only the composition root reads them.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableValue

from .cluster import ClusterSettings
from .edge import AuthSettings, HttpSettings, VapiSettings
from .engine import DefaultsSettings, EngineSettings, NodeSettings
from .group import Group
from .stores import PostgresSettings, RedisSettings

PREFIX = "WALLET_"
CONFIG_VARIABLE = "WALLET_CONFIG"


class SettingsError(Exception):
    """The settings cannot be used; the text has a line for each fault and shows no value."""


class LogSettings(Group):
    """What is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity; decisions and refusals are info."
    )
    format: Literal["json", "text"] = Field(
        default="json", description="JSON lines for machines, or text for people."
    )


class Settings(BaseSettings):
    """Everything an operator may set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # `WALLET_VAPI__SECRET=` of a compose file means: not set
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production", "test"] = Field(
        default="development",
        description="production refuses to start without the secrets; the others warn.",
    )
    public_url: str | None = Field(
        default=None,
        description="Address at which Vapi reaches this engine; unset: none is sent to Vapi.",
    )
    node: NodeSettings = Field(default_factory=NodeSettings, description="This node.")
    http: HttpSettings = Field(default_factory=HttpSettings, description="The HTTP server.")
    postgres: PostgresSettings = Field(
        default_factory=PostgresSettings, description="The database."
    )
    redis: RedisSettings = Field(default_factory=RedisSettings, description="The leases.")
    cluster: ClusterSettings = Field(
        default_factory=ClusterSettings, description="The way between nodes."
    )
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Tokens.")
    vapi: VapiSettings = Field(default_factory=VapiSettings, description="Vapi's requests.")
    defaults: DefaultsSettings = Field(
        default_factory=DefaultsSettings, description="What every wallet inherits."
    )
    engine: EngineSettings = Field(default_factory=EngineSettings, description="Bounds.")
    logs: LogSettings = Field(default_factory=LogSettings, description="Logs.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is given
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is given
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say which source goes before which: arguments, environment, the TOML file."""
        path = os.environ.get(CONFIG_VARIABLE)
        toml = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if path else ()
        return (init_settings, env_settings, *toml)

    @field_validator("public_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"https", "http"} or not parts.netloc or parts.query:
            raise ValueError("must be an address such as https://wallet.example.com")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _nodes_know_each_other(self) -> Self:
        if self.redis.url is not None and self.cluster.secret is None:
            raise ValueError(
                "with WALLET_REDIS__URL nodes share the wallets, and prove to each other who they"
                " are: set WALLET_CLUSTER__SECRET, the same on all nodes (openssl rand -base64 24)"
            )
        return self

    @model_validator(mode="after")
    def _production_is_guarded(self) -> Self:
        if self.environment != "production":
            return self
        missing = []
        if not self.auth.is_set:
            missing.append(
                "tokens could not be verified: set WALLET_AUTH__JWT_SECRET"
                " (or WALLET_AUTH__JWT_PUBLIC_KEY, or WALLET_AUTH__JWKS_URL)"
            )
        if not self.vapi.is_authenticated:
            missing.append(
                "anybody could speak for Vapi: set WALLET_VAPI__SECRET"
                " (or WALLET_VAPI__BEARER_TOKEN, or WALLET_VAPI__HMAC__SECRET)"
            )
        if missing:
            raise ValueError("in environment=production " + "; ".join(missing))
        return self


def load_settings() -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: a value, a name or the file is wrong; the text names each of them.
    """
    if unknown := _unknown_variables(os.environ):
        raise SettingsError("\n".join(f"{name}: there is no such setting" for name in unknown))
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {path}")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: {path} is not TOML: {error}") from error
    except UnreadableValue as error:
        raise SettingsError(f"{error}: want JSON") from None
    except ValidationError as error:
        faults = [_sentence(fault["loc"], fault["msg"]) for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from None


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that name a group which does not exist, as a typing error would.

    Names without `__` are left alone: Kubernetes sets WALLET_PORT for a service "wallet".
    """
    groups = {name.upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in environ
        if name.upper().startswith(PREFIX)
        and "__" in name
        and name.upper().removeprefix(PREFIX).split("__")[0] not in groups
    )


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if message == "Extra inputs are not permitted":
        message = "there is no such setting"
    if not place:
        return message
    names = [str(part) for part in place]
    return f"{PREFIX}{'__'.join(names).upper()} ({'.'.join(names)} in TOML): {message}"
