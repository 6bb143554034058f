"""`python -m wallet_loadtests`: races, Vapi's traffic, Locust's page, the bench, the peers."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated

import typer
from rich.console import Console

from wallet_persistence.embedded import EmbeddedServerError

from .bench import bench
from .forwarded import measure_forwarded
from .measure import WrongAnswers
from .node import NodeError
from .operators import PreparationFailed
from .peers import measure_peers
from .races import Arena
from .runs import (
    Target,
    arena_of,
    audit_verdict,
    authorization_verdicts,
    mix_verdicts,
    race_verdicts,
    serve_page,
)
from .system import NotLocal
from .verdict import Verdict, show
from .volley import LocustFailed
from .wrk import Pressure, WrkFailed, WrkMissing

FAILURES = (
    EmbeddedServerError,
    LocustFailed,
    NodeError,
    NotLocal,
    PreparationFailed,
    WrkFailed,
    WrkMissing,
    WrongAnswers,
)
"""What is told in a sentence instead of a traceback."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Rounds = Annotated[int, typer.Option(min=1, max=100, help="How often each race is run.")]
Users = Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")]
Seconds = Annotated[int, typer.Option(min=1, max=3600, help="How long calls are placed.")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Option(envvar="LOADTEST_URL", help="A running engine; without it one is started."),
    ] = "",
    dsn: Annotated[
        str, typer.Option(envvar="LOADTEST_DSN", help="Its database.", show_envvar=True)
    ] = "",
    secret: Annotated[
        str, typer.Option(envvar="LOADTEST_SECRET", help="Its HS256 secret, to make tokens with.")
    ] = "",
    vapi_secret: Annotated[
        str, typer.Option(envvar="LOADTEST_VAPI_SECRET", help="Its secret of Vapi, if it has one.")
    ] = "",
) -> None:
    """Put load on an engine, on this machine, and see that no penny goes astray.

    Without a command: the races, a hundred calls at once, twenty seconds of Vapi's traffic, and
    the audit.  Every outcome is judged by the database; the exit code says whether all was right.
    """
    if url and not (dsn and secret):
        raise typer.BadParameter("--url needs --dsn and --secret")
    context.obj = Target(url=url, dsn=dsn, secret=secret, vapi_secret=vapi_secret)
    if context.invoked_subcommand is None:
        _judge(context, "Load", _standard)


@app.command()
def races(context: typer.Context, rounds: Rounds = 10) -> None:
    """Run the races for one wallet's money."""
    _judge(context, "Races", lambda arena: race_verdicts(arena, console, rounds=rounds))


@app.command()
def authorizations(context: typer.Context) -> None:
    """Have a hundred calls ask at once."""
    _judge(context, "Authorizations", lambda arena: authorization_verdicts(arena, console))


@app.command()
def mix(context: typer.Context, users: Users = 50, seconds: Seconds = 30) -> None:
    """Have whole calls run through the engine: ringing, talking, ending, report."""
    _judge(
        context,
        "Vapi's traffic",
        lambda arena: mix_verdicts(arena, console, users=users, seconds=seconds),
    )


@app.command()
def locust(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8089,
    minutes: Annotated[
        int, typer.Option(min=1, max=1440, help="The page ends after this time at the latest.")
    ] = 60,
) -> None:
    """Open Locust's page on 127.0.0.1, with Vapi's traffic to start from it."""

    async def page(arena: Arena) -> list[Verdict]:
        await serve_page(arena, console, port=port, minutes=minutes)
        return []

    _judge(context, "After the page was closed", page)


@app.command(name="bench")
def measure(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Runs of each, in turn.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, max=60, help="Length of a run.")] = 5,
    connections: Annotated[int, typer.Option(min=1, max=512, help="Kept open by wrk.")] = 64,
    threads: Annotated[int, typer.Option(min=1, max=16, help="Of wrk.")] = 1,
) -> None:
    """Measure durable decisions a second beside a bare echo, on an engine of its own.

    Prints a table in Markdown.  Needs wrk, and some minutes on a machine with nothing else to do.
    """
    pressure = Pressure(threads=threads, connections=connections, seconds=seconds)

    async def work() -> bool:
        print(await bench(rounds=rounds, pressure=pressure))
        return True

    _run(work)


@app.command()
def peers(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Runs of each, in turn.")] = 5,
    asks: Annotated[int, typer.Option(min=1000, max=10**6, help="Of a run.")] = 20_000,
    in_flight: Annotated[int, typer.Option(min=1, max=1024, help="Asks at a time.")] = 64,
) -> None:
    """Measure what it costs to have another node decide, beside a bare echo.

    Prints a table in Markdown.
    """

    async def work() -> bool:
        print(await measure_peers(rounds=rounds, count=asks, in_flight=in_flight))
        return True

    _run(work)


@app.command()
def forwarded(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Runs of each, in turn.")] = 7,
    asks: Annotated[int, typer.Option(min=100, max=10**6, help="Of a run.")] = 10_000,
    connections: Annotated[int, typer.Option(min=1, max=512, help="Kept open.")] = 64,
) -> None:
    """Measure what a decision costs that another node makes, against one made by the node asked.

    Prints a table in Markdown.
    """

    async def work() -> bool:
        print(await measure_forwarded(rounds=rounds, asks=asks, connections=connections))
        return True

    _run(work)


async def _standard(arena: Arena) -> list[Verdict]:
    return [
        *await race_verdicts(arena, console, rounds=3),
        *await authorization_verdicts(arena, console),
        *await mix_verdicts(arena, console, users=50, seconds=20),
    ]


def _judge(
    context: typer.Context, title: str, checks: Callable[[Arena], Awaitable[list[Verdict]]]
) -> None:
    """Run checks on the target, then its audit; end with 1 if anything was wrong."""

    async def work() -> bool:
        async with arena_of(context.obj, console) as arena:
            verdicts = await checks(arena)
            verdicts.append(await audit_verdict(arena.system))
        return show(console, title, verdicts)

    _run(work)


def _run(work: Callable[[], Coroutine[None, None, bool]]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end what was started
    try:
        passed = asyncio.run(work())
    except FAILURES as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}")
        raise typer.Exit(2) from None
    if not passed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
