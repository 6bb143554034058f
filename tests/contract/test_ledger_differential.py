"""The simulation's ledger against Postgres: the same commands, the same verdicts, the same rows.

The simulation trusts `MemoryLedger` to be what Postgres is; `LedgersAlike` is how that is tested.
WALLET_TEST_LEDGER_EXAMPLES=500 makes as many sequences, other ones each time, and makes small
what it finds, which may take five minutes.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from wallet_testing.ledgers_alike import LedgersAlike, Run
from wallet_testing.repeatable import repeatable
from wallet_testing.sabotage import SABOTEURS
from wallet_testing.servers import Databases
from wallet_testing.suspects import Suspects
from wallet_testing.twins import Twins, twins_on

EXAMPLES_VARIABLE = "WALLET_TEST_LEDGER_EXAMPLES"


def chosen(examples: int) -> settings:
    """Return how long to look: a little and always the same way, unless told otherwise."""
    quick = settings(
        repeatable,
        max_examples=examples,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
        phases={Phase.generate},
    )
    if told := os.environ.get(EXAMPLES_VARIABLE):
        return settings(
            quick,
            derandomize=False,
            database=None,
            max_examples=int(told),
            phases={*quick.phases, Phase.shrink},
        )
    return quick


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Give the one loop that all connections live on."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def twins(run: Run, databases: Databases) -> Iterator[Twins]:
    """Give the one database that all examples use, one after the other."""
    opened = AsyncExitStack()

    async def open_twins() -> Twins:
        dsn = await opened.enter_async_context(databases.fresh())
        return await opened.enter_async_context(twins_on(dsn))

    yield run(open_twins())
    run(opened.aclose())


@pytest.mark.timeout(
    0 if os.environ.get(EXAMPLES_VARIABLE) else 600
)  # to make a failure small takes five minutes
def test_the_ledgers_are_alike(run: Run, twins: Twins) -> None:
    """Whatever owners do, both ledgers say the same and store the same.

    And no ledger that is wrong in one point only would have passed for the real one.
    """
    suspects = Suspects(SABOTEURS)

    run_state_machine_as_test(
        lambda: LedgersAlike(run, twins, suspects),  # type: ignore[arg-type]  # or what makes one
        settings=chosen(25),
    )

    print("found out in example:", suspects.found)
    assert suspects.missed == set()
