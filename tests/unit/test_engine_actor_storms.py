"""Storms: many callers, impatient and cancelled ones, on a ledger that fails in every way.

Each storm is made from its seed alone, so a red one is red again.  In the end the ledger is
well, and then everything must add up: what was answered is stored, once, as it was answered.
"""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from wallet_engine.commands import Ask, Command, Commit, Reserve
from wallet_engine.deadlines import ends_ms
from wallet_engine.errors import DeadlinePassed, LedgerFault, LedgerUnavailable, Overloaded
from wallet_engine.journal import Answer, Outcome, entry_answer
from wallet_engine.limits import Limits
from wallet_testing.builders import (
    admit,
    buy,
    charge,
    check,
    credit,
    extend,
    kill,
    look,
    release,
    resume,
    suspend,
)
from wallet_testing.ledgers import Fault
from wallet_testing.virtual_time import in_virtual_time
from wallet_testing.world import World, a_world

ORGS = ("org-1", "org-2", "org-3")
ROUNDS = 40
FORGIVEN = (DeadlinePassed, LedgerFault, LedgerUnavailable, Overloaded)
"""What a caller may hear when the ledger fails; anything else is a bug."""


@dataclass
class Storm:
    """One storm: who asked what, and heard what."""

    world: World
    luck: random.Random
    asked: list[tuple[Ask, asyncio.Task[Answer]]] = field(default_factory=list)

    def some_ask(self) -> Ask:
        luck = self.luck
        org_id = luck.choice(ORGS)
        call_id = f"{org_id}-call-{luck.randrange(6)}"
        key = f"k{luck.randrange(30)}"
        asks: list[Ask] = [
            charge(luck.randrange(1, 300), key=key, org_id=org_id),
            buy(luck.randrange(1, 800), key=key, org_id=org_id),
            credit(luck.randrange(1, 500), key=key, org_id=org_id),
            admit(call_id, org_id=org_id),
            admit(call_id, org_id=org_id),
            admit(call_id, org_id=org_id, give_back=False),
            extend(call_id, org_id=org_id, seconds=luck.randrange(1, 200)),
            Commit(
                org_id=org_id,
                call_id=call_id,
                actual_ms=luck.randrange(0, 400_000),
                strict=False,
            ),
            release(call_id, org_id=org_id),
            kill(call_id, org_id=org_id, key=key),
            suspend(key=key, org_id=org_id),
            resume(key=key, org_id=org_id),
            resume(key=key, org_id=org_id),
            check(call_id, org_id=org_id),
            look(org_id=org_id),
        ]
        return luck.choice(asks)

    async def blow(self) -> None:
        """Let one thing go wrong, and ask a few things."""
        world, luck = self.world, self.luck
        match luck.randrange(10):
            case 0:
                world.ledger.next_commits(luck.choice(list(Fault)))
            case 1:
                world.ledger.hold_commits()
            case 2:
                world.ledger.hold_probes()
            case 3:
                world.ledger.away = True
            case 4:
                world.ledger.poison = {f"client:k{luck.randrange(30)}"}
            case 5:
                await self.steal()
            case 6 if self.asked:
                luck.choice(self.asked)[1].cancel()
            case 7:
                world.ledger.let_probes_go()
            case _:
                self.calm()
        for _ in range(luck.choice((0, 1, 3, 10))):
            ask = self.some_ask()
            timeout_s = luck.choice((0.02, 0.3, 5.0, 60.0))
            self.asked += zip([ask], await world.asking(ask, timeout_s=timeout_s), strict=True)
        await world.pass_time(seconds=luck.choice((0.0, 0.01, 0.1, 0.5, 2.0, 15.0, 60.0)))

    async def steal(self) -> None:
        """Let a second owner take a wallet, write, and perhaps keep it for a while."""
        org_id = self.luck.choice(ORGS)
        key = f"theirs-{self.luck.random()}"
        theirs = credit(1, key=key, org_id=org_id)
        await self.world.ledger.take_over(org_id, theirs, keep=self.luck.random() < 0.5)

    def calm(self) -> None:
        """Let the ledger work again."""
        self.world.ledger.away = False
        self.world.ledger.poison = set()
        self.world.ledger.let_commits_go()
        self.world.ledger.let_probes_go()

    def heard(self) -> list[tuple[Command, Answer]]:
        """Return what callers heard of their commands."""
        return [
            (ask, task.result())
            for ask, task in self.asked
            if isinstance(ask, Command) and not task.cancelled() and not task.exception()
        ]


def what_was_answered_is_stored(storm: Storm) -> None:
    created: set[tuple[str, object]] = set()
    for command, answer in storm.heard():
        if answer.outcome not in (Outcome.CREATED, Outcome.REPEATED):
            continue
        seq = answer.body["seq"]
        assert isinstance(seq, int)
        entry = storm.world.journal(command.org_id)[seq - 1]
        assert answer == entry_answer(entry, outcome=answer.outcome)
        if answer.outcome is Outcome.CREATED:
            assert (command.org_id, seq) not in created, "two callers were told it was theirs"
            created.add((command.org_id, seq))


