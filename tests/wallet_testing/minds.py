"""What one process believes of wallets: right after a claim, and wrong once another has come."""

from collections.abc import Sequence

from wallet_engine.commands import CallCommand, Command
from wallet_engine.errors import InvalidCommand
from wallet_engine.ports import Found, Loaded, WalletBatch
from wallet_engine.rules import Facts, decide
from wallet_engine.wallet import Entry, Hold, Wallet, evolve

from .builders import T0_MS
from .owners import wallet_of


class Mind:
    """Decides for the process `boot`, wallet by wallet, on top of what it decided before."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.now_ms = T0_MS
        self.wallets: dict[str, Wallet] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._ended: dict[tuple[str, str], Hold] = {}

    def learn(self, loaded: Loaded) -> None:
        """Believe what a claim has loaded."""
        self.forget(loaded.org_id)
        self.wallets[loaded.org_id] = wallet_of(loaded, node=f"node-of-{self.boot}")

    def forget(self, org_id: str) -> None:
        """Believe nothing of a wallet any more."""
        self.wallets.pop(org_id, None)
        for known in (self._entries, self._ended):
            for org_and_name in [one for one in known if one[0] == org_id]:
                del known[org_and_name]

    def batch(
        self, org_id: str, asked: Sequence[tuple[Command, Found]], *, carelessly: bool
    ) -> WalletBatch | None:
        """Decide commands of one wallet, of which the journal says what was `Found`.

        Carelessly: without a look at the journal, or at what was decided just now.  None means
        that nothing came of it but replays and refusals.
        """
        wallet = self.wallets[org_id]
        seq, balance_pence = wallet.seq, wallet.balance_pence
        entries = []
        for command, found in asked:
            facts = Facts() if carelessly else self._facts(command, found)
            try:
                entry = decide(wallet, command, facts, self.now_ms)
            except InvalidCommand:
                continue
            if isinstance(entry, Entry):
                self._believe(wallet, entry)
                entries.append(entry)
        if not entries:
            return None
        return WalletBatch(org_id, wallet.epoch, self.boot, seq, balance_pence, entries)

    def _facts(self, command: Command, found: Found) -> Facts:
        org_id = command.org_id
        entry = self._entries.get((org_id, command.key), found.entry)
        if not isinstance(command, CallCommand) or command.call_id in self.wallets[org_id].holds:
            return Facts(entry=entry)
        hold = self._ended.get((org_id, command.call_id), found.hold)
        return Facts(entry=entry, hold=None if hold is None or hold.active else hold)

    def _believe(self, wallet: Wallet, entry: Entry) -> None:
        evolve(wallet, entry)
        self._entries[wallet.org_id, entry.key] = entry
        if entry.hold is not None and not entry.hold.active:
            self._ended[wallet.org_id, entry.hold.call_id] = entry.hold
