"""Vapi's messages, rightly and wrongly filled, on a real node with a real database.

Whatever comes: no answer is a 5xx, what settles nothing changes nothing, what is refused changes
nothing, and what does settle does it once, for one org, and never below its floor.
"""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, note

from wallet_testing.fuzzing import Run
from wallet_testing.hostile_posts import Post, posts
from wallet_testing.hostile_world import HostileWorld, hostile_world, message, own_database
from wallet_testing.servers import Databases


@pytest.fixture
def world(databases: Databases) -> Iterator[HostileWorld]:
    """Give a world on a database and an event loop of its own."""
    with own_database(databases) as (runner, dsn), hostile_world(runner, dsn) as made:
        yield made


@pytest.mark.timeout(7200)
def test_whatever_vapi_sends(world: HostileWorld) -> None:
    """A few messages about calls that are live, have ended, are another's, or nobody knows."""
    run = Run(name="vapi", usual=100)

    @given(sent=posts)
    def holds(sent: Sequence[Post]) -> None:
        note(f"WALLET_FUZZ_SEED={run.seed}")
        run.step()
        world.runner.run(world.prepare())
        world.play(sent)

    run.by_hypothesis(holds)()


@pytest.mark.parametrize("first", ["rich", "other"])
def test_two_orgs_never_pay_for_one_call(world: HostileWorld, first: str) -> None:
    """Also for one that was never admitted: its first message says whose it is."""
    second = "other" if first == "rich" else "rich"
    world.runner.run(world.prepare())

    def told(org: str, call_id: str, **more: object) -> Post:
        path = f"/api/vapi/orgs/<{org}>/webhook"
        return Post(path, message("end-of-call-report", call_id, org, **more))

    assert world.play([told(first, "new", durationSeconds=90)]) == [200]
    assert world.play([told(second, "new", durationSeconds=90)]) == [409]
    assert world.play([told(first, "newer"), told(second, "newer", durationMs=1)]) == [200, 409]
