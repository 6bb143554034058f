"""Postgres goes away and comes back: callers are told 503, and nothing acknowledged is lost."""

import asyncio

import pytest

from wallet_persistence.embedded import EmbeddedPostgres
from wallet_testing.processes import Stage, environment_seconds, shut_down
from wallet_testing.traffic import Traffic

OUTAGE_S = environment_seconds("WALLET_TEST_OUTAGE_S", 3)
"""How long Postgres is away: WALLET_TEST_OUTAGE_S=10 for longer."""

ORGS = ("north", "east", "south", "west")
OPENING_PENCE = 5_000
WORKERS = 16
ACKNOWLEDGED_AROUND = 150


@pytest.fixture
def traffic(impatient_stage: Stage) -> Traffic:
    return Traffic(impatient_stage.recorder, ORGS, seed=2)


async def test_postgres_is_shut_down_and_started_again(
    impatient_stage: Stage, own_postgres: EmbeddedPostgres, traffic: Traffic
) -> None:
    """Writes are refused with 503 while it is away; everything resumes by itself."""
    await opened(impatient_stage)

    async with traffic.running(WORKERS):
        await traffic.acknowledged(ACKNOWLEDGED_AROUND)
        await shut_down(own_postgres)
        await asyncio.sleep(OUTAGE_S)  # the outage itself
        refused = impatient_stage.recorder.count(503)
        await own_postgres.start()
        await traffic.acknowledged(ACKNOWLEDGED_AROUND)

    await checked(impatient_stage, refused)


async def test_postgres_hangs_and_goes_on(
    impatient_stage: Stage, own_postgres: EmbeddedPostgres, traffic: Traffic
) -> None:
    """What the node gave up on may still be committed when the server goes on."""
    await opened(impatient_stage)

    async with traffic.running(WORKERS):
        await traffic.acknowledged(ACKNOWLEDGED_AROUND)
        own_postgres.pause()
        await asyncio.sleep(OUTAGE_S)  # the outage itself
        refused = impatient_stage.recorder.count(503)
        own_postgres.resume()
        await traffic.acknowledged(ACKNOWLEDGED_AROUND)

    await checked(impatient_stage, refused)
    assert await impatient_stage.metric('wallet_fenced_total{cause="unknown"}') > 0


async def opened(stage: Stage) -> None:
    """Open the wallets of these tests."""
    for org_id in ORGS:
        await stage.org(org_id, OPENING_PENCE)


async def checked(stage: Stage, refused: int) -> None:
    """Check that callers were told, and that every answer is as the journal has it."""
    unavailable = [it.answer for it in stage.recorder.answers if it.answer.status == 503]

    assert refused > 0
    assert [it for it in unavailable if not it.retry_after or not it.body.get("code")] == []
    assert stage.recorder.count(0) == 0  # the node itself never went away
    assert await stage.faults() == []
