"""Rows, read back: each gives the command it answers, and the rules decide it the same again."""

from dataclasses import replace

import pytest

from wallet_engine.commands import AssetType, Command, CreditType, Proof
from wallet_engine.recall import command_of, key_of
from wallet_engine.wallet import Entry
from wallet_testing.book import Book, entered
from wallet_testing.builders import (
    CALL,
    admit,
    buy,
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

LATER_S = 3600

COMMANDS: dict[str, list[Command]] = {
    "reserve": [reserve()],
    "reserve minutes": [reserve(minutes=3)],
    "reserve pence": [reserve(pence=80)],
    "admit": [admit()],
    "extend seconds": [reserve(), extend(seconds=30)],
    "extend pence, by key": [reserve(), extend(pence=30, key="more")],
    "extend twice": [reserve(), extend(seconds=30), extend(seconds=30)],
    "prolong": [admit(), prolong()],
    "commit": [reserve(), commit(ms=61_500)],
    "commit pence": [reserve(), commit(pence=3)],
    "commit nothing": [reserve(), commit(seconds=0)],
    "commit without a hold": [commit(seconds=90)],
    "adjust": [admit(), heard(seconds=30, proof=Proof.ENDED), heard(seconds=90)],
    "adjust to nothing": [admit(), heard(seconds=30, proof=Proof.ENDED), heard(seconds=0)],
    "release": [reserve(), release(reason="nobody: answered")],
    "release without a hold": [release()],
    "expire": [reserve(), expire()],
    "kill": [admit(), kill()],
    "kill by key": [reserve(), kill(key="stop", reason="a: b")],
    "charge": [charge(7)],
    "charge, described": [charge(7, description="Two texts")],
    "charge, described as we would": [charge(7, description="Call deduction")],
    "buy": [buy(7, type=AssetType.DID)],
    "buy a number": [buy(1000, type=AssetType.PHONE_PROVISIONING, description="Number: +1")],
    **{str(kind): [credit(7, type=kind)] for kind in CreditType if kind != "clawback"},
    "clawback": [credit(-7, type=CreditType.CLAWBACK, description="Disputed")],
    "suspend": [suspend(reason="un: paid")],
    "resume": [resume()],
    "settings": [change_settings({"hold_minutes": 3, "debt_limit_pence": None})],
}


def last_row(commands: list[Command]) -> Entry:
    """Decide `commands`, the last one much later; return its row."""
    book = Book(5000)
    for command in commands[:-1]:
        book.do(command)
    if commands[-1].verb == "expire":
        book.pass_time(seconds=LATER_S)
    row = entered(book.do(commands[-1]))
    assert book.audit() == []
    return row


@pytest.mark.parametrize("commands", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_row_gives_its_command(commands: list[Command]) -> None:
    """Equal in what it asks, and stored under the key that the command has."""
    asked, row = commands[-1], last_row(commands)

    recalled = command_of(row)

    assert type(recalled) is type(asked)
    assert recalled.fingerprint == asked.fingerprint == row.fingerprint
    assert recalled.asks() == asked.asks()
    assert key_of(recalled, row) == row.key


def test_a_row_about_a_call_of_no_known_type() -> None:
    """It says that it is none of ours."""
    row = last_row([reserve()])._replace(type="topup")

    with pytest.raises(ValueError, match="topup is no decision about a call"):
        command_of(row)


def test_what_an_org_was_created_with() -> None:
    """Its key is in no caller's space, and is taken as it is."""
    row = last_row([change_settings({"hold_minutes": 3})])._replace(key="settings:created")

    assert key_of(command_of(row), row) == "settings:created"


def test_the_call_is_part_of_it() -> None:
    """Two rows that differ in nothing but their call answer two commands."""
    assert command_of(last_row([reserve(CALL)])).key != command_of(last_row([reserve("b")])).key


def test_a_type_and_its_text_ask_for_the_same() -> None:
    """Whether a purchase was made by `/v1` or by the program itself, its fingerprint is one."""
    asset = buy(7, type=AssetType.SMS)

    assert replace(asset, type="sms").fingerprint == asset.fingerprint
