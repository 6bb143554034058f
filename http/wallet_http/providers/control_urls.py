"""Where live calls can be spoken to.  The addresses are secrets: kept, stored, never logged."""

from collections import OrderedDict
from typing import Final

from wallet_engine.ports import CallFacts, Delivery, History, Recorder

REMEMBERED_MAX: Final = 200_000
"""More live calls than a node carries; older ones are asked of the database."""


class ControlUrls:
    """Remembers the control URLs that pass by on their way to the recorder."""

    def __init__(self, *, recorder: Recorder, history: History) -> None:
        self._recorder = recorder
        self._history = history
        self._urls: OrderedDict[tuple[str, str], str] = OrderedDict()

    def delivery(self, delivery: Delivery) -> None:
        """See `ports.Recorder.delivery`."""
        self._recorder.delivery(delivery)

    def call(self, facts: CallFacts) -> None:
        """See `ports.Recorder.call`."""
        key = (facts.org_id, facts.call_id)
        if facts.ended_ms is not None:
            self._urls.pop(key, None)
        elif facts.control_url is not None:
            self._urls[key] = facts.control_url
            if len(self._urls) > REMEMBERED_MAX:
                self._urls.popitem(last=False)
        self._recorder.call(facts)

    async def find(self, org_id: str, call_id: str) -> str | None:
        """Return where a live call can be spoken to, or None if Vapi has not told."""
        known = self._urls.get((org_id, call_id))
        return known or await self._history.control_url(org_id, call_id)
