"""Settings of the edge: HTTP, who may ask, and what Vapi sends and hears."""

from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from .group import Group

VAPI_GIVES_UP_S = 7.5
"""How long Vapi waits for the answer to an `assistant-request`.  Source: Vapi's documentation,
server events; it cannot be configured."""

JWT_SECRET_BYTES_MIN = 32
"""A shorter HS256 key is weaker than the hash.  Source: RFC 7518, section 3.2."""


def _not_blank(sentence: str) -> str:
    if not sentence.strip():
        raise ValueError("must not be blank")
    return sentence


Sentence = Annotated[str, Field(max_length=1000), AfterValidator(_not_blank)]
"""What a caller hears; for an empty one Vapi would say "Unknown Error"."""


class HttpSettings(Group):
    """Where this node listens, and how much and how long a request may be."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; this machine only, until an operator opens it.",
    )
    port: int = Field(
        default=3001, ge=0, le=65535, description="TCP port; 0 takes a free one, for tests."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A port of its own for /metrics and /health; unset: the same as the rest.",
    )
    body_max_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Longest body in bytes; every command is far below it.",
    )
    vapi_body_max_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Longest body in bytes from Vapi; reports with a transcript have several MB.",
    )
    request_deadline_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="Seconds after which a request is answered 503; nothing is decided later.",
    )
    vapi_deadline_s: float = Field(
        default=4.0,
        gt=0,
        lt=VAPI_GIVES_UP_S,
        description="Seconds after which Vapi is answered by on_unavailable; it hangs up at 7.5 s.",
    )
    shutdown_grace_s: float = Field(
        default=10.0,
        ge=0,
        le=300,
        description="Seconds that open requests get at shutdown; more than any deadline.",
    )
    reuse_port: bool = Field(
        default=False,
        description="Share the port with other processes of this machine, one node each.",
    )

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.vapi_body_max_bytes < self.body_max_bytes:
            raise ValueError("vapi_body_max_bytes must not be below body_max_bytes")
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError("metrics_port must differ from port, or be left out")
        return self


class AuthSettings(Group):
    """How the tokens of backends and operators are verified: by one key of one kind."""

    jwt_secret: SecretStr | None = Field(
        default=None,
        description=f"HS256 secret, {JWT_SECRET_BYTES_MIN} bytes or more: a shorter one is weak.",
    )
    jwt_public_key: str | None = Field(
        default=None, description="RS256 or ES256 public key in PEM, when others sign the tokens."
    )
    jwks_url: str | None = Field(
        default=None, description="Address of a key set, when the keys of the signer rotate."
    )
    audience: str | None = Field(
        default=None, description="Claim aud that a token must carry; unset: not looked at."
    )
    issuer: str | None = Field(
        default=None, description="Claim iss that a token must carry; unset: not looked at."
    )
    leeway_s: float = Field(
        default=30.0,
        ge=0,
        le=300,
        description="Seconds that the clock of the signer may differ from this one.",
    )

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret.get_secret_value().encode()) < JWT_SECRET_BYTES_MIN:
            raise ValueError(f"must have at least {JWT_SECRET_BYTES_MIN} bytes")
        return secret

    @field_validator("jwt_public_key")
    @classmethod
    def _is_public(cls, key: str | None) -> str | None:
        if key and not key.lstrip().startswith("-----BEGIN PUBLIC KEY-----"):
            raise ValueError("must be a public key in PEM (-----BEGIN PUBLIC KEY-----)")
        return key

    @field_validator("jwks_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url and urlsplit(url).scheme not in {"https", "http"}:
            raise ValueError("must be an https:// address")
        return url

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        # With two kinds, the text of a public key could be taken for an HS256 secret.
        if sum(map(bool, (self.jwt_secret, self.jwt_public_key, self.jwks_url))) > 1:
            raise ValueError("set only one of jwt_secret, jwt_public_key and jwks_url")
        return self

    @property
    def is_set(self) -> bool:
        """Whether tokens can be verified at all."""
        return bool(self.jwt_secret or self.jwt_public_key or self.jwks_url)

    @property
    def jwt_algorithms(self) -> tuple[str, ...]:
        """The algorithms that the key allows; never taken from a token."""
        return ("HS256",) if self.jwt_secret else ("RS256", "ES256")


PAYLOAD_NAMES: Final = ("timestamp", "body", "method", "url", "svix-id")
"""What a signed payload may be made of.  Source: Vapi's OpenAPI, HMAC plan."""


