"""The traps of SPEC §11 that the engine alone can show: each test would have caught its trap."""

import asyncio
from typing import get_type_hints

import pytest

from wallet_engine.commands import Command, Proof
from wallet_engine.journal import Answer, Outcome, RefusalCode, entry_answer
from wallet_engine.limits import Limits
from wallet_engine.settings import CapPolicy, Settings
from wallet_engine.views import check_call, look
from wallet_engine.wallet import Entry, Hold
from wallet_testing.book import Book, entered, refused
from wallet_testing.builders import (
    BY_MINUTE,
    ORG,
    T0_MS,
    admit,
    buy,
    charge,
    check,
    commit,
    credit,
    expire,
    extend,
    heard,
    hold,
    kill,
    release,
    reserve,
    wallet,
)
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import a_world

FORGETFUL = Limits(remembered_keys=0)
UNCAPPED = Settings(cap_policy=CapPolicy.MAX_CALL)


# --- of the system this replaces -----------------------------------------------------------


@pytest.mark.parametrize("seconds", [300, 301, 600, 3600])
def test_the_charge_is_not_capped_at_the_hold(seconds: int) -> None:
    """A call longer than its hold is charged in full."""
    book = Book(10_000)
    book.do(reserve())

    book.do(commit(seconds=seconds))

    assert 10_000 - book.wallet.balance_pence == BY_MINUTE.cost_pence(seconds)


@pytest.mark.parametrize("limits", [Limits(), FORGETFUL], ids=["remembered", "forgotten"])
@in_virtual_time
async def test_a_replay_does_not_charge_twice(limits: Limits) -> None:
    """The duplicate is noticed before the wallet is debited."""
    async with a_world(1000, limits=limits) as world:
        for command in (charge(100, key="k"), commit(seconds=60)):
            answers = [await world.ask(command) for _ in range(3)]
            assert [answer.body["duplicate"] for answer in answers] == [False, True, True]

        assert world.balance() == 1000 - 100 - 56


@pytest.mark.parametrize("limits", [Limits(), FORGETFUL], ids=["remembered", "forgotten"])
@in_virtual_time
async def test_the_key_is_checked_before_the_balance(limits: Limits) -> None:
    """The replay of a success is a success, on the wallet that it emptied."""
    async with a_world(1000, limits=limits) as world:
        await world.ask(buy(1000, key="k"))

        again = await world.ask(buy(1000, key="k"))

        assert (again.outcome, world.balance()) == (Outcome.REPEATED, 0)


def test_the_first_event_does_not_swallow_the_report() -> None:
    """`ended` and the report are two words about one call: the better one corrects."""
    book = Book(1000)
    book.do(admit())
    book.do(heard(seconds=60, proof=Proof.ENDED))

    book.do(heard(seconds=90, proof=Proof.REPORT))

    assert book.wallet.balance_pence == 1000 - 112


def test_the_kill_switch_does_not_count_the_calls_own_hold_against_it() -> None:
    """All the money is in the hold, and the call is paid for."""
    told = check_call(
        wallet(280, holds=[hold(pence=280)]),
        check(seconds=10),
        None,
        fleet_stopped=False,
        now_ms=T0_MS,
    )

    assert told["end_call"] is False


@pytest.mark.parametrize(("elapsed", "end"), [(299, False), (300, True)])
def test_the_kill_switch_counts_elapsed_time(elapsed: int, end: bool) -> None:
    """The same balance is enough at one moment and gone at the next."""
    told = check_call(
        wallet(280, holds=[hold(pence=280)]),
        check(),
        None,
        fleet_stopped=False,
        now_ms=T0_MS + elapsed * 1000,
    )

    assert told["end_call"] is end


def test_a_call_whose_hold_expired_is_billed() -> None:
    """The hold expired under a live call: it is charged all the same, in full."""
    book = Book(5000)
    book.do(reserve())
    book.pass_time(seconds=1800)
    entered(book.do(expire()))

    book.do(heard(seconds=1900))

    assert 5000 - book.wallet.balance_pence == BY_MINUTE.cost_pence(1900)


def test_there_is_one_tariff() -> None:
    """90 seconds cost 112 pence, whichever way somebody asks what they cost."""
    with_hold, without, adjusted = Book(1000), Book(1000), Book(1000)
    with_hold.do(reserve())
    adjusted.do(heard(seconds=1, proof=Proof.ENDED))
    state = wallet(1000, holds=[hold(pence=280)])
    told = check_call(state, check(seconds=90), None, fleet_stopped=False, now_ms=T0_MS)
    seen = look(state, now_ms=T0_MS + 90_000)

    with_hold.do(commit(seconds=90))
    without.do(commit(seconds=90))
    adjusted.do(heard(seconds=90))

    assert BY_MINUTE.cost_pence(90) == 112
    assert [1000 - one.wallet.balance_pence for one in (with_hold, without, adjusted)] == [112] * 3
    assert told["accrued_pence"] == 112
    assert seen["runs_dry_at_ms"] == T0_MS + 90_000 + (1000 - 112) * 60_000 // 56
    assert entered(Book(1000).do(reserve(minutes=2))).held_delta_pence == 112


def test_a_key_is_not_made_afresh_for_each_attempt() -> None:
    """Two attempts at one thing have one key, with nothing of the clock or of chance in it."""
    for make in (reserve, release, kill, expire):
        assert make("call-1").key == make("call-1").key
    assert commit(seconds=1).key == commit(seconds=2).key


# --- of others -----------------------------------------------------------------------------


