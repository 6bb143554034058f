"""What every command has: an org, a key it is stored under, a fingerprint of what it asks."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar

from wallet_engine.errors import InvalidCommand
from wallet_engine.settings import PENCE_MAX
from wallet_engine.texts import check_call_id, check_key, check_org_id

SECONDS_MAX = 10**7
"""The longest stretch of talk one command may name: 115 days, far above any call."""

CLIENT_SPACE = "client:"
"""Keys of callers live under this prefix, so that none can meet a key the engine derives."""

REASON_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One request to one wallet.

    `strict`: a repeat with other numbers is an error (`/v1`), not the first answer (webhooks).
    """

    verb: ClassVar[str]
    org_id: str
    strict: bool = True
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_org_id(self.org_id)

    @property
    def key(self) -> str:
        """The idempotency key this command is stored under."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """A digest of what this command asks: equal for equal requests."""
        # A member of an enumeration asks for the same as its text.
        asked = [str(value) if isinstance(value, str) else value for value in self.asks().values()]
        text = repr((self.verb, *asked))
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def asks(self) -> dict[str, object]:
        """Return what this command asks for, without its org and its key."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCommand(Command):
    """A command about one call of the org."""

    call_id: str

    def __post_init__(self) -> None:
        check_org_id(self.org_id)
        check_call_id(self.call_id)

    @property
    def key(self) -> str:
        """The key derived from the call: each verb happens once per call."""
        return f"{self.verb}:{self.call_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedCommand(Command):
    """A command whose caller names it by an idempotency key."""

    client_key: str

    def __post_init__(self) -> None:
        check_org_id(self.org_id)
        check_key(self.client_key)

    @property
    def key(self) -> str:
        """The caller's key, in the space of callers."""
        return CLIENT_SPACE + self.client_key


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Refuse whatever is not a whole number in `low`..`high`; `true` is not one."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidCommand(name, f"must be a whole number in {low}..{high}")


def check_pence(value: object) -> None:
    """Refuse whatever is not a positive amount within the limit."""
    check_integer("amount_pence", value, 1, PENCE_MAX)