class VapiHmacSettings(Group):
    """The signature of a Vapi credential of kind hmac.  Source: Vapi's OpenAPI, HMAC plan."""

    secret: SecretStr = Field(min_length=1, description="The key that Vapi signs with.")
    algorithm: Literal["sha256", "sha512", "sha1"] = Field(
        default="sha256", description="Hash of the signature, as set at Vapi."
    )
    signature_header: str = Field(
        default="x-signature", min_length=1, description="Header that carries the signature."
    )
    timestamp_header: str = Field(
        default="x-timestamp", min_length=1, description="Header that carries the time."
    )
    prefix: str = Field(default="", description="Text before the signature, such as sha256=.")
    message_id_header: str = Field(
        default="svix-id", min_length=1, description="The header that {svix-id} stands for."
    )
    encoding: Literal["hex", "base64"] = Field(
        default="hex", description="How the signature is written."
    )
    payload_format: str = Field(
        default="{timestamp}.{body}",
        description="What is signed, of {timestamp}, {body}, {method}, {url}, {svix-id}; without a "
        "time no replay is seen.",
    )
    secret_is_base64: bool = Field(
        default=False, description="The key is the base64 of the bytes to sign with."
    )
    skew_s: float = Field(
        default=300.0,
        gt=0,
        le=3600,
        description="Seconds that the signed time may differ from now: a late one may be a replay.",
    )

    @field_validator("payload_format")
    @classmethod
    def _signs_the_body(cls, payload_format: str) -> str:
        if payload_format.count("{body}") != 1:
            raise ValueError("must hold {body} once")
        rest = payload_format
        for name in PAYLOAD_NAMES:
            rest = rest.replace(f"{{{name}}}", "")
        if "{" in rest or "}" in rest:
            raise ValueError(f"no other names in braces than {', '.join(PAYLOAD_NAMES)}")
        return payload_format


class VapiSettings(Group):
    """How Vapi proves that it is Vapi, and what callers are told."""

    secret: SecretStr | None = Field(
        default=None, min_length=1, description="Shared secret, sent by Vapi as X-Vapi-Secret."
    )
    bearer_token: SecretStr | None = Field(
        default=None, min_length=1, description="Token of a Vapi credential of kind bearer."
    )
    hmac: VapiHmacSettings | None = Field(
        default=None, description="Signature of a Vapi credential of kind hmac."
    )
    server_credential_id: str = Field(
        default="",
        description="Credential at Vapi that its messages to `public_url` are sent with: without "
        "it a secret that is set here would turn them away.",
    )
    refusal: Literal["payment-required", "spoken"] = Field(
        default="payment-required",
        description="Form of a refusal on the path without an org: 402, or 200 with a sentence.",
    )
    report_grace_s: float = Field(
        default=20.0,
        ge=0,
        le=600,
        description="Seconds from `ended` to settlement without a report, which comes after 5-15.",
    )
    spoken_insufficient: Sentence = Field(
        default="Sorry, this number cannot take calls at the moment. Please try again later.",
        description="Said to a caller whose call the wallet cannot pay; names no money.",
    )
    spoken_refused: Sentence = Field(
        default="Sorry, this number is not in service.",
        description="Said to a caller who is refused for any other reason.",
    )
    spoken_unavailable: Sentence = Field(
        default="Sorry, we cannot take your call right now. Please try again in a minute.",
        description="Said to a caller when no decision was possible in time.",
    )
    spoken_warning: Sentence = Field(
        default="This call will end in less than a minute.",
        description="Said in the last minute that is paid for.",
    )
    spoken_ending: Sentence = Field(
        default="Our time is up, and I have to end this call now. Goodbye.",
        description="Said before a call is ended.",
    )

    @property
    def is_authenticated(self) -> bool:
        """Whether a request of Vapi must prove itself."""
        return bool(self.secret or self.bearer_token or self.hmac)
