"""Attempts at one hold: it stays as long as one of them heard yes, and goes with the last one."""

import asyncio
from collections.abc import Sequence

import pytest

from wallet_engine.cluster.ownership import Ownership
from wallet_engine.cluster.router import Neighbours, Router
from wallet_engine.commands import Ask, Release
from wallet_engine.errors import DeadlinePassed
from wallet_engine.journal import Answer, Outcome
from wallet_engine.limits import Limits
from wallet_engine.unwanted import release_of
from wallet_testing.builders import ORG, admit, charge, extend, kill
from wallet_testing.held import Held
from wallet_testing.town import Town
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world


class Nobody:
    """Implements `Peers`: there is no other node."""

    async def ask(self, address: str, ask: Ask, *, timeout_s: float) -> Answer:
        raise AssertionError((address, ask, timeout_s))

    def poke(self, address: str) -> None: ...


def membership(world: World) -> tuple[Ownership, Router]:
    """Return what a node has that takes part in a cluster."""
    town, peers = Town(), Nobody()
    neighbours = Neighbours(node=world.node, peers=peers)
    own = neighbours.ownership = Ownership(
        token="node-1:boot-1",
        address="here",
        leases=town.leases,
        neighbourhood=neighbours,
        now_s=town.now_s,
    )
    return own, Router(node=world.node, ownership=own, peers=peers)


def not_heard(world: World, *attempts: int) -> None:
    """Have another node say that the channel broke under these attempts."""
    _, router = membership(world)
    for attempt in attempts:
        router.unheard(admit(attempt=attempt), None)


@in_virtual_time
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("answers_are_known", [True, False])
async def test_the_hold_goes_with_the_last_attempt(
    order: Sequence[int], answers_are_known: bool
) -> None:
    """Both were answered yes at once, and neither answer was heard."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        asked = await world.asking(admit(), admit(attempt=2))
        world.ledger.let_commits_go()
        await world.quiet()
        answers = [one.result() for one in asked]
        assert [it.outcome for it in answers] == [Outcome.CREATED, Outcome.REPEATED]

        _, router = membership(world)
        for attempt in order:
            known = answers[attempt - 1] if answers_are_known else None
            router.unheard(admit(attempt=attempt), known)
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
@pytest.mark.parametrize("unheard", [1, 2])
async def test_the_hold_stays_while_one_attempt_was_heard(unheard: int) -> None:
    """Whichever of the two did not hear its answer, and however often that is said."""
    async with a_world() as world:
        await world.ask(admit())
        await world.ask(admit(attempt=2))
        not_heard(world, unheard, unheard, 3)
        await world.pass_time(seconds=5)

        assert world.held() == 280


@in_virtual_time
async def test_an_attempt_that_never_came_takes_nothing_from_a_later_one() -> None:
    """Its owner died before it; a repeat was admitted before that came through."""
    async with a_world() as world:
        await world.ask(admit(attempt=2))
        not_heard(world, 1)
        await world.pass_time(seconds=5)

        assert world.held() == 280


@in_virtual_time
async def test_an_attempt_that_is_not_heard_any_more_is_no_reason_to_keep() -> None:
    """Its asker is gone, which the owner's side of the channel has not noticed yet."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit())
        not_heard(world, 1)
        await world.pass_time(seconds=1)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        assert world.held() == 0


@in_virtual_time
async def test_who_is_cancelled_in_the_turn_of_its_answer_did_not_hear_it() -> None:
    """The first was told no; the repeat is cancelled just when it is told yes."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        [repeat] = await world.asking(admit(attempt=2))
        count = world.node.count_answer

        def cancel_too(envelope: object, answer: Answer) -> None:
            count(envelope, answer)  # type: ignore[arg-type]  # it is one
            if answer.outcome is Outcome.REPEATED:
                repeat.cancel()

        world.node.count_answer = cancel_too  # type: ignore[method-assign]
        world.ledger.let_commits_go()
        await world.pass_time(seconds=2)

        assert repeat.cancelled()
        assert world.held() == 0


@in_virtual_time
@pytest.mark.parametrize("other", [extend(seconds=60, key="more"), kill(key="end")])
async def test_another_command_about_the_call_wants_no_hold(other: Ask) -> None:
    """A repeated extension that waits for its answer is no attempt at the hold."""
    async with a_world() as world:
        await world.ask(admit())
        await world.ask(other)
        world.ledger.hold_commits()
        await world.asking(charge(1, key="first"), other)
        not_heard(world, 1)
        await world.pass_time(seconds=0.5)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        assert (world.held(), world.actor().late, world.actor().takers) == (0, {}, {})


@in_virtual_time
async def test_saying_it_again_leaves_nothing_behind() -> None:
    """Four errands for one call: the first frees it, the others find that done."""
    async with a_world() as world:
        await world.ask(admit())
        world.ledger.hold_commits()
        not_heard(world, 1, 1, 1, 1)
        await world.pass_time(seconds=1)
        world.ledger.let_commits_go()
        await world.pass_time(seconds=5)

        actor = world.actor()
        assert (world.held(), actor.late, actor.takers, world.node.shards.errands) == (
            0,
            {},
            {},
            {},
        )


@in_virtual_time
async def test_thousands_of_attempts_that_were_not_heard() -> None:
    """A node that was asked for many is lost: each hold is given back."""
    orgs = [f"org-{number}" for number in range(1500)]
    async with a_world(orgs=orgs) as world:
        _, router = membership(world)
        for org_id in orgs:
            await world.ask(admit(f"call-{org_id}", org_id=org_id))
            router.unheard(admit(f"call-{org_id}", org_id=org_id), None)
        await world.pass_time(seconds=20)

        assert sum(world.held(org_id) for org_id in orgs) == 0


@in_virtual_time
async def test_a_release_that_is_refused_for_good_holds_up_nobody() -> None:
    """The wallet goes on beside it; it is tried again and again."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        world.ledger.poison = {"release:call-1"}
        world.ledger.let_commits_go()
        await world.pass_time(seconds=10)

        for number in range(20):
            await world.ask(charge(1, key=f"key-{number}"), timeout_s=0.3)
            await world.pass_time(seconds=0.13)

        assert world.held() == 280
        world.ledger.poison = set()
        await world.pass_time(seconds=5)
        assert world.held() == 0


