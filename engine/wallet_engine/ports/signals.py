"""The clock the engine reads, and what it tells the outside without waiting."""

from typing import Protocol

from wallet_engine.wallet import Entry


class Clock(Protocol):
    """Where the engine gets the time."""

    def now_ms(self) -> int:
        """Return the time now; never goes back while the process lives."""


class Effects(Protocol):
    """What follows from durable decisions, off the money path.  Must not block or raise."""

    def call_killed(self, org_id: str, call_id: str, reason: str, *, since_ms: int) -> None:
        """A managed call must end, durably, since `since_ms`: make it end.  May come again."""

    def call_final(self, org_id: str, call_id: str, ends_ms: int) -> None:
        """Not even one more increment can be afforded: warn the caller."""

    def call_ended(self, org_id: str, call_id: str) -> None:
        """A call is settled, released or expired: nothing more is to be done for it."""

    def call_left(self, org_id: str, call_id: str) -> None:
        """A call is not this node's business any more: another one has it, or has ended it."""

    def decided(self, entry: Entry) -> None:
        """An entry became durable."""


class Stats(Protocol):
    """What the engine counts.  Must not block or raise; called on the hot path."""

    def decided(self, verb: str, outcome: str, code: str, seconds: float) -> None:
        """An ask was answered; `code` is empty but for refusals and errors."""

    def committed(self, wallets: int, entries: int, seconds: float) -> None:
        """A batch became durable."""

    def killed(self, seconds: float) -> None:
        """A call was told to end, `seconds` after the reason came to be."""

    def fenced(self, cause: str) -> None:
        """A write was turned away, or an outcome was lost: `cause` says which."""

    def forwarded(self, outcome: str) -> None:
        """An ask was sent to another node: `outcome` says what came of it."""


class CallControl(Protocol):
    """Speaks to live calls through their provider.

    Every method raises `CallControlFailed` when the provider did not take the command.
    """

    async def say_goodbye(self, org_id: str, call_id: str, reason: str) -> None:
        """Say why the call ends, and end it when that is spoken."""

    async def hang_up(self, org_id: str, call_id: str) -> None:
        """End the call now."""

    async def warn(self, org_id: str, call_id: str, seconds: int) -> None:
        """Say that the call ends in `seconds` unless money comes in."""
