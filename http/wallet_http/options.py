"""What the edge needs to know, as plain values: made from the settings by `compose`."""

from dataclasses import dataclass, field
from typing import Literal

from wallet_engine.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthOptions:
    """How tokens are verified: by a key of one kind, or, with none, not at all (all are refused).

    `audience` and `issuer` are not looked at when empty.
    """

    jwt_secret: str = field(default="", repr=False)
    jwt_public_key: str = ""
    jwks_url: str = ""
    audience: str = ""
    issuer: str = ""
    leeway_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VapiHmacOptions:
    """The signature of a Vapi credential of kind hmac."""

    secret: str = field(repr=False)
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    signature_header: str = "x-signature"
    timestamp_header: str = "x-timestamp"
    message_id_header: str = "svix-id"
    prefix: str = ""
    encoding: Literal["hex", "base64"] = "hex"
    payload_format: str = "{timestamp}.{body}"
    secret_is_base64: bool = False
    skew_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VapiOptions:
    """How Vapi proves that it is Vapi, and what callers hear; an empty secret is not set."""

    secret: str = field(default="", repr=False)
    bearer_token: str = field(default="", repr=False)
    hmac: VapiHmacOptions | None = None
    server_credential_id: str = ""
    """The credential at Vapi that messages to the server named in an admission are signed with."""
    refusal: Literal["payment-required", "spoken"] = "payment-required"
    report_grace_s: float = 20.0
    spoken_insufficient: str = (
        "Sorry, this number cannot take calls at the moment. Please try again later."
    )
    spoken_refused: str = "Sorry, this number is not in service."
    spoken_unavailable: str = (
        "Sorry, we cannot take your call right now. Please try again in a minute."
    )
    spoken_warning: str = "This call will end in less than a minute."
    spoken_ending: str = "Our time is up, and I have to end this call now. Goodbye."

    @property
    def is_authenticated(self) -> bool:
        """Whether a request of Vapi must prove itself."""
        return bool(self.secret or self.bearer_token or self.hmac)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """Everything about the edge that an operator may set, and what this program is.

    `defaults` is what a wallet inherits where its org sets nothing.
    """

    environment: Literal["development", "production", "test"] = "development"
    version: str = "0"
    providers: Literal["real", "simulated"] = "simulated"
    public_url: str = ""
    request_deadline_s: float = 5.0
    vapi_deadline_s: float = 4.0
    body_max_bytes: int = 64 * 1024
    vapi_body_max_bytes: int = 8 * 1024 * 1024
    auth: AuthOptions = field(default_factory=AuthOptions)
    vapi: VapiOptions = field(default_factory=VapiOptions)
    defaults: Settings = field(default_factory=Settings)
