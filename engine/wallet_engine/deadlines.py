"""When somebody must look at a hold again.  Pure: the timers and the sweep both ask here.

Source: SPEC §3, Extension and Release, expiry.
"""

from .wallet import Hold

EXTEND_BEFORE_MS = 30_000
"""A managed hold is enlarged this long before its paid time is up."""

LAST_ATTEMPT_BEFORE_MS = 15_000
"""A final hold gets one more attempt this long before its paid time is up."""

CAP_GRACE_MS = 60_000
"""How long after its own cap a silent call may still report before its hold expires."""


ENDING_EVERY_MS = 5_000
"""Whether a call that was told to end did end is looked at this often."""


def ends_ms(hold: Hold, started_ms: int) -> int:
    """When the talk that this hold pays for is over, its own cap included."""
    return started_ms + min(hold.paid_seconds, hold.max_duration_seconds) * 1000


def may_grow(hold: Hold) -> bool:
    """Whether more money would buy this call more time."""
    return hold.paid_seconds < hold.max_duration_seconds


def expires_ms(opened_ms: int, expiry_minutes: int, max_duration_seconds: int) -> int:
    """When a hold that nobody has heard of since is abandoned."""
    return opened_ms + max(expiry_minutes * 60_000, max_duration_seconds * 1000 + CAP_GRACE_MS)


def expiry_ms(hold: Hold, started_ms: int) -> int:
    """When this hold is abandoned: never before its own cap, which runs from the start."""
    if not hold.managed:
        return hold.expires_ms
    return max(hold.expires_ms, started_ms + hold.max_duration_seconds * 1000 + CAP_GRACE_MS)


def next_due_ms(hold: Hold, started_ms: int, now_ms: int) -> int:
    """Return the next moment after `now_ms` at which this hold needs a decision.

    A managed hold: first attempt to extend, last attempt, end of paid time; once its call was
    told to end, every few seconds, so that the ending survives the node that began it.  Any
    other hold: its expiry.  What is already late is due at once.
    """
    expiry = expiry_ms(hold, started_ms)
    if not hold.managed:
        return expiry
    if hold.killed:
        return min(now_ms + ENDING_EVERY_MS, expiry)
    end = ends_ms(hold, started_ms)
    if may_grow(hold):
        for due in (end - EXTEND_BEFORE_MS, end - LAST_ATTEMPT_BEFORE_MS):
            if due > now_ms:
                return due
    return end
