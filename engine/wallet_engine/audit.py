"""The audit of one wallet: replayed, its journal gives what is stored, and answers what it says.

Used on the database (`wallet audit`) and on every simulation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .commands import AssetType
from .errors import WalletError
from .recall import command_of, decided_again, key_of, same
from .settings import Overrides, Settings
from .wallet import Entry, Hold, Wallet, evolve


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWallet:
    """A wallet's row as stored."""

    org_id: str
    seq: int
    epoch: int
    balance_pence: int
    held_pence: int
    suspended: bool
    overrides: Overrides


_BROKEN_ROW = (AssertionError, WalletError, LookupError, TypeError, ValueError)
"""What reading a row raises that nobody of ours wrote."""


class Auditor:
    """Replays one wallet's journal, row by row, and says where it does not hold together.

    With `decides` the rules decide each row again, which must give that row.  It only makes
    sense under the defaults that the journal was written with.
    """

    def __init__(self, org_id: str, defaults: Settings, *, decides: bool = False) -> None:
        self._decides = decides
        self._wallet = Wallet(org_id=org_id, settings=defaults, defaults=defaults)
        self._keys: set[str] = set()
        self._holds: dict[str, Hold] = {}
        self._epoch = 0
        self._broken = False
        self.findings: list[str] = []

    def row(self, entry: Entry) -> None:
        """Replay the next row, in the order of seq."""
        wallet = self._wallet
        where = f"{entry.org_id} seq {entry.seq}"
        if entry.key in self._keys:
            self.findings.append(f"{where}: key {entry.key} is there twice")
        self._keys.add(entry.key)
        if entry.epoch < self._epoch:
            self.findings.append(f"{where}: epoch {entry.epoch} after {self._epoch}")
        self._epoch = entry.epoch
        if entry.at_ms < wallet.last_ms:
            self.findings.append(f"{where}: earlier than the row before")
        if self._broken:
            return
        self._recall(entry, where)
        try:
            evolve(wallet, entry)
        except _BROKEN_ROW as error:
            self._broken = True
            self.findings.append(f"{where}: does not follow from the row before: {error}")
            return
        if entry.hold is not None:
            self._holds[entry.hold.call_id] = entry.hold

    def _recall(self, entry: Entry, where: str) -> None:
        """Read back what the row answers, and ask the rules once more."""
        try:
            command = command_of(entry)
            if key_of(command, entry) != entry.key:
                self.findings.append(f"{where}: {entry.key} is not the key of what it answers")
            # Of a number that is bought, the description is completed when the number is known.
            completed = entry.type == AssetType.PHONE_PROVISIONING
            if command.fingerprint != entry.fingerprint and not completed:
                self.findings.append(f"{where}: it answers another request than it records")
            if not self._decides:
                return
            wallet, call_id = self._wallet, entry.call_id
            ended = self._holds.get(call_id) if call_id not in wallet.holds and call_id else None
            first = entry if entry.type == "adjustment" and call_id else None
            again = decided_again(wallet, command, entry, first, ended)
            if not same(again, entry):
                self.findings.append(f"{where}: the rules say {again} of it, it is {entry}")
        except _BROKEN_ROW as error:
            self.findings.append(f"{where}: does not say what it answers: {error!r}")

    def finish(self, stored: StoredWallet, holds: Iterable[Hold]) -> list[str]:
        """Compare the replayed wallet with what is stored; return all findings."""
        wallet = self._wallet
        org_id = stored.org_id
        for name, replayed, found in (
            ("seq", wallet.seq, stored.seq),
            ("balance_pence", wallet.balance_pence, stored.balance_pence),
            ("held_pence", wallet.held_pence, stored.held_pence),
            ("suspended", wallet.suspended, stored.suspended),
            ("settings", dict(wallet.overrides), dict(stored.overrides)),
        ):
            if replayed != found and not self._broken:
                self.findings.append(f"{org_id}: {name} is {found}, its journal says {replayed}")
        if self._epoch > stored.epoch:
            self.findings.append(f"{org_id}: a row has an epoch above the wallet's own")
        self._compare_holds(stored, {hold.call_id: hold for hold in holds})
        return self.findings

    def _compare_holds(self, stored: StoredWallet, found: dict[str, Hold]) -> None:
        org_id = stored.org_id
        for call_id in self._holds.keys() | found.keys():
            if self._holds.get(call_id) != found.get(call_id):
                self.findings.append(
                    f"{org_id}: the hold of call {call_id} differs from its journal"
                )
        active = [hold for hold in found.values() if hold.active]
        held = sum(hold.reserved_pence for hold in active)
        if held != stored.held_pence:
            self.findings.append(
                f"{org_id}: holds sum to {held}, held_pence is {stored.held_pence}"
            )
        for hold in active:
            if hold.due_ms <= 0:
                self.findings.append(f"{org_id}: the live hold of {hold.call_id} has no deadline")
