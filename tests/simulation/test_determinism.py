"""The same seed goes the same way, in this process and in any other."""

import os
import subprocess
import sys

import pytest

from wallet_testing.simulation.simulate import simulate

SEEDS = (3, 17, 40)

PROGRAM = """
from hashlib import sha256
from wallet_testing.simulation.simulate import simulate
for seed in {seeds}:
    print(sha256("".join(simulate(seed, traced=True).trace).encode()).hexdigest())
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_repeats_itself(seed: int) -> None:
    """Traces are equal to the microsecond, and so is what was counted."""
    first, again = simulate(seed, traced=True), simulate(seed, traced=True)

    assert first.trace == again.trace
    assert first.tally == again.tally
    assert len(first.trace) > 100


def test_no_order_comes_from_hashes() -> None:
    """Processes that hash texts differently go the same way."""
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(seeds=SEEDS)],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(found) == 1


def test_seeds_differ() -> None:
    """Another seed is another story."""
    assert simulate(1, traced=True).trace != simulate(2, traced=True).trace
