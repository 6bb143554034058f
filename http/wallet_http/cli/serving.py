"""`wallet up` and `wallet serve`: a node, with a database of its own or with a given one."""

import typer


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(serve)


def up() -> None:
    """Start a whole system here: database, demo organisation, node; print what to try.

    Keeps its data under .wallet, between runs too. Calls are not really ended: the provider is
    simulated. WALLET_HTTP__PORT sets another port than 3001, WALLET_POSTGRES__DSN another
    database. Ends with Ctrl-C.
    """
    from wallet_http.compose import StartError

    from .demo import run_demo
    from .local import CommandError, settings_or_complaint, with_local_key

    try:
        run_demo(with_local_key(settings_or_complaint()))
    except StartError as error:
        raise CommandError(str(error)) from error


def serve() -> None:
    """Start a node on the database that WALLET_POSTGRES__DSN names.

    The database must be migrated (wallet migrate). With WALLET_ENVIRONMENT=production the node
    refuses to start without the secrets for tokens and for Vapi. SIGTERM ends it in order.
    """
    from wallet_http.compose import Program, StartError
    from wallet_http.running import run
    from wallet_http.running import serve as serve_until_stopped

    from .local import SECRET, CommandError, settings_or_complaint, with_local_key

    given = settings_or_complaint()
    settings = with_local_key(given)
    if settings.postgres.dsn is None:
        raise CommandError("name the database: WALLET_POSTGRES__DSN=postgresql://…")
    if settings is not given:
        typer.echo(f"wallet: no key for tokens is set, so {SECRET} is taken", err=True)
    dsn = settings.postgres.dsn.get_secret_value()
    try:
        run(
            lambda decisions: serve_until_stopped(
                Program(settings, dsn=dsn, providers="real", decisions=decisions)
            ),
            form=settings.logs.format,
            level=settings.logs.level,
        )
    except StartError as error:
        raise CommandError(str(error)) from error
