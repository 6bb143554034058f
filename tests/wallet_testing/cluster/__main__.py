"""Proves on three real nodes what a cluster promises, and measures it: `make cluster-proof`.

PYTHONPATH=tests:loadtests python -m wallet_testing.cluster kills --times 20
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import of_calls, of_leases, of_nodes
from .stage import Cluster, clustered

WALLETS = 256

Proof = Callable[[Cluster, Sequence[str]], Awaitable[list[str]]]

console = Console(width=140, soft_wrap=True)
app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Times = Annotated[int, typer.Option(min=1, help="How often.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long.")]
LOGS = os.environ.get("WALLET_PROOF_LOGS", "")


async def _proved(title: str, proof: Proof, folder: Path) -> bool:
    """Run one proof on a cluster of its own; print what it showed."""
    busy = os.getloadavg()[0]
    async with clustered(folder) as cluster:
        org_ids = await cluster.wallets(WALLETS)
        try:
            lines = await proof(cluster, org_ids)
        except* Exception as errors:  # noqa: BLE001  # what was acknowledged counts all the same
            lines = ["the run broke off"]
            cluster.troubles += [repr(error) for error in errors.exceptions]
        faults = await cluster.faults()
        answers = len(cluster.recorder.answers)
    console.print(f"[bold]{title}[/] (load average before: {busy:.1f})")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False)
    told = f"  {answers:,} answers held against the journals, and audited: {len(faults)} faults"
    console.print(told, highlight=False)
    for fault in faults[:20]:
        console.print(f"    {fault}", markup=False, highlight=False)
    return not faults


def _run(title: str, proof: Proof) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end what was started
    with tempfile.TemporaryDirectory(prefix="wallet-proof-") as temporary:
        folder = Path(LOGS or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        good = asyncio.run(_proved(title, proof, folder))
    sys.exit(0 if good else 1)


@app.command()
def kills(times: Times = 20) -> None:
    """Kill nodes: how soon does each of their wallets work again?"""
    _run("a. a node is killed", lambda it, orgs: of_nodes.kills(it, orgs, times))


@app.command()
def moves(times: Times = 10) -> None:
    """Have nodes leave and join under load: does a request fail, how long do they take?"""
    _run("b. leave and join", lambda it, orgs: of_nodes.moves(it, orgs, times))


@app.command()
def sleeps(times: Times = 3, seconds: Seconds = 20.0) -> None:
    """Stop nodes in mid-write and wake them: do they write late?"""
    _run("c. stopped and woken", lambda it, orgs: of_nodes.sleeps(it, orgs, times, seconds))


@app.command()
def leases(stopped: Seconds = 60.0, frozen: Seconds = 20.0, rounds: Times = 3) -> None:
    """Hurt the Redis: does an owned wallet fail, when do owners agree again?"""
    _run("d. Redis", lambda it, orgs: of_leases.hurts(it, orgs, stopped, frozen, rounds))


@app.command()
def brains(
    rounds: Times = 3,
    seconds: Seconds = 8.0,
    clients: Annotated[int, typer.Option(min=1, help="Ask at a time.")] = 64,
) -> None:
    """Have nodes feel sure of the same shards: how much is still decided?"""
    _run("d. split", lambda it, orgs: of_leases.splits(it, orgs, rounds, seconds, clients))


@app.command()
def deadlines(
    calls: Annotated[int, typer.Option(min=1, help="How many are live.")] = 10_000,
) -> None:
    """Kill a node with thousands of live calls just before their deadlines: is each one kept?"""
    _run("e. live calls", lambda it, orgs: of_calls.deadlines(it, orgs, calls))


if __name__ == "__main__":
    app()
