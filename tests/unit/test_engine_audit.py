"""The audit: a sound wallet has no findings, and each kind of drift is found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from wallet_engine.audit import Auditor, StoredWallet
from wallet_engine.commands import Proof
from wallet_engine.wallet import Entry, Hold
from wallet_testing.book import Book
from wallet_testing.builders import (
    ORG,
    admit,
    change_settings,
    charge,
    commit,
    credit,
    expire,
    extend,
    heard,
    kill,
    prolong,
    release,
    reserve,
    resume,
    suspend,
)


def sound() -> Book:
    """Return a wallet to which everything happened that can."""
    book = Book(5000)
    for command in (
        reserve("settled"),
        extend("settled", seconds=60),
        commit("settled", seconds=90),
        admit("corrected"),
        prolong("corrected"),
        heard("corrected", seconds=60, proof=Proof.ENDED),
        heard("corrected", seconds=61),
        reserve("released"),
        release("released"),
        reserve("expired"),
        admit("live"),
        admit("killed"),
        kill("killed"),
        charge(100),
        suspend(),
        resume(),
        change_settings({"hold_minutes": 6}),
        credit(1),
    ):
        book.do(command)
    book.pass_time(seconds=1800)
    book.do(expire("expired"))
    return book


Rows = Sequence[Entry]
Tamper = Callable[[list[Entry], list[Hold], StoredWallet], tuple[Rows, list[Hold], StoredWallet]]


def audited(tamper: Tamper) -> list[str]:
    """Audit a sound wallet after somebody tampered with what is stored of it."""
    book = sound()
    wallet = book.wallet
    stored = StoredWallet(
        org_id=ORG,
        seq=wallet.seq,
        epoch=wallet.epoch,
        balance_pence=wallet.balance_pence,
        held_pence=wallet.held_pence,
        suspended=wallet.suspended,
        overrides=wallet.overrides,
    )
    holds = [*wallet.holds.values(), *book.ended.values()]
    rows, holds, stored = tamper(list(book.journal), holds, stored)
    auditor = Auditor(ORG, wallet.defaults, decides=True)
    for row in rows:
        auditor.row(row)
    return auditor.finish(stored, holds)


def test_a_sound_wallet() -> None:
    """Nothing is found where nothing is wrong."""
    assert audited(lambda rows, holds, stored: (rows, holds, stored)) == []


def test_an_empty_wallet() -> None:
    """A wallet to which nothing happened has an empty journal, and is sound."""
    assert Book().audit() == []


def changed(index: int, **values: object) -> Tamper:
    """Change fields of one row."""

    def tamper(
        rows: list[Entry], holds: list[Hold], stored: StoredWallet
    ) -> tuple[Rows, list[Hold], StoredWallet]:
        rows[index] = rows[index]._replace(**values)  # type: ignore[arg-type]  # named by the test
        return rows, holds, stored

    return tamper


def hold_changed(call_id: str, **values: object) -> Tamper:
    """Change fields of one stored hold."""

    def tamper(
        rows: list[Entry], holds: list[Hold], stored: StoredWallet
    ) -> tuple[Rows, list[Hold], StoredWallet]:
        found = [
            hold._replace(**values) if hold.call_id == call_id else hold  # type: ignore[arg-type]  # as above
            for hold in holds
        ]
        return rows, found, stored

    return tamper


DRIFT: dict[str, tuple[Tamper, str]] = {
    "a row is missing": (lambda rows, holds, it: (rows[:3] + rows[4:], holds, it), "does not foll"),
    "the first row is missing": (lambda rows, holds, it: (rows[1:], holds, it), "does not follow"),
    "the last row is missing": (lambda rows, holds, it: (rows[:-1], holds, it), "seq is"),
    "a row is there twice": (lambda rows, holds, it: ([*rows, rows[-1]], holds, it), "there twice"),
    "rows are swapped": (
        lambda rows, holds, it: ([rows[0], rows[2], rows[1], *rows[3:]], holds, it),
        "does not follow",
    ),
    "an amount differs": (changed(3, amount_pence=-1), "does not follow"),
    "a balance differs": (changed(3, balance_before_pence=1), "does not follow"),
    "a held sum differs": (changed(3, held_after_pence=1), "does not follow"),
    "held below zero": (changed(1, held_delta_pence=-1, held_after_pence=-1), "does not follow"),
    "a key is there twice": (changed(-1, key="client:opening"), "there twice"),
    "a key is another one's": (changed(1, key="client:else"), "is not the key of what it answers"),
    "a type is another one": (changed(-2, type="bonus"), "answers another request"),
    "a description is another one": (changed(-2, description="Bonus"), "the rules say"),
    "a fingerprint is another one": (
        changed(1, fingerprint="0" * 32),
        "answers another request than it records",
    ),
    "what was asked is another thing": (
        changed(2, detail={"asked": {"call_id": "settled", "seconds": 1, "amount_pence": None}}),
        "answers another request than it records",
    ),
    "nothing says what was asked": (changed(3, detail={}), "does not say what it answers"),
    "an epoch falls": (changed(2, epoch=-1), "epoch -1 after 0"),
    "an epoch from the future": (changed(-1, epoch=7), "epoch above the wallet's own"),
    "time goes back": (changed(5, at_ms=1), "earlier than the row before"),
    "the stored seq differs": (
        lambda rows, holds, it: (rows, holds, replace(it, seq=it.seq + 1)),
        "seq is",
    ),
    "the stored balance differs": (
        lambda rows, holds, it: (rows, holds, replace(it, balance_pence=it.balance_pence + 1)),
        "balance_pence is",
    ),
    "the stored held sum differs": (
        lambda rows, holds, it: (rows, holds, replace(it, held_pence=it.held_pence - 1)),
        "held_pence is",
    ),
    "the stored suspension differs": (
        lambda rows, holds, it: (rows, holds, replace(it, suspended=True)),
        "suspended is",
    ),
    "the stored settings differ": (
        lambda rows, holds, it: (rows, holds, replace(it, overrides={"hold_minutes": 7})),
        "settings is",
    ),
    "a live hold is missing": (
        lambda rows, holds, it: (rows, [one for one in holds if one.call_id != "live"], it),
        "the hold of call live differs",
    ),
    "an ended hold is missing": (
        lambda rows, holds, it: (rows, [one for one in holds if one.call_id != "settled"], it),
        "the hold of call settled differs",
    ),
    "a hold from nowhere": (
        lambda rows, holds, it: (rows, [*holds, holds[0]._replace(call_id="ghost")], it),
        "the hold of call ghost differs",
    ),
    "a hold has more": (hold_changed("live", reserved_pence=281), "holds sum to"),
    "a hold has another status": (
        hold_changed("live", due_ms=1),
        "the hold of call live differs",
    ),
    "a live hold without a deadline": (hold_changed("live", due_ms=0), "has no deadline"),
    "a hold killed by nobody": (
        hold_changed("live", killed=True),
        "the hold of call live differs",
    ),
    "a settlement differs": (
        hold_changed("settled", committed_pence=0),
        "the hold of call settled differs",
    ),
}


@pytest.mark.parametrize("drift", DRIFT.values(), ids=DRIFT.keys())
def test_each_kind_of_drift_is_found(drift: tuple[Tamper, str]) -> None:
    """The finding names what is wrong, and where."""
    tamper, expected = drift

    findings = audited(tamper)

    assert any(expected in finding for finding in findings), findings
    assert all(finding.startswith(ORG) for finding in findings)


def test_settings_that_cannot_be_are_a_finding() -> None:
    """A row that no longer replays is drift to be told of, not the end of the audit."""
    settings_row = [entry.type for entry in sound().journal].index("settings_change")

    findings = audited(changed(settings_row, detail={"changes": {"hold_minutes": -1}}))

    assert any("does not follow" in finding for finding in findings)
