"""A ledger in memory that fails on order: slow, busy, silent, late, poisoned, fenced."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto

from wallet_engine.commands import CallCommand, Command
from wallet_engine.errors import LedgerBusy, NotCommitted, OutcomeUnknown
from wallet_engine.memory_ledger import MemoryLedger
from wallet_engine.ports import Claim, Clock, DueHold, Found, Loaded, Probe, WalletBatch
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Settings, settings_of
from wallet_engine.wallet import Entry, Wallet, evolve

OTHER = "other-boot"
"""The second owner."""


class Fault(Enum):
    """What becomes of one commit."""

    BUSY = auto()
    """Nothing is written, and the ledger says so."""

    LOST_BEFORE = auto()
    """Nothing is written, and no answer comes."""

    LOST_AFTER = auto()
    """It is written, and no answer comes."""

    LATE = auto()
    """No answer comes; it is written when the next activation waits for it."""

    TOO_LATE = auto()
    """No answer comes; the writing is tried again after the next activation."""


class FaultyLedger(MemoryLedger):
    """Does what `MemoryLedger` does, but for what it was told to do wrong.

    `sent` are all groups of batches that were to be written, `probed` all groups of probes,
    `claimed` all groups of orgs, in order and whatever became of them.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.sent: list[Sequence[WalletBatch]] = []
        self.probed: list[Sequence[Probe]] = []
        self.claimed: list[Sequence[str]] = []
        self.late_landed: list[frozenset[str]] = []
        self.away = False
        self.poison: set[str] = set()
        self.poisoned_probes: set[str] = set()
        self._faults: deque[Fault | None] = deque()
        self._late: list[tuple[Fault, Sequence[WalletBatch]]] = []
        self._commits_go = asyncio.Event()
        self._probes_go = asyncio.Event()
        self._commits_go.set()
        self._probes_go.set()

    # --- orders -----------------------------------------------------------------------------

    def next_commits(self, *faults: Fault | None) -> None:
        """Let the next commits go wrong, one fault each; None lets one go well."""
        self._faults.extend(faults)

    def forget_faults(self) -> None:
        """Let all commits go well from now on."""
        self._faults.clear()

    def hold_commits(self) -> None:
        """Let commits wait until `let_commits_go`."""
        self._commits_go.clear()

    def let_commits_go(self) -> None:
        self._commits_go.set()

    def hold_probes(self) -> None:
        """Let probes look now, and answer when `let_probes_go` is called: out of date by then."""
        self._probes_go.clear()

    def let_probes_go(self) -> None:
        self._probes_go.set()

    async def take_over(
        self, org_id: str, *commands: Command, defaults: Settings | None = None, keep: bool = False
    ) -> list[Entry]:
        """Be a second owner: claim a wallet, decide `commands` there, write them.

        With `keep` the wallet stays with the second owner, else it is given up at once.
        """
        seen = {org_id: self.rows[org_id].epoch}
        claims = await super().activate([org_id], owner=OTHER, seen=seen)
        loaded = claims[org_id]
        assert isinstance(loaded, Loaded)
        wallet = wallet_of(loaded, defaults or Settings())
        entries: list[Entry] = []
        for command in commands:
            decision = decide(wallet, command, self._facts(command), self.clock.now_ms())
            assert isinstance(decision, Entry), decision
            evolve(wallet, decision)
            entries.append(decision)
        if entries:
            await super().commit([batch_of(loaded, entries)])
        if not keep:
            await super().release({org_id: self.rows[org_id].epoch})
        return entries

    def _facts(self, command: Command) -> Facts:
        row = self.rows[command.org_id]
        hold = row.holds.get(command.call_id) if isinstance(command, CallCommand) else None
        return Facts(row.keys.get(command.key), None if hold is None or hold.active else hold)

    # --- the port ---------------------------------------------------------------------------

    async def commit(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        self.sent.append(batches)
        await self._commits_go.wait()
        self._complain_if_away()
        match self._faults.popleft() if self._faults else None:
            case Fault.BUSY:
                raise LedgerBusy("told to be busy")
            case Fault.LOST_BEFORE:
                raise OutcomeUnknown("told to lose it")
            case Fault.LOST_AFTER:
                await self._write_all(batches)
                raise OutcomeUnknown("told to lose the answer")
            case Fault.LATE | Fault.TOO_LATE as fault:
                self._late.append((fault, batches))
                raise OutcomeUnknown("told to be late")
            case None:
                return await self._write_all(batches)

    async def _write_all(self, batches: Sequence[WalletBatch]) -> frozenset[str]:
        poisoned = {entry.key for batch in batches for entry in batch.entries} & self.poison
        if poisoned:
            raise NotCommitted(f"told to refuse {poisoned}")
        return await super().commit(batches)

    async def probe(self, probes: Sequence[Probe]) -> Sequence[Found]:
        self.probed.append(probes)
        found = await super().probe(probes)
        await self._probes_go.wait()
        self._complain_if_away()
        if {probe.key for probe in probes} & self.poisoned_probes:
            raise NotCommitted("told to refuse this look-up")
        return found

    async def activate(
        self,
        org_ids: Sequence[str],
        *,
        owner: str,
        seen: Mapping[str, int],
        anew: Collection[str] = (),
    ) -> Mapping[str, Claim]:
        self.claimed.append(org_ids)
        self._complain_if_away()
        await self._land(Fault.LATE)
        claims = await super().activate(org_ids, owner=owner, seen=seen, anew=anew)
        await self._land(Fault.TOO_LATE)
        return claims

    async def _land(self, kind: Fault) -> None:
        landing = [batches for fault, batches in self._late if fault is kind]
        self._late = [one for one in self._late if one[0] is not kind]
        for batches in landing:
            self.late_landed.append(await super().commit(batches))

    async def release(self, epochs: Mapping[str, int]) -> None:
        self._complain_if_away()
        await super().release(epochs)

    async def due(self, *, shards: Sequence[int], before_ms: int, limit: int) -> Sequence[DueHold]:
        self._complain_if_away()
        return await super().due(shards=shards, before_ms=before_ms, limit=limit)

    def _complain_if_away(self) -> None:
        if self.away:
            raise LedgerBusy("told to be away")


def wallet_of(loaded: Loaded, defaults: Settings) -> Wallet:
    """Return the wallet that was loaded, as its owner has it in memory."""
    return Wallet(
        org_id=loaded.org_id,
        settings=settings_of(defaults, loaded.overrides),
        defaults=defaults,
        overrides=loaded.overrides,
        seq=loaded.seq,
        balance_pence=loaded.balance_pence,
        held_pence=loaded.held_pence,
        suspended=loaded.suspended,
        last_ms=loaded.last_ms,
        epoch=loaded.epoch,
        node=OTHER,
        holds={hold.call_id: hold for hold in loaded.holds},
    )


def batch_of(loaded: Loaded, entries: Sequence[Entry]) -> WalletBatch:
    """Return the batch by which the second owner writes `entries`."""
    return WalletBatch(
        org_id=loaded.org_id,
        epoch=loaded.epoch,
        owner=OTHER,
        expected_seq=loaded.seq,
        balance_before_pence=loaded.balance_pence,
        entries=entries,
    )
