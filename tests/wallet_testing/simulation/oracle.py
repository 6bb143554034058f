"""The oracle: whether journals, answers and calls agree.  Linear, because the journal is the order.

The database's half of it is `wallet audit`, with the rules asked again for every row.  The
clients' half: what was acknowledged is there, once, as told; what was refused or read was so
at some moment between question and answer; a call that happened is booked at its cost.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from wallet_engine.commands import CLIENT_SPACE, Command, Extend
from wallet_engine.journal import Answer, Outcome, entry_answer
from wallet_engine.memory_ledger import Row
from wallet_engine.recall import key_of
from wallet_engine.tariff import whole_seconds
from wallet_engine.unwanted import RELEASED_LATE
from wallet_engine.wallet import Entry, HoldStatus
from wallet_testing.audits import audited

from . import ends
from .faults import Fault
from .history import Asked, Posted
from .moments import Question, questions_of, unexplained
from .phones import GOODBYE_S
from .universe import Universe

PASS_THE_FLOOR = frozenset({"adjustment", "clawback", "settings_change"})
"""Rows after which a wallet may be below its floor: the operator's, and refunds of payments."""


DIED_AFTER_S = 40.0
"""Giving back waits while the ledger is away; a node that lives for so long has done it."""

ENDING_S = GOODBYE_S + 0.5
"""How long an ending may take where nothing goes wrong: the sentence, and two messages."""


def books(universe: Universe) -> list[str]:
    """Return whatever does not agree; an empty list is a clean bill."""
    wrong: list[str] = []
    asked: defaultdict[str, list[Asked]] = defaultdict(list)
    posted: defaultdict[str, list[Posted]] = defaultdict(list)
    for one in universe.history.asked:
        asked[one.ask.org_id].append(one)
    for message in universe.history.posted:
        posted[message.org_id].append(message)
    for org_id, row in universe.server.truth.rows.items():
        durable = universe.server.durable[org_id]
        wrong += _audited(universe, org_id, row)
        wrong += _floor_held(row)
        jumps = bool(universe.tally.faults[Fault.CLOCK_JUMP.value])
        wrong += ends.wrong(row, heard_ms=_heard_ms(universe, org_id), clock_jumps=jumps)
        wrong += _acknowledged(asked[org_id], row, durable)
        wrong += _asked_for(universe, asked[org_id], row, durable)
        questions: list[Question] = questions_of(asked[org_id], posted[org_id], durable)
        wrong += unexplained(org_id, row, questions, universe.plan.settings)
        wrong += _admitted(universe, posted[org_id], row, durable)
    wrong += _booked(universe)
    wrong += _unwanted(universe)
    if universe.plan.calm:
        wrong += _outlived(universe)
    _count(universe)
    return wrong


def _audited(universe: Universe, org_id: str, row: Row) -> list[str]:
    wrong = audited(org_id, row, universe.plan.settings)
    if sum(entry.amount_pence for entry in row.journal) != row.balance_pence:
        wrong.append(f"{org_id}: money in is not money out and what is left")
    return wrong


def _floor_held(row: Row) -> Iterator[str]:
    """Nobody spends below the floor; nothing but settlements goes below zero at all."""
    for entry in row.journal:
        after = entry.balance_after_pence - entry.held_after_pence
        before = after - entry.amount_pence + entry.held_delta_pence
        if after >= before or entry.type in PASS_THE_FLOOR:
            continue
        floor = 0
        if entry.type == "call_deduction":
            told = entry.detail.get("floor_pence", entry.detail.get("debt_limit_pence", 0))
            assert isinstance(told, int)
            floor = -abs(told)
        if after < floor:
            yield f"{entry.org_id} seq {entry.seq}: {entry.type} to {after}, the floor is {floor}"


# --- what was acknowledged ---------------------------------------------------------------------


