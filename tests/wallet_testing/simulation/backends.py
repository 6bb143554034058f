"""A platform's backends: they spend, pay in, place calls of their own, and repeat themselves."""

import asyncio
import random
from typing import TYPE_CHECKING

from wallet_engine.commands import Ask, Command, CreditType, Query
from wallet_engine.errors import (
    InvalidCommand,
    Overloaded,
    OwnerUnreachable,
    UnknownOrg,
    WalletError,
)
from wallet_engine.journal import Outcome
from wallet_testing import builders

from .faults import Fault
from .history import Asked, NoAnswer

if TYPE_CHECKING:
    from .node import SimNode
    from .universe import Universe

DEADLINE_S = 5.0
"""How long the engine may take for an ask: the setting's default."""

CLIENT_S = 8.0
"""How long a client waits: longer than the engine may take."""

RETRY_S = (0.02, 0.1, 0.4, 1.0)
GIVES_UP = 0.15
"""How often a client does not repeat what it got no answer to, while the storm lasts."""

TWINS = 0.3
"""How often a client asks the same twice at once, or nearly so."""

LOOKS = 0.4
"""How often a client looks at a wallet before it asks for something: it must never see the past."""

NOBODY = "nobody"


class Backend:
    """One client: asks one thing after the other, some of them twice at once."""

    def __init__(self, name: str, universe: "Universe") -> None:
        self.name = name
        self._universe = universe
        self._rng = random.Random(f"{name} {universe.plan.seed}")
        self._number = 0
        self._done: list[Command] = []
        self._calls: list[tuple[str, str]] = []

    async def work(self, asks: int) -> None:
        """Ask so much, with pauses."""
        rng, plan = self._rng, self._universe.plan
        pause_s = plan.storm_s / asks
        for _ in range(asks):
            ask = self._next()
            if rng.random() < LOOKS:
                await self.insist(builders.look(org_id=self._org()))
            if rng.random() < TWINS:
                delay_s = rng.choice((0.0, 0.003, 0.3)) * rng.random()
                twin = asyncio.create_task(self._insist_after(delay_s, ask))
                await self.insist(ask)
                await twin
            else:
                await self.insist(ask)
            if rng.random() < 0.7 and not self._universe.weather.over:
                await asyncio.sleep(min(rng.expovariate(1 / pause_s), 5 * pause_s))

    async def watch(self) -> None:
        """Look at one wallet after the other for as long as the storm lasts, as customers do."""
        every_s = self._universe.plan.look_every_s
        while every_s and not self._universe.weather.over:
            await self.ask(builders.look(org_id=self._org()))
            await asyncio.sleep(self._rng.expovariate(1 / every_s))

    async def _insist_after(self, delay_s: float, ask: Ask) -> None:
        await asyncio.sleep(delay_s)
        await self.insist(ask)

    async def insist(self, ask: Ask) -> Asked:
        """Ask until there is an answer, or, in a storm, until it seems hopeless."""
        rng, weather = self._rng, self._universe.weather
        attempt = 0
        while True:
            asked = await self.ask(ask)
            if asked.answer is not None or asked.error in _FINAL:
                break
            if not weather.over and rng.random() < GIVES_UP:
                break
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)] * rng.uniform(0.5, 1.5))
            attempt += 1
        if asked.answer is not None and asked.answer.outcome is Outcome.CREATED:
            assert isinstance(ask, Command)
            self._done.append(ask)
        return asked

    async def ask(self, ask: Ask) -> Asked:
        """Ask once, and note what came of it."""
        universe = self._universe
        history = universe.history
        asked = Asked(
            client=self.name,
            ask=ask,
            known_seq=history.known[ask.org_id],
            sent_tick=universe.server.tick,
        )
        history.asked.append(asked)

        def answered(node: "SimNode") -> None:
            asked.done_tick = universe.server.tick
            asked.stale = universe.is_stale(node, ask.org_id)

        universe.say(f"{self.name} asks {ask}")
        try:
            answer = await universe.send(
                lambda node: node.node.ask(ask, timeout_s=DEADLINE_S),
                timeout_s=CLIENT_S,
                answered=answered,
            )
        except (NoAnswer, WalletError) as error:
            asked.error = type(error).__name__
            asked.unwritten = isinstance(
                error, Overloaded | OwnerUnreachable
            ) or "nothing was written" in str(error)
            universe.say(f"{self.name} gets {error!r} for {ask.verb} {ask.org_id}")
            return asked
        asked.answer = answer
        universe.say(f"{self.name} hears {answer.outcome} {dict(answer.body)}")
        seq = answer.body.get("seq")
        if isinstance(seq, int) and not answer.body.get("dry_run"):
            history.heard(ask.org_id, seq)
        return asked

    # --- what is asked ------------------------------------------------------------------------

    def _next(self) -> Ask:
        rng = self._rng
        self._number += 1
        luck = rng.random()
        if self._done and luck < 0.08:
            return rng.choice(self._done)
        org_id = self._org()
        if luck < 0.11 and self._done:
            reused = rng.choice(self._done)
            key = getattr(reused, "client_key", None)
            if key is not None:
                return builders.charge(rng.randint(1, 90), key=key, org_id=reused.org_id)
        if luck < 0.12:
            return builders.look(org_id=NOBODY)
        if luck < 0.50 or org_id in self._universe.plan.quiet_orgs:
            return self._money(org_id)
        if luck < 0.92:
            return self._call(org_id)
        return self._question(org_id)

    def _org(self) -> str:
        plan = self._universe.plan
        if plan.quiet_orgs and self._rng.random() < 0.1:
            return self._rng.choice(plan.quiet_orgs)
        return self._rng.choice((plan.orgs[0], *plan.orgs))

    def _key(self) -> str:
        key = f"{self.name}-{self._number}"
        if self._faulty(self._universe.plan.poison_share):
            self._universe.tally.faults[Fault.POISON.value] += 1
            self._universe.server.poison.add(f"client:{key}")
        elif self._faulty(self._universe.plan.poison_share / 2):
            self._universe.tally.faults[Fault.POISONED_PROBE.value] += 1
            self._universe.weather.poisoned_probes.add(f"client:{key}")
        return key

    def _faulty(self, share: float) -> bool:
        return not self._universe.weather.over and self._rng.random() < share

    def _money(self, org_id: str) -> Command:  # noqa: PLR0911  # a table
        rng, key = self._rng, self._key()
        dry_run = rng.random() < 0.05
        match rng.choices(
            ("charge", "buy", "topup", "adjust", "clawback", "suspend", "resume", "settings"),
            (30, 20, 25, 4, 3, 3, 6, 3),
        )[0]:
            case "charge":
                pence = rng.choice((rng.randint(1, 90), rng.randint(1, 600)))
                return builders.charge(pence, key=key, org_id=org_id, dry_run=dry_run)
            case "buy":
                pence = rng.choice((rng.randint(1, 90), 1000))
                return builders.buy(pence, key=key, org_id=org_id, dry_run=dry_run)
            case "topup":
                type_ = rng.choice((CreditType.TOPUP, CreditType.BONUS, CreditType.REFUND))
                pence = rng.randint(1, 900)
                return builders.credit(pence, key=key, org_id=org_id, type=type_, dry_run=dry_run)
            case "adjust":
                pence = rng.choice((-1, 1)) * rng.randint(1, 300)
                kind = CreditType.ADJUSTMENT
                return builders.credit(pence, key=key, org_id=org_id, type=kind)
            case "clawback":
                kind = CreditType.CLAWBACK
                return builders.credit(-rng.randint(1, 500), key=key, org_id=org_id, type=kind)
            case "suspend":
                return builders.suspend(key=key, org_id=org_id)
            case "resume":
                return builders.resume(key=key, org_id=org_id)
            case _:
                changes = {"debt_limit_pence": rng.choice((None, 0, 50, 500))}
                return builders.change_settings(changes, key=key, org_id=org_id)

    def _call(self, org_id: str) -> Command:
        rng = self._rng
        dry_run = rng.random() < 0.04
        if not self._calls or rng.random() < 0.4:
            # Some names are everybody's: one call, reserved by several at once.
            call_id = rng.choice(
                (f"{self.name}-call-{self._number}", f"shared-{rng.randint(0, 5)}")
            )
            self._calls.append((org_id, call_id))
            rate = self._universe.plan.settings.rate_pence_per_minute
            pence = rng.choice((None, None, rng.randint(1, 2 * rate)))
            return builders.reserve(call_id, org_id=org_id, pence=pence, dry_run=dry_run)
        org_id, call_id = rng.choice(self._calls)
        match rng.choices(("extend", "commit", "release", "kill"), (30, 40, 15, 6))[0]:
            case "extend":
                key = rng.choice((None, self._key()))
                seconds = rng.randint(1, 60)
                return builders.extend(
                    call_id, org_id=org_id, seconds=seconds, key=key, dry_run=dry_run
                )
            case "commit":
                if rng.random() < 0.2:
                    return builders.commit(call_id, org_id=org_id, pence=rng.randint(0, 900))
                ms = rng.choice((0, rng.randint(1, 240_000)))
                return builders.commit(call_id, org_id=org_id, ms=ms, dry_run=dry_run)
            case "release":
                return builders.release(call_id, org_id=org_id, dry_run=dry_run)
            case _:
                return builders.kill(call_id, org_id=org_id, key=self._key())

    def _question(self, org_id: str) -> Query:
        if self._calls and self._rng.random() < 0.5:
            org_id, call_id = self._rng.choice(self._calls)
            return builders.check(call_id, org_id=org_id, seconds=self._rng.randint(0, 300))
        return builders.look(org_id=org_id)


_FINAL = frozenset({UnknownOrg.__name__, InvalidCommand.__name__})
"""Errors that repeating does not mend."""
