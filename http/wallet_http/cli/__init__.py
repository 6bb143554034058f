"""The `wallet` command."""

import sys

import typer

from . import orgs, serving, tokens, upkeep

__all__ = ["app", "main"]

app = typer.Typer(
    name="wallet",
    help="Prepaid wallets for voice AI: money first, then the call.\n\n"
    "Start with **wallet up**: a whole system on this machine, with a database of its "
    "own. Settings come from WALLET_… variables and from the TOML file that WALLET_CONFIG names.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from wallet_http.version import program_version

        typer.echo(program_version())
        raise typer.Exit


@app.callback()
def options(
    _version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Take what stands before the name of a command."""


serving.add_to(app)
upkeep.add_to(app)
orgs.add_to(app)
tokens.add_to(app)


def main() -> None:
    """Run the command line.  What goes wrong is told in a sentence, with exit code 1."""
    from .local import CommandError

    try:
        app()
    except CommandError as error:
        typer.echo(f"wallet: {error}", err=True)
        sys.exit(1)