def _acknowledged(asked: list[Asked], row: Row, durable: list[int]) -> Iterator[str]:
    created: Counter[int] = Counter()
    for one in asked:
        answer = one.answer
        if answer is None or answer.outcome not in (Outcome.CREATED, Outcome.REPEATED):
            continue
        seq = answer.body["seq"]
        assert isinstance(seq, int)
        assert isinstance(one.ask, Command)
        where = f"{one.ask.org_id} seq {seq} for {one.client}"
        if not 1 <= seq <= len(row.journal):
            yield f"{where}: acknowledged, and not in the journal"
            continue
        entry = row.journal[seq - 1]
        if durable[seq - 1] > one.done_tick:
            yield f"{where}: acknowledged before it was durable"
        yield from _as_told(where, one, entry, answer)
        if answer.outcome is Outcome.CREATED:
            created[seq] += 1
            if seq <= one.known_seq:
                yield f"{where}: asked after seq {one.known_seq} was known, and before it"
            if durable[seq - 1] <= one.sent_tick:
                yield f"{where}: was there before it was asked for"
    for seq, count in created.items():
        if count > 1:
            yield f"{row.journal[seq - 1].org_id} seq {seq}: created {count} times"


def _as_told(where: str, one: Asked, entry: Entry, answer: Answer) -> Iterator[str]:
    command = one.ask
    assert isinstance(command, Command)
    if entry_answer(entry, outcome=answer.outcome).body != answer.body:
        yield f"{where}: told {dict(answer.body)}, stored {entry}"
    if command.strict and command.fingerprint != entry.fingerprint:
        yield f"{where}: answers {command} with {entry}"
    if command.key and entry.key not in (command.key, key_of(command, entry)):
        yield f"{where}: {entry.key} is not its key"
    if not command.key and not (isinstance(command, Extend) and entry.call_id == command.call_id):
        yield f"{where}: {entry} is no answer to {command}"


def _asked_for(
    universe: Universe, asked: list[Asked], row: Row, durable: list[int]
) -> Iterator[str]:
    """Every row of a client was asked for, by one who was not promised that nothing was written.

    An extension without a key enlarges its hold each time it is asked for, and no more often.
    """
    asks: defaultdict[str, list[Asked]] = defaultdict(list)
    for one in asked:
        if isinstance(one.ask, Command) and one.ask.strict:  # else others may have asked as well
            asks[_named(one.ask)].append(one)
    extended: Counter[str] = Counter()
    twice = universe.tally.faults[Fault.PEER_TWICE.value]  # then nobody knows which copy did it
    for entry, tick in zip(row.journal, durable, strict=True):
        name = entry.key
        if entry.key.startswith("extend:"):
            name = f"extend:{entry.call_id}"
            extended[name] += 1
        elif not entry.key.startswith((CLIENT_SPACE, "commit:", "release:", "reserve:")):
            continue
        asked_for = asks.get(name, [])
        before = [one for one in asked_for if one.sent_tick < tick]
        known = asked_for or entry.key.startswith(CLIENT_SPACE)
        if known and all(one.unwritten for one in before) and not twice:
            yield f"{entry.org_id} seq {entry.seq}: nobody asked for {entry}, of {asked_for}"
    for name, count in extended.items():
        asked_for = asks.get(name, [])
        may_be = [one for one in asked_for if not one.unwritten and not _refused(one)]
        if asked_for and count > len(may_be) + twice:
            yield f"{row.journal[0].org_id} {name}: {count} times, asked {len(may_be)} times"
    if not twice:
        yield from _repeats(asks)


def _refused(one: Asked) -> bool:
    return one.answer is not None and one.answer.outcome is not Outcome.CREATED


def _heard_ms(universe: Universe, org_id: str) -> Mapping[str, int]:
    """Return when calls of an org were heard to be in progress."""
    return {
        call_id: facts.heard_started_ms
        for (owner, call_id), facts in universe.server.calls.items()
        if owner == org_id and facts.heard_started_ms is not None
    }


def _repeats(asks: Mapping[str, list[Asked]]) -> Iterator[str]:
    """Who asked only once is never told that it was a repeat."""
    for name, attempts in asks.items():
        [first, *others] = attempts
        if others or first.answer is None or first.answer.outcome is not Outcome.REPEATED:
            continue
        yield f"{first.ask.org_id} {name}: asked once, and told of a repeat: {first}"


def _named(command: Command) -> str:
    return command.key or f"extend:{getattr(command, 'call_id', '')}"


# --- calls -------------------------------------------------------------------------------------


