"""A mechanism that is taken out is missed, else the simulation proves nothing about it."""

import pytest

from wallet_testing.simulation.ablations import ABLATIONS
from wallet_testing.simulation.runs import caught_after


@pytest.mark.timeout(600)
def test_every_ablation_is_noticed() -> None:
    """Each within 300 seeds."""
    found = list(caught_after())

    assert [mechanism for mechanism, seeds, _ in found if seeds is None] == []
    assert len(found) == len(ABLATIONS)
