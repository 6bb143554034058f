"""Settings of the way between nodes: where this one is asked by others, and how they prove it."""

import re
from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from .group import Group

SECRET_BYTES_MIN = 16
"""A shorter secret could be guessed by who has seen one handshake.  Source: `wallet_http.peers`."""

PORT_MAX = 65_535

EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104  # compared, not bound
"""Where a node may listen, and nobody can connect to."""

ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


class ClusterSettings(Group):
    """How nodes reach each other; a node without Redis is alone, and uses none of this."""

    secret: SecretStr | None = Field(
        default=None,
        description=f"What all nodes share, {SECRET_BYTES_MIN} bytes or more; needed with Redis.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on for other nodes; nothing is encrypted there.",
    )
    port: int = Field(
        default=7420, ge=0, le=PORT_MAX, description="TCP port for other nodes; 0 takes a free one."
    )
    address: str | None = Field(
        default=None,
        description="host:port that others connect to; unset: host, and the port that is used.",
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN:
            raise ValueError(f"must have at least {SECRET_BYTES_MIN} bytes")
        return secret

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is None:
            return None
        parts = ADDRESS.fullmatch(address)
        if parts is None or not 0 < int(parts[2]) <= PORT_MAX:
            raise ValueError("must be host:port, such as 10.0.0.7:7420")
        if parts[1] in EVERYWHERE:
            raise ValueError("nobody can connect there: name the address that others see")
        return address

    @model_validator(mode="after")
    def _can_be_found(self) -> "ClusterSettings":
        if self.address is None and self.host in EVERYWHERE:
            raise ValueError(
                "who listens everywhere must say where others find it: set WALLET_CLUSTER__ADDRESS"
            )
        return self
