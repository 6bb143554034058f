"""What only the whole ledger can tell, looked at now and then, off the money path."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from wallet_engine.errors import WalletError

SURVEY_S = 60.0
"""How often one looks: as often as a dashboard would notice."""

Look = Callable[[], Awaitable[tuple[float, Mapping[str, int]]]]
"""Returns the average balance in pence, and how many holds there are by status."""

log = logging.getLogger(__name__)


class Survey:
    """The newest numbers.  Zeros until the first look."""

    def __init__(self) -> None:
        self.balance_pence_avg = 0.0
        self.holds: Mapping[str, int] = {}

    async def follow(self, look: Look) -> None:
        """Look for ever; what fails leaves the numbers as they are."""
        while True:
            try:
                self.balance_pence_avg, self.holds = await look()
            except WalletError as error:
                log.warning("the ledger could not be surveyed: %s", error)
            await asyncio.sleep(SURVEY_S)
