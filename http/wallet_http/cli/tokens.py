"""`wallet token`: a token for trying things, signed with the key of this installation."""

import enum
import time
from typing import Annotated

import typer


class TokenScope(enum.StrEnum):
    """What a token may do."""

    ORG = "org"
    SERVICE = "service"
    OPERATOR = "operator"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(token)


def token(
    org: Annotated[str | None, typer.Option(help="Whose token; needed for scope org.")] = None,
    scope: Annotated[
        TokenScope,
        typer.Option(help="org: see one wallet; service: /v1 and billing; operator: everything."),
    ] = TokenScope.ORG,
    ttl: Annotated[int, typer.Option(min=1, max=31_536_000, help="Seconds until it ends.")] = 3600,
    subject: Annotated[str, typer.Option(help="Who it is for, as told in logs.")] = "",
) -> None:
    """Print a token, and nothing else: TOKEN=$(wallet token --org demo-org --scope org).

    Signed with WALLET_AUTH__JWT_SECRET, else with the key under .wallet, which a `wallet up` in
    the same folder takes for its own.
    """
    from .local import CommandError

    if scope is TokenScope.ORG and org is None:
        raise CommandError("a token of scope org needs --org")
    typer.echo(signed(org_id=org, scope=scope, ttl_s=ttl, subject=subject))


def signed(*, org_id: str | None, scope: str, ttl_s: int, subject: str = "") -> str:
    """Return a token that this installation believes.

    Raises:
        CommandError: it verifies tokens with a public key, so others sign them.
    """
    import jwt

    from wallet_engine.errors import InvalidCommand
    from wallet_engine.texts import check_org_id

    from .local import CommandError, settings_or_complaint, with_local_key

    auth = with_local_key(settings_or_complaint()).auth
    if auth.jwt_secret is None:
        raise CommandError("tokens are signed elsewhere: only WALLET_AUTH__JWT_SECRET signs here")
    now_s = int(time.time())
    claims: dict[str, object] = {"scope": str(scope), "iat": now_s, "exp": now_s + ttl_s}
    if org_id is not None:
        try:
            claims["org_id"] = check_org_id(org_id)
        except InvalidCommand as error:
            raise CommandError(f"--org {error.problem}") from error
    optional = {"sub": subject, "aud": auth.audience, "iss": auth.issuer}
    claims |= {name: value for name, value in optional.items() if value}
    return jwt.encode(claims, auth.jwt_secret.get_secret_value(), algorithm="HS256")
