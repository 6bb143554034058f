"""What a journal row answers: its command, read back from what the row records, and decided again.

A row records its inputs, so whoever doubts it can ask the rules once more.  Pure.
"""

from collections.abc import Mapping
from typing import Any

from .commands import (
    CLIENT_SPACE,
    ChangeSettings,
    Command,
    Commit,
    Credit,
    CreditType,
    Deduct,
    Expire,
    Extend,
    Kill,
    Prolong,
    Proof,
    Release,
    Reserve,
    Resume,
    SpendClass,
    Suspend,
)
from .rules import Facts, decide
from .wallet import Entry, Hold, Wallet

ADJUST = "adjust:"
CREDITS = frozenset(str(credit) for credit in CreditType)


def command_of(entry: Entry) -> Command:
    """Return the command that `entry` answers.

    A text that the caller left out cannot be told from one that says what we would have put
    there; then the one is returned that gives the row's fingerprint.

    Raises:
        LookupError, TypeError, ValueError, WalletError: the row does not record one.
    """
    if entry.type == "settings_change":
        changes = entry.detail["changes"]
        assert isinstance(changes, Mapping)
        return ChangeSettings(org_id=entry.org_id, client_key=_client_key(entry), changes=changes)
    if entry.hold is not None:
        return _call_command(entry, entry.hold)
    told = _keyed_command(entry, entry.description)
    if told.fingerprint != entry.fingerprint and told.verb in ("deduct", "credit"):
        untold = _keyed_command(entry, "")
        if untold.fingerprint == entry.fingerprint:
            return untold
    return told


def key_of(command: Command, entry: Entry) -> str:
    """Return the key that a row answering `command` must have."""
    if entry.type == "settings_change" and not entry.key.startswith(CLIENT_SPACE):
        return entry.key  # what an org was created with has a key that no caller can have
    if entry.type == "adjustment" and entry.hold is not None:
        return f"{ADJUST}{entry.hold.call_id}"
    if not command.key and entry.hold is not None:
        return f"extend:{entry.hold.call_id}:{entry.hold.extensions}"
    return command.key


def decided_again(
    wallet: Wallet, command: Command, entry: Entry, first: Entry | None, ended: Hold | None
) -> object:
    """Return what the rules say of `command` now, under the ownership that wrote `entry`.

    `wallet` is as it was before the row; `first` and `ended` are what was known of the
    command's key and call.  Equal to the row if all is well, see `same`.
    """
    wallet.epoch, wallet.node = entry.epoch, entry.node
    return decide(wallet, command, Facts(first, ended), entry.at_ms)


def same(decision: object, entry: Entry) -> bool:
    """Whether a decision is the one in the row.

    When a call's clock started is not in the journal, so when its hold falls due may differ.
    """
    return isinstance(decision, Entry) and _without_due(decision) == _without_due(entry)


def _without_due(entry: Entry) -> Entry:
    hold = entry.hold
    detail = {name: value for name, value in entry.detail.items() if name != "hold"}
    return entry._replace(detail=detail, hold=None if hold is None else hold._replace(due_ms=0))


def _client_key(entry: Entry) -> str:
    return entry.key.removeprefix(CLIENT_SPACE)


def _keyed_command(entry: Entry, description: str) -> Command:
    org_id, key = entry.org_id, _client_key(entry)
    if entry.type in CREDITS:
        return Credit(
            org_id=org_id,
            client_key=key,
            amount_pence=entry.amount_pence,
            type=CreditType(entry.type),
            description=description,
        )
    if entry.type == "suspend":
        return Suspend(org_id=org_id, client_key=key, reason=description)
    if entry.type == "resume":
        return Resume(org_id=org_id, client_key=key, reason=description)
    return Deduct(
        org_id=org_id,
        client_key=key,
        amount_pence=-entry.amount_pence,
        spend_class=SpendClass(str(entry.detail["class"])),
        type=entry.type,
        description=description,
    )


def _call_command(entry: Entry, hold: Hold) -> Command:  # noqa: PLR0911  # a table
    org_id, call_id = entry.org_id, hold.call_id
    asked = entry.detail.get("asked", {})
    assert isinstance(asked, Mapping)
    client_key = _client_key(entry) if entry.key.startswith(CLIENT_SPACE) else None
    match entry.type:
        case "reservation":
            attempt = int(str(entry.detail.get("attempt", 0)))
            return Reserve(
                org_id=org_id,
                call_id=call_id,
                managed=hold.managed,
                attempt=attempt,
                **_own(asked),
            )
        case "reservation_extension" if len(_own(asked)) == 0:
            return Prolong(org_id=org_id, call_id=call_id)
        case "reservation_extension":
            return Extend(org_id=org_id, call_id=call_id, client_key=client_key, **_own(asked))
        case "reservation_expiry":
            return Expire(org_id=org_id, call_id=call_id)
        case "reservation_release" if "proof" not in entry.detail:
            reason = entry.description.removeprefix(f"Hold for call {call_id} released: ")
            return Release(org_id=org_id, call_id=call_id, reason=reason)
        case "call_kill":
            return Kill(org_id=org_id, call_id=call_id, client_key=client_key, **_own(asked))
        case "call_deduction" | "reservation_release" | "adjustment":
            proof = Proof[str(entry.detail["proof"]).upper()]
            strict = entry.type != "adjustment"
            return Commit(org_id=org_id, call_id=call_id, proof=proof, strict=strict, **_own(asked))
        case _:
            raise ValueError(f"{entry.type} is no decision about a call")


def _own(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked beside the call's name."""
    return {name: value for name, value in asked.items() if name != "call_id"}