@in_virtual_time
async def test_thirty_calls_do_not_start_on_the_money_for_one() -> None:
    """They ring at the same time, while nothing of it is durable yet."""
    async with a_world(280 + 78) as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(admit(f"call-{number}") for number in range(30)))
        world.ledger.let_commits_go()

        answers = await asyncio.gather(*asked)

        outcomes = [answer.outcome for answer in answers]
        assert outcomes.count(Outcome.CREATED) == 1
        assert outcomes.count(Outcome.REFUSED) == 29
        assert world.held() == 280


@in_virtual_time
async def test_a_cancelled_request_leaves_no_hold_behind() -> None:
    """Nor is it counted twice: cancelled at any moment, the money is free again."""
    async with a_world(1000) as world:
        for number in range(5):
            world.ledger.hold_commits()
            [asked] = await world.asking(admit(f"call-{number}"))
            asked.cancel()
            await world.quiet()
            world.ledger.let_commits_go()
            await world.quiet()

        assert (world.held(), world.balance()) == (0, 1000)


@pytest.mark.parametrize("fault", list(Fault))
@in_virtual_time
async def test_a_write_whose_answer_was_lost_is_not_repeated(fault: Fault) -> None:
    """Whatever became of it, the wallet is charged once and the caller hears so."""
    async with a_world(1000) as world:
        world.ledger.next_commits(fault)

        answer = await world.ask(charge(100, key="k"))

        assert answer.body["duplicate"] is False
        assert [entry.key for entry in world.journal()][1:] == ["client:k"]
        assert world.balance() == 900


def test_a_refused_hold_is_not_settled() -> None:
    """What was refused released nothing: the call that happened all the same is billed."""
    book = Book(78)
    refused(book.do(reserve()))

    body = book.ask(commit(seconds=60)).body

    assert (body["charged_pence"], body["released_pence"]) == (56, 0)
    assert book.wallet.held_pence == 0


@in_virtual_time
async def test_two_settlements_do_not_read_the_same_remainder() -> None:
    """They come within the same moment: one is charged, the other is its duplicate."""
    async with a_world(1000) as world:
        await world.ask(admit())
        world.ledger.hold_commits()
        asked = await world.asking(heard(seconds=60), heard(seconds=60), heard(seconds=61))
        world.ledger.let_commits_go()

        answers = await asyncio.gather(*asked)

        assert [answer.body["duplicate"] for answer in answers] == [False, True, True]
        assert (world.balance(), world.held()) == (944, 0)


@in_virtual_time
async def test_when_the_call_is_cut_billing_stops() -> None:
    """After the kill nothing more is set aside, and only the real seconds are charged."""
    async with a_world(1000, settings=UNCAPPED) as world:
        await world.ask(admit())
        await world.until(seconds=100)
        await world.ask(kill(key="k"))
        await world.until(seconds=500)
        assert world.held() == 280

        await world.ask(heard(seconds=101))

        assert (world.balance(), world.held()) == (1000 - 112, 0)


def test_the_minimum_charge_is_in_the_admission_check() -> None:
    """A first increment that costs more than the minimum balance is required whole."""
    settings = Settings(first_increment_seconds=120, min_call_balance_pence=79)

    assert refused(Book(111, settings=settings).do(reserve())).fields["required_pence"] == 112
    book = Book(112, settings=settings)
    book.do(reserve())
    book.do(commit(seconds=1))
    assert book.wallet.balance_pence == 0


@pytest.mark.parametrize("cancel", [release(), kill(key="k"), commit(seconds=0)])
def test_a_cancel_before_the_write_that_it_cancels(cancel: Command) -> None:
    """The hold that comes after its end is not opened."""
    book = Book(1000)
    entered(book.do(cancel))

    assert refused(book.do(reserve())).code is RefusalCode.CALL_ENDED
    assert book.wallet.held_pence == 0


@in_virtual_time
async def test_one_payment_is_not_settled_twice_within_milliseconds() -> None:
    """Two webhooks of one payment carry one key: one credit, however close they come."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(*(credit(500, key="payment-1") for _ in range(4)))
        world.ledger.let_commits_go()
        await asyncio.gather(*asked)

        assert world.balance() == 1500


@in_virtual_time
async def test_a_failed_request_does_not_burn_its_key() -> None:
    """Refused for want of money, it succeeds under the same key a moment later."""
    async with a_world(100) as world:
        assert (await world.ask(buy(1000, key="k"))).outcome is Outcome.REFUSED
        await world.ask(credit(1000))

        assert (await world.ask(buy(1000, key="k"))).outcome is Outcome.CREATED


def test_money_is_never_a_float() -> None:
    """No field of a hold, an entry or an answer can hold one, and no answer does."""
    for shape in (Hold, Entry):
        hints = get_type_hints(shape)
        assert {hints[name] for name in hints if name.endswith("_pence")} == {int}
    book = Book(1000)
    answers: list[Answer] = [
        book.ask(command)
        for command in (admit(), extend(seconds=61), commit(ms=42_700), charge(1), buy(9999))
    ]
    answers.append(entry_answer(book.journal[-1], outcome=Outcome.REPEATED))
    for answer in answers:
        assert not [value for value in answer.body.values() if isinstance(value, float)]


@in_virtual_time
async def test_a_stolen_wallet_is_not_written_by_its_old_owner() -> None:
    """The second owner's rows stand, and ours come after them."""
    async with a_world(1000) as world:
        world.ledger.hold_commits()
        asked = await world.asking(buy(700, key="ours"))
        await world.ledger.take_over(ORG, buy(700, key="theirs"))
        world.ledger.let_commits_go()

        [answer] = await asyncio.gather(*asked)

        assert answer.outcome is Outcome.REFUSED
        assert world.balance() == 300
