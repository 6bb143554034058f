"""The prober: nothing is decided about a key or a call that the actor does not know."""

import asyncio

from wallet_engine.errors import LedgerFault
from wallet_engine.journal import Outcome, RefusalCode
from wallet_engine.limits import Limits
from wallet_testing.builders import ORG, buy, charge, check, commit, kill, look, release, reserve
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world

FORGETFUL = Limits(remembered_keys=0)
"""What is durable is forgotten at once, so every key and call is looked up."""


@in_virtual_time
async def test_an_old_key_is_looked_up() -> None:
    """A key that left memory is found in the journal: the first answer again."""
    async with a_world(limits=FORGETFUL) as world:
        first = await world.ask(charge(100, key="old"))
        world.ledger.probed.clear()

        again = await world.ask(charge(100, key="old"))

        assert again.body == {**first.body, "duplicate": True}
        assert [probe.key for group in world.ledger.probed for probe in group] == ["client:old"]


@in_virtual_time
async def test_a_refusal_does_not_hide_a_success() -> None:
    """What was bought with the last money is a success for ever, on an empty wallet too."""
    async with a_world(1000, limits=FORGETFUL) as world:
        await world.ask(buy(1000, key="old"))

        again = await world.ask(buy(1000, key="old"))
        other = await world.ask(buy(1001, key="old"))

        assert (again.outcome, again.body["duplicate"]) == (Outcome.REPEATED, True)
        assert other.code is RefusalCode.KEY_REUSE
        assert (await world.ask(buy(1000, key="new"))).outcome is Outcome.REFUSED


@in_virtual_time
async def test_an_ended_call_is_looked_up() -> None:
    """A call that left memory is settled once, and is no call to admit or release."""
    async with a_world(limits=FORGETFUL) as world:
        await world.ask(commit("direct", seconds=60))

        assert (await world.ask(reserve("direct"))).code is RefusalCode.CALL_ENDED
        assert (await world.ask(release("direct"))).code is RefusalCode.CALL_ENDED
        assert (await world.ask(commit("direct", seconds=60))).outcome is Outcome.REPEATED
        assert world.balance() == 944


@in_virtual_time
async def test_a_whole_memory_needs_no_look_up() -> None:
    """As long as the whole journal of a wallet is remembered, what is not there is nowhere."""
    async with a_world() as world:
        world.ledger.probed.clear()
        for ask in (reserve(), check(), commit(seconds=1), check(), charge(1), look()):
            await world.ask(ask)

        assert world.ledger.probed == []


@in_virtual_time
async def test_operations_on_a_live_hold_need_no_look_up() -> None:
    """That it is live proves that it was neither settled, nor released, nor expired."""
    async with a_world(limits=FORGETFUL) as world:
        for call_id in ("a", "b"):
            await world.ask(reserve(call_id))
        world.ledger.probed.clear()

        await world.ask(check("a"))
        await world.ask(commit("a", seconds=1))
        await world.ask(release("b"))

        assert world.ledger.probed == []


@in_virtual_time
async def test_who_waits_is_looked_up_together() -> None:
    """One query for all keys that came while the last one was under way."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.probed.clear()
        world.ledger.hold_probes()
        asked = await world.asking(charge(1, key="first"))
        asked += await world.asking(*(charge(1, key=f"k{number}") for number in range(9)))
        world.ledger.let_probes_go()
        await asyncio.gather(*asked)

        assert [len(group) for group in world.ledger.probed] == [1, 9]


@in_virtual_time
async def test_the_same_unknown_key_at_the_same_time() -> None:
    """Both look-ups find nothing, and still only one is decided."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        asked = await world.asking(*(charge(100, key="k") for _ in range(3)))
        world.ledger.let_probes_go()

        answers = await asyncio.gather(*asked)

        assert [answer.body["duplicate"] for answer in answers] == [False, True, True]
        assert world.balance() == 900


@in_virtual_time
async def test_a_look_up_that_is_refused_fails_only_its_asker() -> None:
    """One bad probe does not spoil those that were asked with it."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.poisoned_probes = {"client:bad"}
        world.ledger.hold_probes()
        asked = await world.asking(*(charge(1, key=key) for key in ("one", "bad", "two")))
        world.ledger.let_probes_go()

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert isinstance(results[1], LedgerFault)
        assert world.balance() == 998


@in_virtual_time
async def test_look_ups_are_bounded() -> None:
    """A query asks for so many at most; the others follow in the next ones."""
    async with a_world(limits=Limits(remembered_keys=0, probe_batch=4)) as world:
        world.ledger.probed.clear()
        asked = await world.asking(*(charge(1, key=f"k{number}") for number in range(10)))
        await asyncio.gather(*asked)

        assert [len(group) for group in world.ledger.probed] == [4, 4, 2]
        assert world.balance() == 990


@in_virtual_time
async def test_a_busy_ledger_is_asked_again() -> None:
    """The look-up waits until the ledger works, and then the command is decided."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.away = True
        [asked] = await world.asking(charge(100, key="k"))
        await world.pass_time(seconds=1)
        assert not asked.done()
        world.ledger.away = False

        answer = await asked

        assert (answer.outcome, world.balance()) == (Outcome.CREATED, 900)


@in_virtual_time
async def test_what_is_decided_during_a_look_up_counts() -> None:
    """A key was decided, stored and forgotten after its second look-up had found nothing."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_commits()
        world.ledger.hold_probes()
        asked = await world.asking(charge(100, key="k"))
        asked += await world.asking(charge(100, key="k"))
        world.ledger.let_probes_go()
        world.ledger.hold_probes()
        await world.quiet()
        assert world.actor().pending
        world.ledger.let_commits_go()
        await asked[0]
        world.ledger.let_probes_go()

        assert (await asked[1]).outcome is Outcome.REPEATED
        assert world.balance() == 900


@in_virtual_time
async def test_a_reload_during_a_look_up_makes_it_new() -> None:
    """What was found under an older ownership is not believed: it is looked up again."""
    async with a_world(limits=FORGETFUL) as world:
        world.ledger.hold_probes()
        [asked] = await world.asking(charge(100, key="k"))
        await world.ledger.take_over(ORG, charge(100, key="k"))
        world.actor().doubt()
        await world.quiet()
        world.ledger.let_probes_go()

        answer = await asked

        assert (answer.outcome, world.balance()) == (Outcome.REPEATED, 900)


@in_virtual_time
async def test_what_became_durable_during_a_look_up_is_seen() -> None:
    """The look-up saw a live call; meanwhile it was settled, stored and forgotten."""
    async with a_world(limits=FORGETFUL) as world:
        await world.ask(reserve())
        world.ledger.hold_probes()
        [killed] = await world.asking(kill(key="k"))
        await world.ask(commit(seconds=60))
        world.ledger.let_probes_go()

        answer = await killed

        assert answer.code is RefusalCode.CALL_ENDED
        assert world.types() == ["reservation", "call_deduction"]
