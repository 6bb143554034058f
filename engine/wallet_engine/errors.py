"""What can go wrong that is not a refusal: each type says what was done by then.

    WalletError
    ├── InvalidCommand      the request is malformed; nothing was done
    ├── UnknownOrg          no such wallet; nothing was done
    ├── Overloaded          a bound is reached; nothing was decided
    ├── DeadlinePassed      no answer in time; retry with the same key to learn the outcome
    ├── LedgerUnavailable   the ledger cannot be reached; nothing was written
    ├── LedgerFault         the ledger refused this one command; nothing was written
    ├── OwnerUnreachable    the node that owns the wallet cannot be asked; nothing was decided
    ├── CallControlFailed   a provider did not take a command about a live call
    ├── ClusterError        raised between nodes only, never seen by callers
    │   ├── NotMine         another node owns this wallet; nothing was decided
    │   ├── PeerUnreachable another node cannot be asked; nothing was decided
    │   ├── PeerLost        no answer from another node; it may have been decided
    │   └── LeasesUnavailable  the leases cannot be reached
    └── LedgerError         raised by ledgers only, never seen by callers
        ├── NotCommitted    this statement failed for a reason of its own; nothing was written
        ├── LedgerBusy      the ledger cannot work now; nothing was written, try again later
        └── OutcomeUnknown  no answer came; it may have been written, or may still be

Refusals by the rules (no money, suspended …) are values, see `journal.Refusal`.
"""


class WalletError(Exception):
    """The root of every operating error."""


class InvalidCommand(WalletError):
    """The request is malformed: `field` names the part.  Nothing was done."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownOrg(WalletError):
    """There is no wallet of that name.  Nothing was done."""

    def __init__(self, org_id: str) -> None:
        super().__init__(f"There is no organisation {org_id}.")
        self.org_id = org_id


class Overloaded(WalletError):
    """A bound is reached.  Nothing was decided; try again shortly."""


class DeadlinePassed(WalletError):
    """No answer in time.  A retry with the same key tells what became of it."""


class LedgerUnavailable(WalletError):
    """The ledger cannot be reached.  Nothing was written."""


class LedgerFault(WalletError):
    """The ledger refused this one command.  Nothing was written."""


class OwnerUnreachable(WalletError):
    """The node that owns the wallet cannot be asked in time.  Nothing was decided."""


class ClusterError(WalletError):
    """The root of what nodes say to each other."""


class NotMine(ClusterError):
    """Another node owns this wallet.  Nothing was decided; `owner` is its token, if known."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"This wallet belongs to {owner or 'another node'}.")
        self.owner = owner


class PeerUnreachable(ClusterError):
    """Another node cannot be asked.  Nothing was decided."""


class PeerLost(ClusterError):
    """No answer from another node.  It may have been decided; a retry with the same key tells."""


class LeasesUnavailable(ClusterError):
    """The leases cannot be reached.  What was asked of them may have happened."""


class CallControlFailed(WalletError):
    """A provider did not take a command about a live call.  It may be tried again."""


class LedgerError(WalletError):
    """The root of what a ledger may raise to the engine."""


class NotCommitted(LedgerError):
    """The statement failed for a reason of its own.  Nothing was written."""


class LedgerBusy(LedgerError):
    """The ledger cannot work now.  Nothing was written."""


class OutcomeUnknown(LedgerError):
    """No answer came.  The statement may have been committed, or may still be."""
