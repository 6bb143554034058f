"""The bounds of one node.  Everything that waits is counted, and full means: refuse now.

Texts are bounded where commands are made (a command is below 2 KiB), so a bound on how many
wait bounds the bytes too: 65,536 waiting commands are at most 128 MiB.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Counts, seconds and milliseconds as named; the reasons stand beside the settings."""

    mailbox_per_wallet: int = 1024
    undurable_per_wallet: int = 4096
    undurable_per_node: int = 65_536
    waiting_per_node: int = 65_536
    wallets_max: int = 100_000
    remembered_keys: int = 64
    idle_s: float = 10.0
    unknown_s: float = 2.0
    unknown_max: int = 10_000
    activation_batch: int = 50
    tenure_ms: int = 1000
    probe_batch: int = 512
    batch_wallets: int = 128
    batch_entries: int = 512
    batch_entries_per_wallet: int = 256
    sweep_s: float = 1.0