@in_virtual_time
async def test_the_last_node_does_not_wait_for_an_heir() -> None:
    """Nobody is there who could give the hold back: it ends at once, and the hold expires."""
    async with a_world() as world:
        own, router = membership(world)
        for _ in range(3):
            await own._round()
        world.node.ownership, world.node.reach = own, router.ask
        world.ledger.hold_commits()
        [asked] = await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        assert isinstance(asked.exception(), DeadlinePassed)
        await own.leave()
        stopping = asyncio.create_task(world.node.stop(grace_s=20.0))
        await world.pass_time(seconds=0.1)
        began_s = world.clock.elapsed_s
        world.ledger.let_commits_go()
        await stopping

        assert world.clock.elapsed_s - began_s < 1  # of virtual time
        world.node._tasks = []  # it is stopped


@in_virtual_time
@pytest.mark.parametrize(("unheard", "held"), [(1, 0), (2, 280), (0, 0)])
async def test_a_hold_of_an_earlier_owner_goes_with_who_opened_it(unheard: int, held: int) -> None:
    """Whom that one told yes is not known: a repeat that was not heard is no reason to free it."""
    async with a_world(limits=Limits(tenure_ms=0)) as world:
        await world.ledger.take_over(ORG, admit())
        world.node.shards.errand(release_of(ORG, "call-1", unheard=unheard))
        await world.pass_time(seconds=1)

        assert world.held() == held


@in_virtual_time
async def test_a_hold_of_an_earlier_owner_stays_with_a_repeat_that_was_heard() -> None:
    """Who opened it did not hear, a repeat did, here; then that one did not either."""
    async with a_world(limits=Limits(tenure_ms=0)) as world:
        await world.ledger.take_over(ORG, admit())
        assert (await world.ask(admit(attempt=2))).outcome is Outcome.REPEATED
        not_heard(world, 1)
        await world.pass_time(seconds=1)
        assert world.held() == 280

        not_heard(world, 2)
        await world.pass_time(seconds=1)
        assert world.held() == 0


@in_virtual_time
async def test_what_cannot_be_looked_up_does_not_pile_up() -> None:
    """The timers ask each second, the ledger refuses: it is not asked more and more often."""
    async with a_world(limits=Limits(sweep_s=1e6)) as world:
        await world.ask(admit())
        world.node.ownership = Held(lapsed=1.0)
        world.ledger.poisoned_probes = {""}
        await world.pass_time(seconds=300)
        before = len(world.ledger.probed)
        await world.pass_time(seconds=60)

        assert len(world.ledger.probed) - before <= 3 * 60
        world.ledger.poisoned_probes = set()


@in_virtual_time
async def test_who_leaves_gives_back_only_what_nobody_is_about_to_hear_of() -> None:
    """A repeat waits behind a write when the wallet leaves, and is told yes: its hold stays."""
    async with a_world() as world:
        await world.ask(charge(1, key="warm"))
        world.ledger.hold_commits()
        await world.asking(admit(), timeout_s=0.2)
        await world.pass_time(seconds=0.3)
        [repeat] = await world.asking(admit(attempt=2))
        asked: list[Ask] = []

        async def reach(ask: Ask, *, timeout_s: float) -> Answer:
            assert timeout_s > 0
            asked.append(ask)
            return Answer(Outcome.ANSWERED, {})

        world.node.reach = reach
        world.node.shards.lost({world.actor().shard: "node-2:boot-2"})
        world.ledger.let_commits_go()
        await world.pass_time(seconds=2)

        assert repeat.result().outcome is Outcome.REPEATED
        assert not [ask for ask in asked if isinstance(ask, Release)]
        assert world.held(ORG) == 280
