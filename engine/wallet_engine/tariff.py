"""The one tariff function of the whole program: seconds to pence, and back.

All in integers.  Durations are whole milliseconds or whole seconds, money is whole pence.
Source: SPEC §3, Tariff.
"""

from typing import NamedTuple

SECONDS_MAX = 10**9
"""What `affordable_seconds` answers when time is free: about 31 years."""

RATE_PENCE_MAX = 1_000_000
INCREMENT_SECONDS_MAX = 86_400


def whole_seconds(duration_ms: int) -> int:
    """Round a duration up to whole seconds: a second that began is a second."""
    return -(-duration_ms // 1000)


class Tariff(NamedTuple):
    """What a call costs: a rate per minute, a first increment, and further ones.

    Its bounds are checked where settings are made, see `settings`.
    """

    rate_pence_per_minute: int
    first_increment_seconds: int
    increment_seconds: int

    def lasting_seconds(self, pence: int) -> int:
        """Return how long a call may last on `pence`: the affordable time, or for ever if free."""
        if self.rate_pence_per_minute == 0:
            return SECONDS_MAX
        return self.affordable_seconds(pence)

    def billed_seconds(self, seconds: int) -> int:
        """Return how many seconds are charged for `seconds` of talk."""
        if seconds <= 0:
            return 0
        increments = -(-seconds // self.increment_seconds)
        return max(self.first_increment_seconds, increments * self.increment_seconds)

    def cost_pence(self, seconds: int) -> int:
        """Return the price of `seconds` of talk, in pence, rounded up."""
        return -(-self.billed_seconds(seconds) * self.rate_pence_per_minute // 60)

    def affordable_seconds(self, pence: int) -> int:
        """Return the largest whole number of seconds that costs at most `pence`, or 0."""
        if pence <= 0:
            return 0
        if self.rate_pence_per_minute == 0:
            return SECONDS_MAX
        billable = pence * 60 // self.rate_pence_per_minute
        if billable < self.first_increment_seconds:
            return 0
        return min(billable // self.increment_seconds * self.increment_seconds, SECONDS_MAX)
