"""A provider for development: it takes every command, says so in the log, and ends nothing."""

import structlog

log = structlog.get_logger(__name__)


class SimulatedControl:
    """Implements `ports.CallControl` without a network."""

    async def say_goodbye(self, org_id: str, call_id: str, reason: str) -> None:
        """See `ports.CallControl.say_goodbye`."""
        log.info("Simulated: call told to end", org_id=org_id, call_id=call_id, reason=reason)

    async def hang_up(self, org_id: str, call_id: str) -> None:
        """See `ports.CallControl.hang_up`."""
        log.info("Simulated: call hung up", org_id=org_id, call_id=call_id)

    async def warn(self, org_id: str, call_id: str, seconds: int) -> None:
        """See `ports.CallControl.warn`."""
        log.info("Simulated: caller warned", org_id=org_id, call_id=call_id, seconds=seconds)
