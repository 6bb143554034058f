"""The machine that drives the ledger in memory and the one in Postgres side by side.

Several owners, right and wrong, careful and careless, over several wallets; groups with whatever
can be wrong with a batch; claims of every kind; statements that come late, get lost or are
waited for.  After each step the verdicts and everything that is stored must be the same.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from wallet_engine.ports import Claim, Found, Loaded, Probe, WalletBatch
from wallet_engine.sharding import shard_of
from wallet_engine.wallet import Hold
from wallet_testing.blemishes import BLEMISHES
from wallet_testing.builders import T0_MS, credit
from wallet_testing.minds import Mind
from wallet_testing.suspects import Suspects
from wallet_testing.twins import BOOTS, LOSSY, Twins, Verdict
from wallet_testing.wishes import ORGS, Wish, calls, changes, keys, wishes

HOUR_MS = 3_600_000
TENURES_MS = (0, HOUR_MS // 2, 1000 * HOUR_MS)
"""None of them passes while the machine runs, unless the machine lets hours pass."""

DOOMSDAY_MS = T0_MS + 10_000 * HOUR_MS

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Work = dict[str, list[Wish]]

orgs = st.sampled_from(ORGS)
boots = st.sampled_from(BOOTS)
works = st.dictionaries(orgs, st.lists(wishes, min_size=1, max_size=6), min_size=1, max_size=3)


def _probe(org_id: str, key: str, call_id: str) -> Probe:
    """Return a look-up by somebody who owns the wallet under some epoch, or does not say."""
    return Probe(org_id, key, call_id, epoch=(len(key) + len(call_id)) % 4)


def _can_be_sent(batch: WalletBatch) -> bool:
    """Whether its numbers fit into columns: of a balance that a wrong batch left, not all do."""
    return all(abs(entry.balance_after_pence) < 2**63 for entry in batch.entries)


class LedgersAlike(RuleBasedStateMachine):
    """Several owners of several wallets, on both ledgers."""

    def __init__(self, run: Run, twins: Twins, suspects: Suspects) -> None:
        super().__init__()
        self.run = run
        self.twins = twins
        self.minds = {boot: Mind(boot) for boot in BOOTS}
        self.late: list[tuple[str, list[WalletBatch]]] = []
        run(twins.clear(suspects))

    @initialize(overrides=st.one_of(st.just({}), changes), balance=st.integers(1, 5000))
    def open(self, overrides: dict[str, object], balance: int) -> None:
        """Create the wallets, one with settings of its own, and pay something in."""
        mind = self.minds[BOOTS[0]]
        batches = []
        for org_id in ORGS:
            self.run(self.twins.create(org_id, overrides if org_id == ORGS[0] else {}))
        self.claim(BOOTS[0], [*ORGS, "nobody"], 0)
        for org_id in ORGS:
            asked = [(credit(balance, key="opening", org_id=org_id), Found(None, None))]
            batch = mind.batch(org_id, asked, carelessly=False)
            assert batch is not None
            batches.append(batch)
        self.send(mind, batches)

    # --- writing ----------------------------------------------------------------------------

    @rule(boot=boots, work=works, carelessly=st.booleans(), stubbornly=st.booleans())
    def write(self, boot: str, work: Work, carelessly: bool, stubbornly: bool) -> None:
        """Decide for some wallets and write that as one group."""
        batches = self.decide(boot, work, carelessly=carelessly)
        self.send(self.minds[boot], batches, stubbornly=stubbornly)

    @rule(boot=boots, work=works, first=st.integers(0, len(BLEMISHES) - 1), at=st.integers(0, 5))
    def write_wrongly(self, boot: str, work: Work, first: int, at: int) -> None:
        """Write groups in which all is well but for one batch, which is wrong in one point."""
        blemishes = [*BLEMISHES.values()]
        for blemish in [*blemishes[first:], *blemishes[:first]][: len(blemishes) // 2]:
            if batches := self.welcome(boot, work):
                batches[at % len(batches)] = blemish(batches[at % len(batches)], at)
                self.send(self.minds[boot], batches)
            for org_id in work:
                self.minds[boot].forget(org_id)

    @rule(boot=boots, work=works, carelessly=st.booleans())
    def write_apart(self, boot: str, work: Work, carelessly: bool) -> None:
        """Write wallet by wallet, on the side connection."""
        mind = self.minds[boot]
        for batch in self.decide(boot, work, carelessly=carelessly):
            self.settle(mind, [batch], self.run(self.twins.commit_apart(boot, batch)))

    @rule(boot=boots, work=works)
    def keep_back(self, boot: str, work: Work) -> None:
        """Decide and go on from there, and write it another time."""
        self.late.append((boot, self.decide(boot, work, carelessly=False)))

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 7), again=st.booleans())
    def write_late(self, which: int, again: bool) -> None:
        """Write what was kept back, perhaps long after other claims; perhaps not only once."""
        boot, batches = self.late[which % len(self.late)]
        if not again:
            del self.late[which % len(self.late)]
        self.send(self.minds[boot], batches, stubbornly=True)

    # --- what gets lost, or meets --------------------------------------------------------------

    @rule(boot=boots, rival=boots, org_id=orgs, asked=st.lists(wishes, min_size=1, max_size=4))
    def claim_waits(self, boot: str, rival: str, org_id: str, asked: list[Wish]) -> None:
        """A claim waits for a statement under way, which lands, and is loaded with it."""
        for batch in self.welcome(boot, {org_id: asked}):
            meeting = self.twins.claim_waits_for_commit(boot, batch, rival)
            verdict, claims = self.run(meeting)
            self.settle(self.minds[boot], [batch], verdict)
            self.learn(rival, claims)

    @rule(boot=boots, rival=boots, org_id=orgs, asked=st.lists(wishes, min_size=1, max_size=4))
    def claim_overtakes(self, boot: str, rival: str, org_id: str, asked: list[Wish]) -> None:
        """A statement waits for a claim, and is fenced by it."""
        for batch in self.welcome(boot, {org_id: asked}):
            meeting = self.twins.commit_waits_for_claim(boot, batch, rival)
            verdict, claims = self.run(meeting)
            assert verdict == frozenset()
            self.settle(self.minds[boot], [batch], verdict)
            self.learn(rival, claims)

    @rule(boot=boots, org_id=orgs, asked=st.lists(wishes, min_size=1, max_size=4))
    def lose_statement(self, boot: str, org_id: str, asked: list[Wish]) -> None:
        """Nobody knows whether it was written; it was not."""
        for batch in self.welcome(boot, {org_id: asked}):
            verdict = self.run(self.twins.lose_statement(boot, batch))
            self.settle(self.minds[boot], [batch], verdict)

    @rule(work=works, carelessly=st.booleans())
    def lose_answer(self, work: Work, carelessly: bool) -> None:
        """Nobody knows whether it was written; it was, if it could be."""
        if batches := self.decide(LOSSY, work, carelessly=carelessly):
            self.settle(self.minds[LOSSY], batches, self.run(self.twins.lose_answer(batches)))

    # --- owning ---------------------------------------------------------------------------------

    @rule(
        boot=boots,
        org_ids=st.lists(st.sampled_from([*ORGS, "nobody"]), max_size=5),
        tenure_ms=st.sampled_from(TENURES_MS),
    )
    def claim(self, boot: str, org_ids: list[str], tenure_ms: int) -> None:
        """Claim wallets, known or not, own ones or another's."""
        self.learn(boot, self.run(self.twins.claim(boot, org_ids, tenure_ms=tenure_ms)))
        self.run(self.twins.same_rows())

    @rule(
        boot=boots,
        org_ids=st.lists(orgs, max_size=4),
        late=st.booleans(),
        stubbornly=st.booleans(),
    )
    def release(self, boot: str, org_ids: list[str], late: bool, stubbornly: bool) -> None:
        """Give wallets up, perhaps late; perhaps go on as if they were still one's own."""
        self.run(self.twins.release(boot, org_ids, late=late))
        if not stubbornly:
            for org_id in org_ids:
                self.minds[boot].forget(org_id)
        self.run(self.twins.same_rows())

    @rule(boot=boots, rival=boots, org_id=orgs, waits=st.booleans())
    def contend(self, boot: str, rival: str, org_id: str, waits: bool) -> None:
        """Claim a wallet twice, before another does: its tenure has begun with the first claim.

        What that one asks for on what it saw before comes too late.
        """
        self.claim(boot, [org_id], 0)
        if waits:
            self.pass_time(1)
        self.claim(boot, [org_id], 0)
        self.claim(rival, [org_id], TENURES_MS[1])
        self.learn(rival, self.run(self.twins.claim_late(rival, org_id)))

    @rule(hours=st.integers(1, 3))
    def pass_time(self, hours: int) -> None:
        """Let hours pass: tenures end, holds expire."""
        self.run(self.twins.pass_time(ms=hours * HOUR_MS))
        for mind in self.minds.values():
            mind.now_ms += hours * HOUR_MS

    @precondition(lambda self: self.holds())
    @rule(boot=boots, which=st.integers(0, 20), heard_ms=st.integers(T0_MS, T0_MS + HOUR_MS))
    def hear_start(self, boot: str, which: int, heard_ms: int) -> None:
        """Hear that a call is in progress, live or not, before its wallet is claimed."""
        holds = self.holds()
        org_id, hold = holds[which % len(holds)]
        self.run(self.twins.hear_start(org_id, hold.call_id, heard_ms))
        self.claim(boot, [org_id], 0)

    # --- reading --------------------------------------------------------------------------------

    @rule(
        boot=boots,
        probes=st.lists(
            st.builds(
                _probe,
                st.sampled_from([*ORGS, "nobody"]),
                st.one_of(
                    st.sampled_from(["", "settings:created", "missing"]),
                    keys.map("client:{}".format),
                    calls.map("reserve:{}".format),
                    calls.map("commit:{}".format),
                ),
                st.one_of(st.just(""), calls),
            ),
            max_size=8,
        ),
    )
    def probe(self, boot: str, probes: list[Probe]) -> None:
        """Look up anything."""
        self.run(self.twins.probe(boot, probes))

    @precondition(lambda self: self.holds())
    @rule(
        boot=boots,
        which=st.integers(0, 20),
        org_ids=st.sets(orgs, max_size=2),
        after_ms=st.integers(0, 1),
        limit=st.integers(0, 4),
    )
    def due(self, boot: str, which: int, org_ids: set[str], after_ms: int, limit: int) -> None:
        """Look for what falls due in some shards, up to the very millisecond of some hold."""
        holds = self.holds()
        org_id, hold = holds[which % len(holds)]
        shards = sorted({shard_of(one) for one in org_ids | {org_id}})
        for before_ms in (hold.due_ms + after_ms, DOOMSDAY_MS):
            self.run(self.twins.due(boot, shards, before_ms=before_ms, limit=limit))

    # --- parts ----------------------------------------------------------------------------------

    def holds(self) -> list[tuple[str, Hold]]:
        """Return all holds that are stored, the live ones first."""
        rows = self.twins.memory.rows.items()
        found = [(org_id, hold) for org_id, row in rows for hold in row.holds.values()]
        return sorted(found, key=lambda one: not one[1].active)

    def decide(self, boot: str, work: Work, *, carelessly: bool) -> list[WalletBatch]:
        """Have a process decide, after it claimed what it believes nothing of."""
        mind = self.minds[boot]
        if unknown := [org_id for org_id in work if org_id not in mind.wallets]:
            self.learn(boot, self.run(self.twins.claim(boot, unknown, tenure_ms=0)))
        batches = []
        for org_id, asked in work.items():
            commands = [wish.command(org_id) for wish in asked]
            probes = [
                Probe(org_id, command.key, getattr(command, "call_id", "")) for command in commands
            ]
            found = self.run(self.twins.probe(boot, probes))
            asked_and_found = list(zip(commands, found, strict=True))
            if batch := mind.batch(org_id, asked_and_found, carelessly=carelessly):
                batches.append(batch)
        return batches

    def welcome(self, boot: str, work: Work) -> list[WalletBatch]:
        """Have a process decide what is sure to be written: it believes what is stored."""
        for org_id in work:
            self.minds[boot].forget(org_id)
        return [it for it in self.decide(boot, work, carelessly=False) if _can_be_sent(it)]

    def send(self, mind: Mind, batches: list[WalletBatch], *, stubbornly: bool = False) -> None:
        self.settle(
            mind, batches, self.run(self.twins.commit(mind.boot, batches)), stubbornly=stubbornly
        )

    def settle(
        self,
        mind: Mind,
        batches: list[WalletBatch],
        verdict: Verdict,
        *,
        stubbornly: bool = False,
    ) -> None:
        """Compare what is stored, and let a process that was wrong look again, or not."""
        durable = verdict if isinstance(verdict, frozenset) else frozenset()
        for batch in batches:
            if batch.org_id not in durable and not stubbornly:
                mind.forget(batch.org_id)
        self.run(self.twins.same_rows())

    def learn(self, boot: str, claims: Mapping[str, Claim]) -> None:
        for claim in claims.values():
            if isinstance(claim, Loaded):
                self.minds[boot].learn(claim)
