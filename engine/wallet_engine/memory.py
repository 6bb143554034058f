"""What an actor remembers of its journal: recent entries by key, ended calls by id."""

from .commands import Check, Commit, Expire, Extend, Kill, Prolong, Query, Release, gives_back
from .mailbox import Envelope
from .rules import Facts
from .wallet import Entry, Hold, Wallet

_ONCE_PER_CALL = (Commit, Release, Expire, Prolong)
"""A live hold proves that none of these happened to its call."""


class Memory:
    """Recent keys and ended calls of one wallet, bounded; what is not durable never leaves.

    `whole` says that nothing was ever dropped since the journal was empty, so that what is
    not here does not exist.  While a probe is out, nothing newer than what was durable when
    it was sent is dropped (`pin`): between the probe and memory every row is seen.
    """

    __slots__ = ("_capacity", "_droppable_seq", "_pinned", "ended", "entries", "whole")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._droppable_seq = 0
        self._pinned = False
        self.entries: dict[str, Entry] = {}
        self.ended: dict[str, Hold] = {}
        self.whole = False

    def restart(self, *, whole: bool) -> None:
        """Forget everything: the wallet was loaded anew.  `whole`: its journal is empty."""
        self.entries.clear()
        self.ended.clear()
        self._pinned = False
        self._droppable_seq = 0
        self.whole = whole

    def knows(self, envelope: Envelope, wallet: Wallet) -> bool:
        """Whether memory alone can tell what the journal says of this ask's key and call."""
        ask, call_id = envelope.ask, envelope.call_id
        live = call_id in wallet.holds
        if self.whole:
            return True
        if live and isinstance(ask, _ONCE_PER_CALL):
            # What gives a hold back comes after all repeats that are being looked up.
            return not gives_back(ask)
        if isinstance(ask, Query):
            return not isinstance(ask, Check) or live or call_id in self.ended
        if call_id and not live and call_id not in self.ended:
            return False
        if live and isinstance(ask, Kill | Extend) and ask.client_key is None:
            return True
        return envelope.key in self.entries

    def facts(self, envelope: Envelope, wallet: Wallet, *, fleet_stopped: bool) -> Facts:
        """Return what is known of an ask's key and call; memory is newer than its probe."""
        found, call_id = envelope.found, envelope.call_id
        entry = None if gives_back(envelope.ask) else self.stored(envelope)
        hold = None
        if call_id and call_id not in wallet.holds:
            hold = self.ended.get(call_id)
            if hold is None and found is not None:
                hold = found.hold
        return Facts(entry, hold, fleet_stopped)

    def stored(self, envelope: Envelope) -> Entry | None:
        """Return the row under the key that was looked up for an ask."""
        found = envelope.found
        return self.entries.get(envelope.key) or (None if found is None else found.entry)

    def has_heard_of(self, call_id: str, wallet: Wallet) -> bool:
        """Whether a hold that the ledger calls live is live here too, or has just ended."""
        return call_id in wallet.holds or call_id in self.ended

    def remember(self, entry: Entry) -> None:
        """Remember an entry, durable or not."""
        self.entries[entry.key] = entry
        hold = entry.hold
        if hold is not None and not hold.active:
            self.ended[hold.call_id] = hold

    def settle(self, durable_seq: int) -> None:
        """Rows up to `durable_seq` are durable: the oldest beyond the capacity may go."""
        if not self._pinned:
            self._droppable_seq = durable_seq
        self._trim(self._capacity)

    def pin(self, durable_seq: int) -> None:
        """A probe is sent that will see every row up to `durable_seq`."""
        self._droppable_seq = durable_seq
        self._pinned = True

    def unpin(self, durable_seq: int) -> None:
        """The probe was answered and used."""
        self._pinned = False
        self.settle(durable_seq)

    def shrink(self) -> None:
        """Drop all that is durable: the wallet is not used just now.

        New tables, since an emptied dict keeps the size it had.
        """
        self._trim(0)
        if not self.entries:
            self.entries, self.ended = {}, {}

    def _trim(self, capacity: int) -> None:
        while len(self.entries) > capacity:
            key, entry = next(iter(self.entries.items()))
            if entry.seq > self._droppable_seq:
                return
            del self.entries[key]
            self.whole = False
            hold = entry.hold
            if hold is not None and self.ended.get(hold.call_id) is hold:
                del self.ended[hold.call_id]
