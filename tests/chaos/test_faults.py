"""Each kind of fault once, while clients are at work: nothing is lost, doubled, or told wrongly.

`make faults` draws hundreds of them in a row, and measures how quickly each is over.
"""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from wallet_testing.faults.deck import DISK_FULL, KINDS
from wallet_testing.faults.scene import Scene, scene_in, suffer

WORKERS = 8
CALM = 15
"""How many acknowledgements lie before and after each fault."""

PATIENCE_S = 1.0
OUTAGE_S = (0.2, 1.6)
"""How long an outage lasts: on both sides of what this node waits for."""

SEED = 1

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Give one scene to all: what each fault leaves behind is there at the next one."""
    folder: Path = tmp_path_factory.mktemp("faults")
    async with scene_in(folder, seed=SEED, patience_s=PATIENCE_S, outage_s=OUTAGE_S) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_with_clients_at_work(scene: Scene, kind: str) -> None:
    """Every wallet works again by itself, and the journal is what callers were told."""
    if kind == DISK_FULL and scene.disk is None:
        pytest.skip("no disk can be made here: it takes the right to mount")
    dice = random.Random(f"{SEED} {kind}")

    async with scene.traffic.running(WORKERS):
        await scene.traffic.acknowledged(CALM)
        await suffer(scene, KINDS[kind], dice)
        await scene.traffic.acknowledged(CALM)

    assert await scene.stage.findings() == []
    assert await scene.drift() == []
    assert [*scene.troubles, *scene.errors()] == []
