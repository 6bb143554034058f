"""Seeds in a row: nothing is ever wrong, and the nasty paths did run."""

import os

import pytest

from wallet_testing.simulation.runs import Batch, batches

SEEDS = int(os.environ.get("WALLET_TEST_SEEDS", "300"))
"""How many seeds: `make simulate SEEDS=10000` runs more of them, with a progress bar."""


@pytest.mark.timeout(600)
def test_the_books_agree_whatever_happens() -> None:
    """Every seed ends with everyone answered, no money set aside, and books without a fault."""
    total = Batch()
    for batch in batches(range(SEEDS)):
        total.join(batch)

    assert total.failed == [], f"replay: make simulate SEED={total.failed[0][0]}"
    assert total.seeds == SEEDS
    assert total.never == []
