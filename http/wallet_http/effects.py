"""What follows from durable decisions, handed on to whoever has to do with it."""

from wallet_engine.endings import Endings
from wallet_engine.wallet import Entry

from .logs import DecisionLog
from .metrics import PrometheusStats


class Following:
    """Logs and counts every entry, and has calls ended.  Implements `ports.Effects`."""

    def __init__(self, *, endings: Endings, decisions: DecisionLog, stats: PrometheusStats) -> None:
        self._endings = endings
        self._log = decisions.decided
        self._count = stats.entry

    def decided(self, entry: Entry) -> None:
        """See `ports.Effects`."""
        self._log(entry)
        self._count(entry)

    def call_killed(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        """See `ports.Effects`."""
        self._endings.begin(org_id, call_id, reason, since_ms=since_ms)

    def call_final(self, org_id: str, call_id: str, ends_ms: int) -> None:
        """See `ports.Effects`."""
        self._endings.warn(org_id, call_id, ends_ms=ends_ms)

    def call_left(self, org_id: str, call_id: str) -> None:
        """See `ports.Effects`."""
        self._endings.confirm(org_id, call_id)

    def call_ended(self, org_id: str, call_id: str) -> None:
        """See `ports.Effects`."""
        self._endings.confirm(org_id, call_id)
