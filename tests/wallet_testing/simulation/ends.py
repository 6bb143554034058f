"""How calls ended, by the journal alone: for a reason, in time, and corrected at most once."""

from collections import Counter
from collections.abc import Iterator, Mapping

from wallet_engine.deadlines import ends_ms
from wallet_engine.memory_ledger import Row
from wallet_engine.reasons import CAP_REACHED, OUT_OF_MONEY
from wallet_engine.wallet import Entry, Hold

SLACK_MS = 4_000
"""By how much clocks of nodes differ, and a call's clock starts after its admission."""

BY_TIME = (OUT_OF_MONEY, CAP_REACHED)

ASLEEP_MS = 15_000
"""A node may be stopped for so long between a suspension and hearing that it is durable."""


def wrong(row: Row, *, heard_ms: Mapping[str, int], clock_jumps: bool) -> Iterator[str]:
    """Return what is wrong with the ends of calls; `clock_jumps` makes times mean nothing.

    `heard_ms`: when calls were heard to be in progress, by call.
    """
    holds: dict[str, Hold] = {}
    corrected: Counter[str] = Counter()
    stopped: dict[str, int] = {}
    for entry in row.journal:
        hold, call_id = entry.hold, entry.call_id
        if entry.type == "suspend":
            live = (one for one in holds.values() if one.managed and not one.killed)
            stopped |= {one.call_id: entry.at_ms for one in live}
        if hold is None or call_id is None:
            continue
        yield from _suspended(entry, hold, stopped, clock_jumps=clock_jumps)
        before = holds.get(call_id)
        if before is not None and not clock_jumps:
            yield from _too_early(entry, hold, before, heard_ms.get(call_id, before.opened_ms))
        corrected[call_id] += entry.type == "adjustment"
        if hold.active:
            holds[call_id] = hold
        else:
            holds.pop(call_id, None)
    for call_id, times in corrected.items():
        if times > 1:
            yield f"{row.journal[0].org_id}: {call_id} was corrected {times} times"


def _suspended(
    entry: Entry, hold: Hold, stopped: dict[str, int], *, clock_jumps: bool
) -> Iterator[str]:
    """The next that becomes of a live call after its org was suspended is its end."""
    suspended_ms = stopped.pop(hold.call_id, None)
    if suspended_ms is None:
        return
    by_time = entry.type == "call_kill" and hold.kill_reason in BY_TIME
    late = by_time and not clock_jumps and entry.at_ms > suspended_ms + ASLEEP_MS
    if entry.type == "reservation_extension" or late:
        yield f"{entry.org_id} seq {entry.seq}: {entry.type} after the org was suspended"


def _too_early(entry: Entry, hold: Hold, before: Hold, heard_ms: int) -> Iterator[str]:
    """A call is not ended for want of money, or for its cap, while its time is paid for.

    One that was let in undecided may be in progress before its hold is opened.
    """
    if entry.type != "call_kill" or hold.kill_reason not in BY_TIME:
        return
    paid_until_ms = ends_ms(before, min(before.opened_ms, heard_ms))
    if entry.at_ms + SLACK_MS < paid_until_ms:
        yield f"{entry.org_id} seq {entry.seq}: ended, and was paid until {paid_until_ms}: {entry}"
