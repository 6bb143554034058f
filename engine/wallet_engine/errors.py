"""What can go wrong that is not a refusal: each type says what was done by then.

    WalletError
    ├── InvalidCommand      the request is malformed; nothing was done
    ├── UnknownOrg          no such wallet; nothing was done
    ├── Overloaded          a bound is reached; nothing was decided
    ├── DeadlinePassed      no answer in time; retry with the same key to learn the outcome
    ├── LedgerUnavailable   the ledger cannot be reached; nothing was written
    ├── LedgerFault         the ledger refused this one command; nothing was written
    ├── CallControlFailed   a provider did not take a command about a live call
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
