"""`wallet up` and `wallet serve`: nodes, with a database of their own or with a given one."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wallet_config import Settings

NODES_MAX = 64
"""More nodes on one machine than it has cores are of no use."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(serve)


def up(
    nodes: Annotated[
        int,
        typer.Option(min=1, max=NODES_MAX, help="So many nodes behind one port, each a process."),
    ] = 1,
) -> None:
    """Start a whole system here: Postgres, Valkey, demo organisation, node; print what to try.

    Keeps its data under .wallet, between runs too. Calls are not really ended: the provider is
    simulated. WALLET_HTTP__PORT sets another port than 3001, WALLET_POSTGRES__DSN another
    database, WALLET_REDIS__URL another Redis. Ends with Ctrl-C, in order.
    """
    from wallet_http.compose import StartError

    from .demo import run_demo
    from .local import CommandError, settings_or_complaint, with_local_key

    try:
        run_demo(with_local_key(settings_or_complaint()), nodes)
    except StartError as error:
        raise CommandError(str(error)) from error


def serve(
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=NODES_MAX,
            help="So many nodes behind one port, as children of this process: one for each core.",
        ),
    ] = 1,
    demo: Annotated[bool, typer.Option("--demo", hidden=True)] = False,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Start a node on the database that WALLET_POSTGRES__DSN names.

    The database must be migrated (wallet migrate). With WALLET_ENVIRONMENT=production the node
    refuses to start without the secrets for tokens and for Vapi. SIGTERM ends it in order.

    With WALLET_REDIS__URL it shares the wallets with all nodes that name the same Redis; they need
    one WALLET_CLUSTER__SECRET, and must reach each other at WALLET_CLUSTER__ADDRESS.

    With --processes the nodes are named NAME-1, NAME-2 …; their ports for each other and for
    metrics are counted up from those that are set. One that dies is started again. SIGTERM ends
    one after the other.
    """
    from .local import SECRET, CommandError, settings_or_complaint, with_local_key

    given = settings_or_complaint()
    settings = with_local_key(given)
    if settings.postgres.dsn is None:
        raise CommandError("name the database: WALLET_POSTGRES__DSN=postgresql://…")
    if settings is not given and ready_fd is None:
        typer.echo(f"wallet: no key for tokens is set, so {SECRET} is taken", err=True)
    if processes > 1:
        _serve_several(settings, processes)
    else:
        _serve_one(settings, demo=demo, ready_fd=ready_fd)


def _serve_several(settings: "Settings", processes: int) -> None:
    from wallet_http.running import logs, run_fast

    from .local import CommandError
    from .several import plans_of, shared_port, stop_s_of
    from .supervisor import Supervisor

    if settings.redis.url is None:
        raise CommandError(
            "several processes share the wallets by leases: name a Redis, WALLET_REDIS__URL=redis://…"
        )
    form, level = settings.logs.format, settings.logs.level
    with (
        shared_port(settings.http.host, settings.http.port) as port,
        logs(form=form, level=level) as (write, _),
    ):
        plans = plans_of(settings, processes, port=port, more={})
        named = form == "text"
        supervisor = Supervisor(plans, write=write, named=named, stop_s=stop_s_of(settings))
        run_fast(supervisor.run())


def _serve_one(settings: "Settings", *, demo: bool, ready_fd: int | None) -> None:
    """Run one node; its parent, if it has one, is told when it takes requests."""
    import structlog

    from wallet_http.compose import Program, StartError
    from wallet_http.logs import DecisionLog
    from wallet_http.running import run
    from wallet_http.running import serve as serve_until_stopped

    from .demo import stock
    from .local import CommandError

    assert settings.postgres.dsn is not None
    dsn = settings.postgres.dsn.get_secret_value()

    async def work(decisions: DecisionLog) -> None:
        if settings.logs.format == "json":  # several nodes may write into one log
            structlog.contextvars.bind_contextvars(node=settings.node.id)
        program = Program(
            settings,
            dsn=dsn,
            providers="simulated" if demo else "real",
            decisions=decisions,
        )

        async def ready() -> None:
            if demo:
                await stock(program.services)
            if ready_fd is not None:
                os.write(ready_fd, b"\n")
                os.close(ready_fd)

        await serve_until_stopped(program, ready=ready)

    try:
        run(work, form=settings.logs.format, level=settings.logs.level)
    except StartError as error:
        raise CommandError(str(error)) from error