def money_adds_up(storm: Storm) -> None:
    for org_id in ORGS:
        journal = storm.world.journal(org_id)
        assert sum(entry.amount_pence for entry in journal) == storm.world.balance(org_id)
        row = storm.world.ledger.rows[org_id]
        live = [hold for hold in row.holds.values() if hold.active]
        assert sum(hold.reserved_pence for hold in live) == row.held_pence


def nobody_holds_money_for_a_no(storm: Storm) -> None:
    told_yes = {
        (command.org_id, command.call_id)
        for command, answer in storm.heard()
        if isinstance(command, Reserve) and answer.outcome is not Outcome.REFUSED
    }
    told_to_come_back = {
        (ask.org_id, ask.call_id)
        for ask, _ in storm.asked
        if isinstance(ask, Reserve) and not ask.give_back
    }
    for org_id in ORGS:
        for hold in storm.world.ledger.rows[org_id].holds.values():
            if hold.active:
                assert (org_id, hold.call_id) in told_yes | told_to_come_back


def nobody_was_charged_for_a_no(storm: Storm) -> None:
    """A key under which everybody was refused is not in the journal."""
    heard: dict[tuple[str, str], set[Outcome | None]] = {}
    for ask, task in storm.asked:
        if isinstance(ask, Command) and ask.key:
            answered = not task.cancelled() and not task.exception()
            outcome = task.result().outcome if answered else None
            heard.setdefault((ask.org_id, ask.key), set()).add(outcome)
    for (org_id, key), outcomes in heard.items():
        if outcomes == {Outcome.REFUSED}:
            assert key not in storm.world.ledger.rows[org_id].keys


def memory_is_what_is_stored(storm: Storm) -> None:
    for org_id in ORGS:
        row = storm.world.ledger.rows[org_id]
        wallet = storm.world.actor(org_id)._state()
        assert (wallet.seq, wallet.balance_pence) == (row.seq, row.balance_pence)
        assert wallet.holds == {key: hold for key, hold in row.holds.items() if hold.active}


def nobody_talks_unpaid(storm: Storm) -> None:
    """Whoever is past the paid time was told to end; whoever was told is in the journal."""
    world = storm.world
    told = {one.call_id for one in world.effects.killed}
    for org_id in ORGS:
        for hold in world.ledger.rows[org_id].holds.values():
            if hold.active and hold.managed:
                over = world.clock.now_ms() > ends_ms(hold, hold.opened_ms) + 1000
                assert hold.killed or not over
                assert hold.call_id in told or not hold.killed
            if hold.active and not hold.killed:
                assert hold.call_id not in told


async def weather(seed: int) -> list[str]:
    """Let one storm blow, check what it left, and return what went wrong in it."""
    luck = random.Random(seed)
    limits = Limits(
        remembered_keys=luck.choice((0, 1, 64)),
        idle_s=luck.choice((1.0, 10.0)),
        tenure_ms=luck.choice((0, 300)),
        batch_entries_per_wallet=luck.choice((1, 3, 256)),
        probe_batch=luck.choice((1, 512)),
        mailbox_per_wallet=luck.choice((2, 1024)),
    )
    async with a_world(2000, orgs=ORGS, limits=limits) as world:
        storm = Storm(world, luck)
        for _ in range(ROUNDS):
            await storm.blow()
        storm.calm()
        await world.pass_time(seconds=70)

        found = [task.exception() for _, task in storm.asked if not task.cancelled()]
        errors = [type(error) for error in found if error]
        assert set(errors) <= set(FORGIVEN)
        assert (world.node.counts().waiting, world.node.counts().undurable) == (0, 0)
        what_was_answered_is_stored(storm)
        money_adds_up(storm)
        nobody_holds_money_for_a_no(storm)
        nobody_was_charged_for_a_no(storm)
        nobody_talks_unpaid(storm)
        for org_id in ORGS:  # whoever was fenced by the second owner hears of it when it writes
            last = await world.ask(credit(1, key="last", org_id=org_id))
            assert last.outcome is Outcome.CREATED
        memory_is_what_is_stored(storm)
        codes = [code for _, _, code in world.stats.answers]
        return [*world.stats.causes, *codes, *(error.__name__ for error in errors)]


@pytest.mark.parametrize("seed", range(16))
@in_virtual_time
async def test_a_storm(seed: int) -> None:
    """Whatever happened, in the end everyone is answered and everything adds up."""
    await weather(seed)


@in_virtual_time
async def test_storms_are_rough() -> None:
    """A storm in which nothing goes wrong proves nothing: everything does, now and then."""
    seen = {cause for seed in range(100, 108) for cause in await weather(seed)}

    assert seen >= {
        "fence",
        "taken",
        "unknown",
        "lost_answer_committed",
        "lost_answer_not_committed",
        "poison",
        "busy",
        "DeadlinePassed",
        "LedgerFault",
        "LedgerUnavailable",
        "Overloaded",
        "insufficient_credits",
        "idempotency_key_reuse",
        "call_ended",
        "wallet_suspended",
    }