def _admitted(
    universe: Universe, posted: list[Posted], row: Row, durable: list[int]
) -> Iterator[str]:
    """Whoever was let in has a hold, unless the org lets calls in without a decision."""
    for one in posted:
        if one.kind != "assistant-request" or not one.admitted:
            continue
        entry = row.keys.get(f"reserve:{one.call_id}")
        cap = one.body["assistantOverrides"]["maxDurationSeconds"]
        undecided = universe.plan.settings.on_unavailable == "allow"
        undecided &= cap == universe.plan.settings.max_call_seconds
        if _given_back(row, one.call_id):
            yield f"{one.org_id}: {one.call_id} was let in, and its hold given back"
        if entry is not None and entry.hold is not None:
            held = durable[entry.seq - 1] <= one.done_tick
            if held and entry.hold.max_duration_seconds == cap:
                continue
        if undecided:
            universe.tally.sometimes["let in undecided"] += 1
        else:
            yield f"{one.org_id}: {one.call_id} was let in for {cap} s without a hold: {entry}"


def _given_back(row: Row, call_id: str) -> bool:
    """Whether a hold was given back."""
    release = row.keys.get(f"release:{call_id}")
    return release is not None and release.description.endswith(RELEASED_LATE)


def _unwanted(universe: Universe) -> Iterator[str]:
    """Whoever was told no, each time, and heard it, has no hold that only expiry ended.

    A node that died about then may have taken the knowledge with it.
    """
    told: dict[tuple[str, str], bool] = {}
    for posted in universe.history.posted:
        if posted.kind == "assistant-request":
            died = any(-10.0 < it - posted.heard_s < DIED_AFTER_S for it in universe.died_s)
            key = (posted.org_id, posted.call_id)
            told[key] = told.get(key, True) and posted.told_no and not died
    for (org_id, call_id), refused in told.items():
        hold = universe.server.truth.rows[org_id].holds.get(call_id)
        if refused and hold is not None and hold.status is HoldStatus.EXPIRED:
            yield f"{org_id}: {call_id} was told no, and kept its hold until that expired: {hold}"


def _booked(universe: Universe) -> Iterator[str]:
    """A call whose report was taken is booked at its cost, once; every hold adds up."""
    for (org_id, call_id), phone in universe.phones.calls.items():
        hold = universe.server.truth.rows[org_id].holds.get(call_id)
        if not phone.reported:
            continue
        if hold is None:
            yield f"{org_id}: {call_id} was reported, and is not booked"
            continue
        cost = hold.tariff.cost_pence(whole_seconds(phone.duration_ms))
        if hold.settled_cost_pence != cost and not phone.reconciled:
            yield f"{org_id}: {call_id} took {phone.duration_ms} ms and costs {cost}: {hold}"
    for org_id, row in universe.server.truth.rows.items():
        paid: Counter[str] = Counter()
        for entry in row.journal:
            if entry.call_id is not None:
                paid[entry.call_id] += entry.uncollected_pence - entry.amount_pence
        for call_id, hold in row.holds.items():
            if paid[call_id] != hold.settled_cost_pence:
                yield f"{org_id}: {call_id} paid {paid[call_id]} for {hold}"


def _outlived(universe: Universe) -> Iterator[str]:
    """Where nothing went wrong, no call went on after its paid time but for its last sentence."""
    for (org_id, call_id), phone in universe.phones.calls.items():
        hold = universe.server.truth.rows[org_id].holds.get(call_id)
        if hold is None or not phone.talked:
            continue
        paid_s = min(hold.paid_seconds, hold.max_duration_seconds)
        if phone.duration_ms > (paid_s + ENDING_S) * 1000:
            yield f"{org_id}: {call_id} went on for {phone.duration_ms} ms, was paid for {paid_s} s"


def _count(universe: Universe) -> None:
    sometimes = universe.tally.sometimes
    for row in universe.server.truth.rows.values():
        for entry in row.journal:
            if entry.type == "reservation_expiry":
                sometimes["hold expired"] += 1
            elif entry.type == "adjustment" and entry.call_id is not None:
                sometimes["adjustment"] += 1
            elif entry.description.endswith("before the hold was durable"):
                sometimes["hold given back"] += 1
            elif entry.type == "reservation_extension" and entry.key.startswith("extend:"):
                sometimes["hold extended"] += 1
