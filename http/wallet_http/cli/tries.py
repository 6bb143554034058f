"""The lines to try on a system that just started.  Each works when pasted, in this order."""

import os
import secrets
import shlex
import sys
from pathlib import Path

from wallet_config import Settings
from wallet_http.version import program_version

from .local import SECRET

NUMBER_ID = "0c9c3b52-4a77-4a0e-9d0a-6f9a6c3b7e21"

LINES = """
{title}
  {who}, {where};
  nobody is really called: providers are simulated
{notes}
A call rings (Vapi asks who answers). It is admitted, and 280 p are set aside:
  curl -s {base}/api/vapi/webhook {vapi}-d '{{"message":{{"type":"assistant-request","call":\
{{"id":"{call}"}},"phoneNumber":{{"id":"{number}"}}}}}}'

It is answered, and somebody asks whether it may go on:
  curl -s {base}/api/vapi/webhook {vapi}-d '{{"message":{{"type":"status-update","status":\
"in-progress","call":{{"id":"{call}"}}}}}}'
  curl -s {base}/api/vapi/webhook/status-check {vapi}-d '{{"callId":"{call}"}}'

It is over after 90 s, and costs 112 p; send the report again, and nothing more happens:
  curl -s {base}/api/vapi/webhook {vapi}-d '{{"message":{{"type":"end-of-call-report",\
"durationSeconds":90,"call":{{"id":"{call}"}}}}}}'

What the customer sees, and why:
  TOKEN=$({wallet} token --org demo-org --scope org)
  curl -s {base}/api/billing/wallet -H "Authorization: Bearer $TOKEN"
  curl -s {base}/api/billing/wallet/transactions -H "Authorization: Bearer $TOKEN"
  curl -s '{base}/api/billing/wallet/explain?call_id={call}' -H "Authorization: Bearer $TOKEN"

What a backend does:
  SERVICE=$({wallet} token --scope service)
  curl -s {base}/v1/deduct -H "Authorization: Bearer $SERVICE" -H 'Idempotency-Key: {key}' \
-d '{{"org_id":"demo-org","amount_pence":100,"class":"asset","type":"sms"}}'
  curl -s {base}/v1/reserve -H "Authorization: Bearer $SERVICE" \
-d '{{"org_id":"demo-org","call_id":"{call}-b"}}'

{cluster}And: {base}/docs  {base}/health  {base}/metrics
  {wallet} verify --gates {base}   {wallet} audit   {wallet} org list   {wallet} --help
Ctrl-C ends it; its data stay.
"""


CLUSTER = """
Who holds which shard. Kill a node: its wallets answer again within seconds, see the log:
  OPERATOR=$({wallet} token --scope operator)
  curl -s {base}/admin/cluster -H "Authorization: Bearer $OPERATOR"
  kill -9 {victim}

"""


def tries(settings: Settings, port: int, who: str, where: str, victim: int = 0) -> str:
    """Return what to print when a system of one machine has started; `victim` may be killed."""
    host = settings.http.host if settings.http.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104  # compared, not bound
    base = f"http://{host}:{port}"
    mark = secrets.token_hex(3)
    return LINES.format(
        title=f"Wallet engine {program_version()} on {base}",
        who=who,
        where=where,
        notes=_notes(settings),
        base=base,
        cluster=CLUSTER.lstrip().format(wallet=_wallet_command(), base=base, victim=victim)
        if victim
        else "",
        vapi=_vapi_header(settings),
        call=f"try-{mark}",
        key=f"try-{mark}",
        number=NUMBER_ID,
        wallet=_wallet_command(),
    ).strip()


def _notes(settings: Settings) -> str:
    notes = ""
    if settings.auth.jwt_secret is not None and "WALLET_AUTH__JWT_SECRET" not in os.environ:
        notes += f"  tokens are signed with the key in {SECRET}\n"
    if not settings.vapi.is_authenticated:
        notes += "  anybody may speak for Vapi here: WALLET_VAPI__SECRET is not set\n"
    return notes


def _vapi_header(settings: Settings) -> str:
    """Return what proves to be Vapi; the secret itself is not shown."""
    if settings.vapi.secret is not None:
        return '-H "X-Vapi-Secret: $WALLET_VAPI__SECRET" '
    if settings.vapi.bearer_token is not None:
        return '-H "Authorization: Bearer $WALLET_VAPI__BEARER_TOKEN" '
    return ""


def _wallet_command() -> str:
    """Return how this command was started, as short as it can be typed here."""
    started = Path(sys.argv[0])
    if started.name != "wallet":
        return f"{shlex.quote(sys.executable)} -m wallet_http"
    here = Path.cwd()
    return str(started.relative_to(here)) if started.is_relative_to(here) else str(started)
