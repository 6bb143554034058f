"""The kill switch of the whole fleet: stored once, followed by every node."""

import asyncio
import logging

from .errors import WalletError
from .node import Node
from .ports import FleetStore, FleetSwitch

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How late another node may follow a switch."""


class Fleet:
    """Follows the stored switch, and throws it."""

    def __init__(self, *, node: Node, store: FleetStore) -> None:
        self._node = node
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self.switch: FleetSwitch | None = None

    @property
    def stopped(self) -> bool:
        """Whether no new calls or purchases are allowed anywhere."""
        return self.switch is not None and self.switch.engaged

    async def start(self) -> None:
        """Learn the switch as it stands, then follow it."""
        self._apply(await self._store.newest())
        self._task = asyncio.create_task(self._follow(), name="wallet-fleet")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def throw(
        self, *, key: str, engaged: bool, end_live_calls: bool, reason: str, actor: str
    ) -> tuple[FleetSwitch, bool]:
        """Store a new state, then follow it; return it and whether it is a repeat.

        Raises:
            LedgerUnavailable: as the store; a retry with the same key is safe.
        """
        switch, repeat = await self._store.throw(
            key=key, engaged=engaged, end_live_calls=end_live_calls, reason=reason, actor=actor
        )
        self._apply(switch)
        return switch, repeat

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self._apply(await self._store.newest())
            except WalletError as error:
                log.warning("the fleet's switch cannot be read, it stays as it is: %s", error)
            except Exception:
                log.exception("following the fleet's switch met a bug; it goes on")

    def _apply(self, switch: FleetSwitch | None) -> None:
        """Follow `switch` unless it is older than the one we follow."""
        if switch is None or (self.switch and switch.switch_id <= self.switch.switch_id):
            return
        self.switch = switch
        log.warning("fleet switch: engaged=%s reason=%s", switch.engaged, switch.reason)
        self._node.stop_fleet(stopped=switch.engaged, end_live_calls=switch.end_live_calls)
