"""An owner of wallets without an engine around it: claims, decides, and makes batches."""

from collections.abc import Iterable, Mapping

from wallet_engine.commands import Command
from wallet_engine.ports import Claim, Ledger, Loaded, Probe, Taken, WalletBatch
from wallet_engine.rules import Facts, decide
from wallet_engine.settings import Settings, settings_of
from wallet_engine.wallet import Entry, Hold, Wallet, evolve

from .builders import T0_MS

DEFAULTS = Settings()


class Owner:
    """Owns wallets under the name `boot`, on `ledger`.

    It decides on what it has in memory and never looks back: what it decided but did not
    commit, or what was fenced, is as good as written to it.
    """

    def __init__(self, ledger: Ledger, boot: str, *, node: str = "node-1") -> None:
        self.ledger = ledger
        self.boot = boot
        self.node = node
        self.now_ms = T0_MS
        self.wallets: dict[str, Wallet] = {}
        self.ended: dict[tuple[str, str], Hold] = {}

    async def claim(self, *org_ids: str, tenure_ms: int = 0) -> None:
        """Own `org_ids`, all of which must be free to be owned."""
        claims = await claimed(self.ledger, org_ids, owner=self.boot, tenure_ms=tenure_ms)
        for org_id in org_ids:
            loaded = claims[org_id]
            assert isinstance(loaded, Loaded)
            self.wallets[org_id] = wallet_of(loaded, node=self.node)

    def decided(self, command: Command, facts: Facts | None = None) -> Entry:
        """Decide a command, which must not be refused, and believe in it."""
        wallet = self.wallets[command.org_id]
        call = (command.org_id, getattr(command, "call_id", ""))
        hold = None if call[1] in wallet.holds else self.ended.get(call)
        decision = decide(wallet, command, facts or Facts(hold=hold), self.now_ms)
        assert isinstance(decision, Entry), decision
        evolve(wallet, decision)
        if decision.hold is not None and not decision.hold.active:
            self.ended[call] = decision.hold
        return decision

    def batch(self, *commands: Command) -> WalletBatch:
        """Decide `commands`, all of one wallet, and return the batch that writes them."""
        before = self.wallets[commands[0].org_id]
        seq, balance_pence = before.seq, before.balance_pence
        return self.batch_of([self.decided(command) for command in commands], seq, balance_pence)

    def batch_of(self, entries: list[Entry], seq: int, balance_pence: int) -> WalletBatch:
        """Return the batch that writes `entries` on top of `seq`."""
        wallet = self.wallets[entries[0].org_id]
        return WalletBatch(wallet.org_id, wallet.epoch, self.boot, seq, balance_pence, entries)

    async def write(self, *commands: Command) -> list[Entry]:
        """Decide `commands`, all of one wallet, and make them durable."""
        batch = self.batch(*commands)
        assert await self.ledger.commit([batch]) == {batch.org_id}
        return list(batch.entries)


async def claimed(
    ledger: Ledger, org_ids: Iterable[str], *, owner: str, tenure_ms: int = 0
) -> Mapping[str, Claim]:
    """Claim wallets as a node does: from another owner, if that one has had them long enough."""
    claims = dict(await ledger.activate(list(org_ids), owner=owner, seen={}))
    taken = [claim for claim in claims.values() if isinstance(claim, Taken)]
    if over := {one.org_id: one.epoch for one in taken if one.held_ms >= tenure_ms}:
        claims |= await ledger.activate(list(over), owner=owner, seen=over)
    return claims


def wallet_of(loaded: Loaded, *, node: str = "node-1") -> Wallet:
    """Return the wallet that was loaded, as its owner has it in memory."""
    return Wallet(
        org_id=loaded.org_id,
        settings=settings_of(DEFAULTS, loaded.overrides),
        defaults=DEFAULTS,
        overrides=loaded.overrides,
        seq=loaded.seq,
        balance_pence=loaded.balance_pence,
        held_pence=loaded.held_pence,
        suspended=loaded.suspended,
        last_ms=loaded.last_ms,
        epoch=loaded.epoch,
        node=node,
        holds={hold.call_id: hold for hold in loaded.holds},
        started=dict(loaded.started_ms),
    )


async def stored(ledger: Ledger, entries: Iterable[Entry]) -> list[Entry | None]:
    """Return what is durable under the keys of `entries`."""
    probes = [Probe(entry.org_id, entry.key, "") for entry in entries]
    return [found.entry for found in await ledger.probe(probes)]


async def stored_hold(ledger: Ledger, org_id: str, call_id: str) -> Hold | None:
    """Return the durable hold of a call."""
    [found] = await ledger.probe([Probe(org_id, "", call_id)])
    return found.hold


async def look(ledger: Ledger, *org_ids: str) -> list[Loaded]:
    """Return wallets as stored.  Takes them over from whoever owns them."""
    claims = await claimed(ledger, org_ids, owner="looker")
    found = [claims[org_id] for org_id in org_ids]
    loaded = [claim for claim in found if isinstance(claim, Loaded)]
    await ledger.release({claim.org_id: claim.epoch for claim in loaded})
    return loaded
