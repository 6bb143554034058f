"""What a seed decides beforehand: how much there is of what, and which faults there are at all.

Each kind of fault is there in some seeds and absent in others, often or seldom, since faults
that always come together hide each other.
"""

import random
from dataclasses import dataclass

from wallet_engine.limits import Limits
from wallet_engine.settings import CapPolicy, OnUnavailable, Settings

from .faults import CLUSTER, LARGE, PEER, STATEMENT, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One simulation, before it begins.  Shares are probabilities, times are virtual seconds.

    `quiet_orgs` have no calls, so their wallets may leave memory.  One node is alone, without
    leases; more share the wallets.
    """

    seed: int
    calm: bool
    in_order: bool
    nodes: int
    orgs: tuple[str, ...]
    quiet_orgs: tuple[str, ...]
    settings: Settings
    limits: Limits
    backends: int
    asks_per_backend: int
    look_every_s: float
    calls: int
    storm_s: float
    opening_pence: int
    vapi_deadline_s: float
    statement_faults: dict[Fault, float]
    large_faults: tuple[Fault, ...]
    cluster_faults: tuple[Fault, ...]
    large_every_s: float
    hang_up_share: float
    cancel_share: float
    poison_share: float
    peer_faults: dict[Fault, float]


def plan_of(seed: int) -> Plan:
    """Return what `seed` stands for."""
    rng = random.Random(f"plan {seed}")
    orgs = tuple(f"org-{number}" for number in range(rng.choice((1, 2, 3, 5))))
    quiet_orgs = tuple(f"quiet-{number}" for number in range(rng.choice((0, 3))))
    calm = rng.random() < 0.08
    rate = 0.0 if calm else rng.choice((0.02, 0.06, 0.15))
    kinds = [kind for kind in STATEMENT if rng.random() < 0.6]
    nodes = rng.choice((1, 1, 1, 2, 3))
    large = [] if calm else [kind for kind in LARGE if rng.random() < 0.5]
    of_cluster = [] if calm or nodes == 1 else [kind for kind in CLUSTER if rng.random() < 0.5]
    return Plan(
        seed=seed,
        calm=calm,
        in_order=rng.random() < 0.3,
        nodes=nodes,
        orgs=orgs,
        quiet_orgs=quiet_orgs,
        settings=_settings(rng),
        limits=_limits(rng, len(orgs)),
        backends=rng.randint(3, 8),
        asks_per_backend=rng.randint(6, 20),
        look_every_s=0.0 if nodes == 1 else rng.choice((0.2, 1.0)),
        calls=rng.randint(4, 14),
        storm_s=rng.choice((10.0, 30.0, 60.0)),
        vapi_deadline_s=rng.choice((4.0, 0.4, 0.15)),
        opening_pence=rng.choice((0, 200, 500, 1500, 5000)),
        statement_faults={kind: rate / len(kinds) for kind in kinds} if kinds else {},
        large_faults=tuple(large),
        cluster_faults=tuple(of_cluster),
        large_every_s=rng.choice((2.0, 5.0, 12.0)),
        hang_up_share=0.0 if calm else rng.choice((0.0, 0.05, 0.2)),
        cancel_share=0.0 if calm else rng.choice((0.0, 0.05, 0.2)),
        peer_faults={
            kind: rate / len(PEER)
            for kind in PEER
            if kind is not Fault.PEER_TWICE or rng.random() < 0.25
        },
        poison_share=0.0 if calm else rng.choice((0.0, 0.0, 0.02, 0.1)),
    )


def _settings(rng: random.Random) -> Settings:
    first, increment = rng.choice(((60, 60), (60, 60), (1, 1), (30, 6)))
    return Settings(
        rate_pence_per_minute=rng.choice((56, 56, 7, 600)),
        first_increment_seconds=first,
        increment_seconds=increment,
        hold_minutes=rng.choice((1, 1, 2, 5)),
        min_call_balance_pence=rng.choice((79, 0, 300)),
        debt_limit_pence=rng.choice((500, 500, 0, 100)),
        hold_expiry_minutes=1,
        max_call_seconds=rng.choice((10, 40, 90, 150)),
        cap_policy=rng.choice((CapPolicy.AFFORDABLE, CapPolicy.MAX_CALL)),
        max_concurrent_calls=rng.choice((0, 0, 0, 2)),
        on_unavailable=rng.choice(
            (OnUnavailable.REFUSE, OnUnavailable.REFUSE, OnUnavailable.ALLOW)
        ),
    )


def _limits(rng: random.Random, orgs: int) -> Limits:
    """Bounds that are met now and then: what never fills up proves nothing.

    There is room for every wallet that may have calls, as an operator would see to.
    """
    if rng.random() < 0.4:
        return Limits(remembered_keys=rng.choice((64, 2)), idle_s=rng.choice((10.0, 0.2)))
    return Limits(
        mailbox_per_wallet=rng.choice((4, 64)),
        undurable_per_wallet=rng.choice((3, 64)),
        undurable_per_node=rng.choice((8, 1000)),
        wallets_max=rng.choice((orgs + 1, 100)),
        remembered_keys=rng.choice((0, 2, 64)),
        idle_s=rng.choice((0.1, 2.0)),
        unknown_s=0.5,
        activation_batch=rng.choice((1, 3, 50)),
        probe_batch=rng.choice((1, 4, 512)),
        batch_wallets=rng.choice((1, 2, 128)),
        batch_entries=rng.choice((2, 5, 512)),
        batch_entries_per_wallet=rng.choice((1, 3, 256)),
    )
