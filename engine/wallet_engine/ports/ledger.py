"""The ledger: where decisions become durable.

Times are integer milliseconds since 1970 UTC, money integer pence.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from wallet_engine.settings import Overrides
from wallet_engine.wallet import Entry, Hold


class WalletBatch(NamedTuple):
    """Consecutive entries of one wallet, written together or not at all.

    Valid only while the stored row still has this `epoch`, `owner` and `expected_seq`.
    """

    org_id: str
    epoch: int
    owner: str
    expected_seq: int
    balance_before_pence: int
    entries: Sequence[Entry]

    @property
    def last(self) -> Entry:
        """The entry whose state the wallet's row shall have."""
        return self.entries[-1]

    def holds(self) -> Mapping[str, Hold]:
        """Return the final state of each hold that these entries touch."""
        return {e.hold.call_id: e.hold for e in self.entries if e.hold is not None}


class Probe(NamedTuple):
    """A question to the journal: the row under `key`, and the hold of `call_id`.

    Either may be empty, which asks nothing.  `epoch` is what the asker owns the wallet under;
    0 asks nothing.
    """

    org_id: str
    key: str
    call_id: str
    epoch: int = 0


class Found(NamedTuple):
    """What a probe found.  `hold` has any status; None means there is no such row.

    `owned`: the wallet still has the epoch that the asker named, if one was.
    """

    entry: Entry | None
    hold: Hold | None
    owned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A wallet's stored row, claimed under a new `epoch`, with its live holds.

    `started_ms` tells when live calls were heard to be in progress, as far as is known.
    """

    org_id: str
    epoch: int
    seq: int
    balance_pence: int
    held_pence: int
    suspended: bool
    overrides: Overrides
    last_ms: int
    holds: Sequence[Hold]
    started_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """A wallet that another owner has, under `epoch`, for `held_ms` by now."""

    org_id: str
    owner: str
    epoch: int
    held_ms: int


Claim = Loaded | Taken


class DueHold(NamedTuple):
    """A live hold at which somebody must look."""

    org_id: str
    call_id: str
    due_ms: int


class Ledger(Protocol):
    """Durable storage of wallets.

    Every method may raise `LedgerBusy` (nothing was written) or `OutcomeUnknown`.  None may be
    cancelled by a caller: the engine runs them in tasks of its own.
    """

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        """Write `batches`, one statement; return the orgs that are durable now.

        An org that is missing was fenced: its row has another epoch, owner or seq, and none
        of its entries was written.  At most one commit may be under way.

        Raises:
            NotCommitted: the statement failed for a reason of its own; nothing was written.
        """

    async def commit_apart(self, batch: WalletBatch) -> bool:
        """Write one batch on a side connection; return False if it was fenced.

        Raises:
            NotCommitted: the statement failed for a reason of its own; nothing was written.
        """

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        """Answer `probes`, in their order, from what is durable."""

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        """Claim wallets for `owner` under new epochs; wait out statements still running.

        A wallet is had if it is free or the owner's own.  From another one it is taken only under
        the epoch in `seen`: so a claim that arrives late takes from nobody who came meanwhile.
        How long an owner has had a wallet counts from its first claim on, or from its last one
        with the wallet in `anew`.

        After this returns, no statement under an older epoch can be written any more.  An org
        that is missing from the answer does not exist.
        """

    async def release(self, epochs: Mapping[str, int]) -> None:
        """Give up wallets, so that another owner need not wait for the tenure to end.

        Each under the epoch that it was claimed under: one that is claimed anew by now is kept.
        """

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        """Return the live holds of `shards` that are due before `before_ms`, earliest first."""

    async def now_ms(self) -> int:
        """Return the ledger's own clock."""
