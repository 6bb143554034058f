"""The rules under any sequence of commands: what must always hold of a wallet's money.

The machine asks whatever comes to its mind, repeats itself with the same and with other bodies,
reports late, kills, claws back, changes settings, suspends and lets time pass.  What it knows
of the money it counts by itself, from the commands that were accepted.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wallet_engine.commands import (
    AssetType,
    Command,
    Commit,
    Credit,
    CreditType,
    Deduct,
    Kill,
    Proof,
    Reserve,
    SpendClass,
)
from wallet_engine.journal import Refusal, RefusalCode, Replay
from wallet_engine.settings import CapPolicy, Settings
from wallet_engine.tariff import whole_seconds
from wallet_engine.wallet import Entry, HoldStatus, Wallet, evolve
from wallet_testing.book import Book, Seen, seen
from wallet_testing.builders import (
    ORG,
    buy,
    change_settings,
    charge,
    commit,
    credit,
    expire,
    extend,
    kill,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)
from wallet_testing.repeatable import repeatable

PAST_THE_FLOOR = frozenset({CreditType.ADJUSTMENT, CreditType.CLAWBACK})

calls = st.sampled_from(["a", "b", "c", "d"])
keys = st.sampled_from([f"k{number}" for number in range(12)])
amounts = st.one_of(st.sampled_from([1, 55, 56, 79, 280, 500]), st.integers(1, 1500))
durations = st.one_of(st.sampled_from([0, 1, 60_000, 60_001, 300_000]), st.integers(0, 2_000_000))
proofs = st.sampled_from(Proof)
changes = st.fixed_dictionaries(
    {},
    optional={
        "rate_pence_per_minute": st.sampled_from([None, 0, 1, 56, 600]),
        "first_increment_seconds": st.sampled_from([None, 1, 30, 60]),
        "increment_seconds": st.sampled_from([None, 1, 6, 60]),
        "hold_minutes": st.sampled_from([None, 1, 5]),
        "min_call_balance_pence": st.sampled_from([None, 0, 79]),
        "debt_limit_pence": st.sampled_from([None, 0, 1, 500, 2000]),
        "cap_policy": st.sampled_from([None, CapPolicy.MAX_CALL]),
        "max_concurrent_calls": st.sampled_from([None, 1, 2]),
        "prepaid_billing": st.sampled_from([None, True, False]),
    },
)


class AnyWallet(RuleBasedStateMachine):
    """One wallet, and what is known of it from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.paid_in = 0
        self.charged_directly = 0
        self.costs: dict[str, int] = {}
        self.accepted: list[Command] = []

    @initialize(balance=st.integers(0, 3000))
    def open(self, balance: int) -> None:
        if balance:
            self.run(credit(balance, key="opening"))

    # --- what is asked ----------------------------------------------------------------------

    @rule(call_id=calls, managed=st.booleans(), minutes=st.sampled_from([None, 1, 10]))
    def reserve(self, call_id: str, managed: bool, minutes: int | None) -> None:
        self.run(reserve(call_id, managed=managed, minutes=minutes, strict=not managed))

    @rule(call_id=calls, pence=amounts)
    def hold_pence(self, call_id: str, pence: int) -> None:
        self.run(reserve(call_id, pence=pence))
        self.run(extend(call_id, pence=pence))

    @rule(call_id=calls, seconds=st.integers(1, 400), key=st.one_of(st.none(), keys))
    def extend(self, call_id: str, seconds: int, key: str | None) -> None:
        self.run(extend(call_id, seconds=seconds, key=key))

    @rule(call_id=calls)
    def prolong(self, call_id: str) -> None:
        self.run(prolong(call_id))

    @rule(call_id=calls, ms=durations, proof=proofs, strict=st.booleans())
    def commit(self, call_id: str, ms: int, proof: Proof, strict: bool) -> None:
        self.run(commit(call_id, ms=ms, proof=proof, strict=strict))

    @rule(call_id=calls, pence=st.one_of(st.just(0), amounts))
    def commit_pence(self, call_id: str, pence: int) -> None:
        self.run(commit(call_id, pence=pence))

    @rule(call_id=calls)
    def release(self, call_id: str) -> None:
        self.run(release(call_id))

    @rule(call_id=calls)
    def expire(self, call_id: str) -> None:
        self.run(expire(call_id))

    @rule(call_id=calls, key=st.one_of(st.none(), keys))
    def kill(self, call_id: str, key: str | None) -> None:
        self.run(kill(call_id, key=key))

    @rule(pence=amounts, key=keys)
    def charge(self, pence: int, key: str) -> None:
        self.run(charge(pence, key=key))

    @rule(pence=amounts, key=keys, type_=st.sampled_from(AssetType))
    def buy(self, pence: int, key: str, type_: AssetType) -> None:
        self.run(buy(pence, key=key, type=type_))

    @rule(pence=amounts, key=keys, type_=st.sampled_from(CreditType))
    def credit(self, pence: int, key: str, type_: CreditType) -> None:
        self.run(credit(-pence if type_ is CreditType.CLAWBACK else pence, key=key, type=type_))

    @rule(pence=amounts, key=keys)
    def adjust(self, pence: int, key: str) -> None:
        self.run(credit(-pence, key=key, type=CreditType.ADJUSTMENT))

    @rule(key=keys, lifted=st.booleans())
    def suspend(self, key: str, lifted: bool) -> None:
        self.run(resume(key=key) if lifted else suspend(key=key))

    @rule(changed=changes, key=keys)
    def change_settings(self, changed: dict[str, object], key: str) -> None:
        self.run(change_settings(changed, key=key))

    @rule(stopped=st.booleans())
    def stop_fleet(self, stopped: bool) -> None:
        self.book.fleet_stopped = stopped

    @rule(seconds=st.one_of(st.integers(0, 60), st.sampled_from([-30, 1800, 43_260])))
    def pass_time(self, seconds: int) -> None:
        self.book.pass_time(seconds=seconds)

    @rule(choice=st.integers(0, 10**6))
    def repeat(self, choice: int) -> None:
        """Ask again what was accepted once: the same request is the same answer."""
        if not self.accepted:
            return
        again = self.accepted[choice % len(self.accepted)]
        before = seen(self.book.wallet)
        if again.key:
            decision = self.book.do(again)
            if self.rings_for_an_ended_call(again):
                assert isinstance(decision, Refusal)
                assert decision.code == RefusalCode.CALL_ENDED
            else:
                assert isinstance(decision, Replay), decision
                assert decision.entry == self.book.keys[again.key]
            assert seen(self.book.wallet) == before

    # --- what is decided --------------------------------------------------------------------

    def run(self, command: Command) -> None:
        """Ask, and check this one decision."""
        before = seen(self.book.wallet)
        known = self.book.keys.get(command.key) if command.key else None
        decision = self.book.do(command)
        if not isinstance(decision, Entry):
            assert seen(self.book.wallet) == before, "a refusal or a replay changed something"
            if isinstance(decision, Replay):
                assert decision.entry == known
            elif known is not None:
                expected = RefusalCode.KEY_REUSE
                if self.rings_for_an_ended_call(command):
                    expected = RefusalCode.CALL_ENDED
                assert decision.code == expected
            return
        assert known is None or decision.type == "adjustment"
        self.floor_holds(command, before, decision)
        self.count(command, decision)
        if known is None:
            self.accepted.append(command)

    def rings_for_an_ended_call(self, command: Command) -> bool:
        """Whether a webhook asks again for a call that is over: no money is set aside for it."""
        return (
            isinstance(command, Reserve)
            and not command.strict
            and command.call_id not in self.book.wallet.holds
            and command.key in self.book.keys
        )

    def floor_holds(self, command: Command, before: Seen, entry: Entry) -> None:
        if isinstance(command, Credit) and command.type in PAST_THE_FLOOR:
            return
        effective_before = before.balance_pence - before.held_pence
        effective = entry.balance_after_pence - entry.held_after_pence
        floor = 0
        if isinstance(command, Commit) or (
            isinstance(command, Deduct) and command.spend_class is SpendClass.CALL
        ):
            floor = -before.settings.debt_limit_pence
        assert effective >= min(effective_before, floor)

    def count(self, command: Command, entry: Entry) -> None:
        match command:
            case Credit():
                self.paid_in += command.amount_pence
            case Deduct():
                self.charged_directly += command.amount_pence
            case Commit():
                assert entry.hold is not None
                self.costs[command.call_id] = (
                    command.amount_pence
                    if command.amount_pence is not None
                    else entry.hold.tariff.cost_pence(whole_seconds(command.actual_ms or 0))
                )
            case Kill():
                assert entry.type == "call_kill"
            case _:
                assert entry.amount_pence == 0

    # --- what must always hold --------------------------------------------------------------

    @invariant()
    def the_journal_is_gapless(self) -> None:
        assert [entry.seq for entry in self.book.journal] == list(
            range(1, len(self.book.journal) + 1)
        )

    @invariant()
    def every_key_is_there_once(self) -> None:
        counted = Counter(entry.key for entry in self.book.journal)
        assert all(count == 1 for count in counted.values())
        assert "" not in counted

    @invariant()
    def the_journal_sums_to_the_balance(self) -> None:
        journal, wallet = self.book.journal, self.book.wallet
        assert sum(entry.amount_pence for entry in journal) == wallet.balance_pence
        assert sum(entry.held_delta_pence for entry in journal) == wallet.held_pence

    @invariant()
    def holds_sum_to_what_is_held(self) -> None:
        wallet = self.book.wallet
        assert wallet.held_pence == sum(hold.reserved_pence for hold in wallet.holds.values())
        assert wallet.held_pence >= 0
        assert all(hold.active and hold.due_ms > 0 for hold in wallet.holds.values())

    @invariant()
    def money_in_is_money_out_and_balance(self) -> None:
        collected = sum(self.costs.values()) - sum(
            entry.uncollected_pence for entry in self.book.journal
        )
        assert self.paid_in == self.charged_directly + collected + self.book.wallet.balance_pence

    @invariant()
    def every_call_is_charged_its_cost_once(self) -> None:
        for call_id, cost in self.costs.items():
            rows = [entry for entry in self.book.journal if entry.call_id == call_id]
            charged = -sum(entry.amount_pence for entry in rows)
            uncollected = sum(entry.uncollected_pence for entry in rows)
            assert charged + uncollected == cost
            assert charged >= 0
            assert uncollected >= 0
            hold = self.book.hold_of(call_id)
            assert (hold.committed_pence, hold.uncollected_pence) == (charged, uncollected)
            assert hold.settled_cost_pence == cost
            assert hold.status in (HoldStatus.COMMITTED, HoldStatus.RELEASED)
            assert [row.type for row in rows].count("adjustment") <= 1

    @invariant()
    def calls_without_a_proof_are_not_charged(self) -> None:
        for entry in self.book.journal:
            if entry.call_id is not None and entry.call_id not in self.costs:
                assert entry.amount_pence == 0

    @invariant()
    def the_journal_replays_to_the_wallet(self) -> None:
        defaults = self.book.wallet.defaults
        fresh = Wallet(org_id=ORG, settings=defaults, defaults=defaults)
        for entry in self.book.journal:
            evolve(fresh, entry)
        assert seen(fresh) == seen(self.book.wallet)
        assert self.book.audit() == []

    @invariant()
    def time_never_goes_back(self) -> None:
        times = [entry.at_ms for entry in self.book.journal]
        assert times == sorted(times)


AnyWallet.TestCase.settings = settings(repeatable, max_examples=150, stateful_step_count=40)
TestAnyWallet = AnyWallet.TestCase


class ByTheSecond(AnyWallet):
    """The same with a tariff where every second counts."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(
            settings=replace(Settings(), first_increment_seconds=1, increment_seconds=1)
        )


ByTheSecond.TestCase.settings = settings(repeatable, max_examples=75, stateful_step_count=40)
TestByTheSecond = ByTheSecond.TestCase
