"""Vapi's messages, rightly and wrongly filled, on a real node with a real database.

Whatever comes: no answer is a 5xx, what settles nothing changes nothing, what is refused changes
nothing, and what does settle does it once, for one org, and never below its floor.
"""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, note

from wallet_testing.fuzzing import Run
from wallet_testing.hostile_posts import Post, posts
from wallet_testing.hostile_world import HostileWorld, hostile_world, own_database
from wallet_testing.servers import Databases


@pytest.fixture
def world(databases: Databases) -> Iterator[HostileWorld]:
    """Give a world on a database and an event loop of its own."""
    with own_database(databases) as (runner, dsn), hostile_world(runner, dsn) as made:
        yield made


@pytest.mark.timeout(7200)
def test_whatever_vapi_sends(world: HostileWorld) -> None:
    """A few messages about calls that are live, have ended, are another's, or nobody knows."""
    run = Run(name="vapi", usual=120)

    @given(sent=posts)
    def holds(sent: Sequence[Post]) -> None:
        note(f"WALLET_FUZZ_SEED={run.seed}")
        run.step()
        world.runner.run(world.prepare())
        world.play(sent)

    run.by_hypothesis(holds)()
