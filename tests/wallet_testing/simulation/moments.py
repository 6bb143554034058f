"""Refusals and reads, held against the states that were: one must have been so in time.

A refusal is asked of the rules again, on each state from the last that anybody knew of when
the question was sent to the last that was durable when it was answered.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from wallet_engine.commands import Check, Command, Look, Query, Reserve
from wallet_engine.errors import WalletError
from wallet_engine.journal import (
    Answer,
    Outcome,
    Refusal,
    RefusalCode,
    Replay,
    entry_answer,
    refusal_answer,
)
from wallet_engine.memory_ledger import Row
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Settings
from wallet_engine.views import check_call, look
from wallet_engine.wallet import Entry, Hold, Wallet, evolve
from wallet_http.vapi.status_check import UNKNOWN

from .history import Asked, Posted

UNTIMED = ("org_id", "seq", "balance_pence", "effective_balance_pence", "held_pence",
           "debt_limit_pence", "suspended", "low_balance_warning", "needs_recharge",
           "burn_rate_pence_per_minute")  # fmt: skip
"""What a look at a wallet says that does not depend on the time."""


class Question(NamedTuple):
    """What was asked and told, and from which row to which it may have been so."""

    first_seq: int
    last_seq: int
    one: Asked | Posted


class Moment(NamedTuple):
    """A wallet after some row, and what is known of its keys and ended calls."""

    wallet: Wallet
    keys: Mapping[str, Entry]
    ended: Mapping[str, Hold]

    def facts(self, command: Command, *, fleet_stopped: bool) -> Facts:
        """Return what the actor would have found about a command."""
        return Facts(self.keys.get(command.key), self.hold(command), fleet_stopped)

    def hold(self, ask: Command | Check) -> Hold | None:
        """Return the hold of a call that is over."""
        call_id = getattr(ask, "call_id", "")
        return None if call_id in self.wallet.holds else self.ended.get(call_id)


def questions_of(
    asked: Iterable[Asked], posted: Iterable[Posted], durable: list[int]
) -> list[Question]:
    """Return what rests on a state: refusals, reads, rehearsals."""
    found: list[Question] = []
    for one in asked:
        answer = one.answer
        if answer is not None and answer.outcome in (Outcome.REFUSED, Outcome.ANSWERED):
            found.append(Question(_first_seq(one), bisect_right(durable, one.done_tick), one))
    for message in posted:
        if _rests_on_a_state(message):
            last_seq = bisect_right(durable, message.done_tick)
            found.append(Question(_first_seq(message), last_seq, message))
    return sorted(found, key=lambda question: question.first_seq)


def _first_seq(one: Asked | Posted) -> int:
    """Return the oldest state that an answer may rest on.

    Two nodes that both feel sure of a wallet are possible while nothing but the ledger tells
    them apart: then the one that lost it may still answer reads and refusals from memory.
    """
    return 0 if one.stale else one.known_seq


def _rests_on_a_state(message: Posted) -> bool:
    if message.kind == "status-check":
        return message.status == 200
    return message.kind == "assistant-request" and message.status in (402, 403, 409)


def unexplained(
    org_id: str, row: Row, questions: list[Question], defaults: Settings
) -> Iterator[str]:
    """Go through the states of a wallet; tell which answers fit none of theirs."""
    wallet = Wallet(org_id=org_id, settings=defaults, defaults=defaults)
    keys: dict[str, Entry] = {}
    ended: dict[str, Hold] = {}
    moment = Moment(wallet, keys, ended)
    waiting = questions[::-1]
    open_: list[Question] = []
    for seq in range(len(row.journal) + 1):
        if seq:
            entry = row.journal[seq - 1]
            evolve(wallet, entry)
            keys[entry.key] = entry
            if entry.hold is not None and not entry.hold.active:
                ended[entry.hold.call_id] = entry.hold
        while waiting and waiting[-1].first_seq <= seq:
            open_.append(waiting.pop())
        still: list[Question] = []
        for question in open_:
            if question.last_seq < seq:
                yield f"{org_id}: never so in time: {question}"
            elif not _fits(question.one, moment):
                still.append(question)
        open_ = still
    for question in (*open_, *waiting):
        yield f"{org_id}: never so in time: {question}"


def _fits(one: Asked | Posted, moment: Moment) -> bool:
    if isinstance(one, Posted):
        return _post_fits(one, moment)
    assert one.answer is not None
    if isinstance(one.ask, Query):
        return _read_fits(one.ask, one.answer.body, moment)
    return _decision_fits(one.ask, one.answer, moment)


def _read_fits(query: Query, told: Mapping[str, object], moment: Moment) -> bool:
    if isinstance(query, Look):
        shown = look(moment.wallet, now_ms=0)
        calls = told["calls"]
        assert isinstance(calls, list)
        held = {call["call_id"]: call["held_pence"] for call in calls}
        live = {call_id: hold.reserved_pence for call_id, hold in moment.wallet.holds.items()}
        return held == live and all(shown[name] == told[name] for name in UNTIMED)
    assert isinstance(query, Check)
    return any(checked == told for checked in _checks(query, moment))


def _checks(query: Check, moment: Moment) -> Iterator[dict[str, object]]:
    for stopped in (False, True):
        ended = moment.hold(query)
        yield check_call(moment.wallet, query, ended, fleet_stopped=stopped, now_ms=0)


def _decision_fits(command: Command, told: Answer, moment: Moment) -> bool:
    """Whether the rules say the same; the time plays a part in no refusal that clients get."""
    for stopped in (False, True):
        facts = moment.facts(command, fleet_stopped=stopped)
        try:
            decision = decide(moment.wallet, command, facts, 0)
        except WalletError:
            return False
        match decision:
            case Refusal():
                if refusal_answer(decision) == told:
                    return True
            case Entry() if command.dry_run:
                body = entry_answer(decision, outcome=Outcome.ANSWERED).body
                if {**body, "dry_run": True} == told.body:
                    return True
            case Entry() | Replay():
                pass
    return False


def _post_fits(posted: Posted, moment: Moment) -> bool:
    if posted.kind == "status-check":
        query = Check(org_id=posted.org_id, call_id=posted.call_id, elapsed_ms=posted.ms)
        if posted.body == UNKNOWN and posted.call_id not in moment.wallet.holds:
            return moment.hold(query) is None  # a call without a hold belongs to nobody we know
        return any(_same_check(checked, posted.body) for checked in _checks(query, moment))
    command = Reserve(org_id=posted.org_id, call_id=posted.call_id, managed=True, strict=False)
    for stopped in (False, True):
        facts = moment.facts(command, fleet_stopped=stopped)
        decision = decide(moment.wallet, command, facts, 0)
        if isinstance(decision, Refusal) and str(decision.code) == posted.body["code"]:
            return decision.code is not RefusalCode.INSUFFICIENT_CREDITS or (
                decision.fields["current_balance_pence"],
                decision.fields["effective_balance_pence"],
                decision.fields["required_pence"],
            ) == tuple(
                posted.body[name]
                for name in ("currentBalance", "effectiveBalance", "requiredBalance")
            )
    return False


def _same_check(checked: Mapping[str, object], told: Mapping[str, object]) -> bool:
    names = ("balance_pence", "effective_balance_pence", "held_pence", "accrued_pence")
    return checked["end_call"] == told["endCall"] and all(
        checked[name] == told[name] for name in names
    )
