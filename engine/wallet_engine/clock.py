"""The real clock: never goes back, goes on while the machine sleeps, follows the ledger's."""

import time

STEP_MS = 500
"""The most the clock is corrected at once, after the first time."""

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Milliseconds since 1970 UTC, by the time since boot plus an offset.

    `follow` brings the offset to the ledger's clock: at once when first read, later by small
    steps, so that one wrong reading cannot end every call.  Backwards means that time stands
    still until the ledger has caught up.
    """

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - self._boot_ms()
        self._latest_ms = 0
        self._following = False

    @staticmethod
    def _boot_ms() -> int:
        return time.clock_gettime_ns(_BOOTTIME) // 1_000_000

    def now_ms(self) -> int:
        """Return the time now."""
        self._latest_ms = max(self._latest_ms, self._boot_ms() + self._offset_ms)
        return self._latest_ms

    def follow(self, ledger_ms: int) -> None:
        """Follow the ledger's clock, as it was just read."""
        step_ms = ledger_ms - self._boot_ms() - self._offset_ms
        if self._following:
            step_ms = max(-STEP_MS, min(STEP_MS, step_ms))
        self._offset_ms += step_ms
        self._following = True
