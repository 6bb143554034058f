"""What `wallet verify` and `wallet audit` do and print."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wallet_engine.errors import LedgerUnavailable, WalletError
from wallet_engine.settings import Settings as WalletSettings
from wallet_persistence.audit import LedgerAudit
from wallet_persistence.verify import verify

from .gates import Gate, walk_gates
from .local import CommandError, database, settings_or_complaint
from .tokens import TokenScope, signed

TOKEN_S = 600


async def database_checks() -> bool:
    """Check the database, and print each fault; return whether there is none."""
    console = Console()
    async with database(settings_or_complaint()) as dsn:
        checks = await verify(dsn)
    for check in checks:
        if not check.ok:
            console.print(
                f"[red]wrong[/red]    {escape(f'{check.name}: {check.detail}')}", highlight=False
            )
        elif check.warning:
            console.print(
                f"[yellow]warning[/yellow]  {escape(f'{check.name}: {check.detail}')}",
                highlight=False,
            )
    passed = sum(check.ok for check in checks)
    console.print(f"{passed}/{len(checks)} passed", highlight=False)
    return passed == len(checks)


async def gates(url: str, token: str | None) -> bool:
    """Walk the gates of the server at `url`, and print each; return whether all let pass."""
    console = Console()
    settings = settings_or_complaint()
    secret = settings.vapi.secret
    operator = token or signed(org_id=None, scope=TokenScope.OPERATOR, ttl_s=TOKEN_S)
    walked: list[Gate] = []
    async for gate in walk_gates(
        url.rstrip("/"), operator, vapi_secret="" if secret is None else secret.get_secret_value()
    ):
        walked.append(gate)
        mark = "[green]passed[/green]" if gate.passed else "[red]failed[/red]"
        console.print(f"{mark}  {gate.name}", highlight=False)
        if not gate.passed:
            console.print(f"        {gate.detail}", highlight=False, markup=False)
    passed = sum(gate.passed for gate in walked)
    console.print(f"{passed}/{len(walked)} passed", highlight=False)
    return passed == len(walked)


async def audit(org_id: str | None) -> bool:
    """Audit one wallet or all, and print what is wrong; return whether nothing is."""
    console = Console()
    settings = settings_or_complaint()
    defaults = WalletSettings(**settings.defaults.model_dump())
    wallets = rows = drifted = 0
    columns = (TextColumn("auditing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        async with database(settings) as dsn, LedgerAudit(dsn, defaults) as ledger:
            total = await ledger.count(org_id)
            if org_id is not None and total == 0:
                raise CommandError(f"there is no organisation {org_id}")
            with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
                bar = progress.add_task("audit", total=total)
                async for audited in ledger.wallets(org_id):
                    progress.advance(bar)
                    wallets += 1
                    rows += audited.rows
                    drifted += bool(audited.findings)
                    for finding in audited.findings:
                        console.print(f"[red]drift[/red]  {escape(finding)}", highlight=False)
    except LedgerUnavailable as error:
        raise CommandError(str(error)) from error
    except WalletError as error:
        raise CommandError(f"the journal cannot be read: {error}") from error
    told = "everything adds up"
    if drifted:
        told = f"{_counted(drifted, 'wallet')} {'has' if drifted == 1 else 'have'} drifted"
    console.print(
        f"{_counted(wallets, 'wallet')}, {_counted(rows, 'decision')}: {told}", highlight=False
    )
    return drifted == 0


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
