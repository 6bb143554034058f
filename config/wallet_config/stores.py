"""Settings of the stores: Postgres, which is the truth, and Redis, which is a hint."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from .group import Group


class PostgresSettings(Group):
    """The ledger's database, and how long anything may wait for it."""

    dsn: SecretStr | None = Field(
        default=None,
        description="postgresql://…; unset: `wallet up` starts an embedded server.",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="Seconds to open a connection: a node must not hang."
    )
    start_patience_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="Seconds that a node which starts waits for a database that is away.",
    )
    statement_timeout_ms: int = Field(
        default=5000,
        ge=100,
        le=600_000,
        description="Milliseconds of one statement; the server ends what nobody waits for.",
    )
    lock_timeout_ms: int = Field(
        default=2000,
        ge=10,
        le=600_000,
        description="Milliseconds to wait for a row: another owner holds it, so ask again.",
    )
    pool_connections_min: int = Field(
        default=2,
        ge=1,
        le=100,
        description="Connections kept open for side work; lanes and probes have their own.",
    )
    pool_connections_max: int = Field(
        default=8,
        ge=1,
        le=500,
        description="Most connections for side work: history, deliveries, jobs.",
    )

    @field_validator("dsn")
    @classmethod
    def _is_postgres(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn and not dsn.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return dsn

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.lock_timeout_ms > self.statement_timeout_ms:
            raise ValueError("lock_timeout_ms must not be above statement_timeout_ms")
        if self.pool_connections_min > self.pool_connections_max:
            raise ValueError("pool_connections_min must not be above pool_connections_max")
        return self


class RedisSettings(Group):
    """Where the leases of the shards are kept; a single node needs none."""

    url: SecretStr | None = Field(
        default=None, description="redis:// or rediss://; unset: this node owns every wallet."
    )
    prefix: str = Field(
        default="wallet",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="Begins the name of every key there: one for each cluster that shares a Redis.",
    )

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("must begin with redis:// or rediss://")
        return url
