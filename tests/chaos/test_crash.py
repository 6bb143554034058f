"""Nodes that are killed: what was decided is answered by the next one, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from wallet_testing.cable import Cable, cable_to
from wallet_testing.processes import Stage, staged
from wallet_testing.recorder import Request
from wallet_testing.traffic import Traffic

ANSWER_DELAY_S = 2.0
"""How long the node does not hear of what is durable: far longer than seeing it and killing."""

ORGS = ("north", "east", "south", "west")
OPENING_PENCE = 5_000
WORKERS = 24
KILLS = 3
ACKNOWLEDGED_BETWEEN_KILLS = 200

PURCHASE = Request(
    verb="deduct",
    org_id="crash",
    fields={"amount_pence": 1000, "class": "asset", "type": "phone_number"},
    key="purchase",
)
RESERVATION = Request(verb="reserve", org_id="crash", fields={"call_id": "call-1"})
SETTLEMENT = Request(
    verb="commit", org_id="crash", fields={"call_id": "call-1", "actual_seconds": 1000}
)

LOST = pytest.mark.parametrize(
    ("opening_pence", "before", "lost", "after"),
    [
        pytest.param(
            1000,
            [],
            PURCHASE,
            Request(verb="deduct", org_id="crash", fields=PURCHASE.fields, key="another"),
            id="purchase",
        ),
        pytest.param(
            79,
            [],
            RESERVATION,
            Request(verb="reserve", org_id="crash", fields={"call_id": "call-2"}),
            id="reservation",
        ),
        pytest.param(
            280,
            [RESERVATION],
            SETTLEMENT,
            Request(verb="reserve", org_id="crash", fields={"call_id": "call-2"}),
            id="settlement",
        ),
    ],
)
"""A wallet with money for `lost` and for nothing `after` it."""


@pytest_asyncio.fixture
async def cable(database: str) -> AsyncIterator[tuple[Cable, str]]:
    """Give a way to the database on which answers can be held back."""
    async with cable_to(database) as laid:
        yield laid


@pytest_asyncio.fixture
async def slow_stage(
    database: str, cable: tuple[Cable, str], tmp_path: Path
) -> AsyncIterator[Stage]:
    """Give a stage whose node reaches its database that way."""
    _, node_dsn = cable
    async with staged(database, tmp_path, node_dsn=node_dsn) as made:
        yield made


@LOST
async def test_success_whose_answer_was_lost_on_its_way_to_the_caller(
    stage: Stage, opening_pence: int, before: list[Request], lost: Request, after: Request
) -> None:
    """The next process answers it as a success, though the wallet is empty by now."""
    await opened(stage, opening_pence, before)

    connection = await asyncio.open_connection("127.0.0.1", stage.node.port)
    connection[1].write(stage.raw(lost))
    await stage.until_journaled(lost)
    stage.node.kill()
    connection[1].close()  # whatever came back was never read
    await stage.node.start()

    await answered_as_a_success(stage, lost, after)


@LOST
async def test_success_that_the_node_itself_never_heard_of(
    slow_stage: Stage,
    cable: tuple[Cable, str],
    opening_pence: int,
    before: list[Request],
    lost: Request,
    after: Request,
) -> None:
    """Killed between the disk and the answer: the next process answers it as a success."""
    await opened(slow_stage, opening_pence, before)

    path, _ = cable
    path.answer_delay_s = ANSWER_DELAY_S
    asked = asyncio.create_task(slow_stage.recorder.ask(lost))
    await slow_stage.until_journaled(lost)
    slow_stage.node.kill()
    assert (await asked).status == 0
    path.answer_delay_s = 0.0
    await slow_stage.node.start()

    await answered_as_a_success(slow_stage, lost, after)


async def test_killed_again_and_again_under_load(stage: Stage) -> None:
    """Every acknowledged decision is in the journal as it was told, and no wallet drifts."""
    for org_id in ORGS:
        await stage.org(org_id, OPENING_PENCE)
    traffic = Traffic(stage.recorder, ORGS, seed=1)

    async with traffic.running(WORKERS):
        for _ in range(KILLS):
            await traffic.acknowledged(ACKNOWLEDGED_BETWEEN_KILLS)
            stage.node.kill()
            await stage.node.start()
        await traffic.acknowledged(ACKNOWLEDGED_BETWEEN_KILLS)

    assert await stage.faults() == []
    # The kills did hit: requests under way were not answered, and some had been decided.
    assert stage.recorder.count(0) > 0


async def opened(stage: Stage, opening_pence: int, before: list[Request]) -> None:
    """Open the wallet of these tests."""
    await stage.org("crash", opening_pence)
    for request in before:
        assert (await stage.recorder.ask(request)).status == 201


async def answered_as_a_success(stage: Stage, lost: Request, after: Request) -> None:
    """Check that `lost` was done once, and that `after` cannot be paid."""
    # First something else, so that the wallet is in memory when the repeat comes.
    refused = await stage.recorder.ask(after)
    again = await stage.recorder.ask(lost)
    refused_again = await stage.recorder.ask(after)

    assert (again.status, again.duplicate) == (200, True)
    assert (refused.status, refused_again.status) == (402, 402)
    assert await stage.faults() == []
