"""How long to wait before trying the ledger again."""

import random

FIRST_S = 0.05
LONGEST_S = 1.0


class Backoff:
    """Doubling waits with jitter, so that nodes do not come back all at once."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def wait_s(self) -> float:
        """Return how long to wait now."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreads, hides nothing
        self._next_s = min(self._next_s * 2, LONGEST_S)
        return wait_s

    def reset(self) -> None:
        """Start from the beginning: it worked."""
        self._next_s = FIRST_S
