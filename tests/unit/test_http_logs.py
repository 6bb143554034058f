"""What is logged: every decision and refusal as a line, and no secret in any."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from wallet_engine.commands import AssetType, CreditType
from wallet_engine.wallet import Entry
from wallet_http.logs import EVENTS, DecisionLog, LineSink, configure_logs, without_secrets


def entry(**more: Any) -> Entry:  # noqa: ANN401  # the columns
    found: dict[str, Any] = {
        "org_id": "org-1",
        "seq": 7,
        "key": "client:k-1",
        "type": "call_deduction",
        "balance_before_pence": 1000,
        "held_after_pence": 280,
        "fingerprint": "f",
        "detail": {},
        "epoch": 3,
        "node": "node-1",
        "at_ms": 1_795_197_600_120,
        "amount_pence": -112,
        "call_id": "call-1",
        "description": "Call call-1: 90 s",
        **more,
    }
    return Entry(**found)


def lines_of(form: Literal["json", "text"] = "json") -> tuple[DecisionLog, list[str]]:
    written: list[str] = []
    return DecisionLog(written.append, form=form, enabled=True), written


def test_a_decision_is_one_line_of_json() -> None:
    """With the numbers that matter, and the time of the decision."""
    decisions, written = lines_of()
    decisions.decided(entry())

    [line] = written
    assert line.endswith("\n")
    assert json.loads(line) == {
        "timestamp": "2026-11-20T18:00:00.120Z",
        "level": "info",
        "event": "Deducted",
        "org_id": "org-1",
        "seq": 7,
        "type": "call_deduction",
        "amount_pence": -112,
        "held_delta_pence": 0,
        "balance_pence": 888,
        "held_pence": 280,
        "uncollected_pence": 0,
        "call_id": "call-1",
        "key": "client:k-1",
        "reason": "Call call-1: 90 s",
        "epoch": 3,
        "node": "node-1",
    }


def test_texts_of_callers_cannot_break_a_line() -> None:
    """Quotes, line breaks and other scripts are escaped."""
    decisions, written = lines_of()
    nasty = 'a"b\\c\nd\x1b[31m\u2028é👋'
    decisions.decided(entry(call_id=nasty, description=nasty, key=nasty))
    decisions.refused("reserve", "org-1", nasty, {"error": nasty, "code": "call_ended"})

    for line in written:
        assert line.count("\n") == 1
        assert json.loads(line)["call_id"] == nasty


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("reservation", "Call authorized"),
        ("call_deduction", "Deducted"),
        (AssetType.PHONE_PROVISIONING, "Deducted"),
        (CreditType.TOPUP, "Credited"),
        (CreditType.REFUND, "Refunded"),
    ],
)
def test_events_have_the_names_of_the_specification(kind: str, event: str) -> None:
    """Operators search for these words."""
    assert EVENTS[kind] == event


def test_a_blocked_call_says_so() -> None:
    """With the balance and what was lacking."""
    decisions, written = lines_of()
    refusal = {"code": "insufficient_credits", "current_balance_pence": 5, "deficit_pence": 74}
    decisions.refused("reserve", "org-1", "call-1", refusal, assistant_id="a-1")

    told = json.loads(written[0])
    assert told["event"] == "Call blocked - insufficient balance"
    assert (told["org_id"], told["assistant_id"]) == ("org-1", "a-1")
    assert (told["balance_pence"], told["deficit_pence"]) == (5, 74)


def test_text_is_for_people() -> None:
    """One line a decision, too."""
    decisions, written = lines_of("text")
    decisions.decided(entry(description="two\nlines"))

    [line] = written
    assert "Deducted" in line
    assert "amount_pence=-112" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "https://phone-call-websocket.aws-us-west-2-backend-production2.vapi.ai/x/control",
        "failed: wss://x.vapi.ai/listen?token=1 gave up",
        "postgresql://wallet:hunter2@db.example.com/wallet is gone",
    ],
)
def test_secrets_are_blanked(text: str) -> None:
    """Control addresses end calls, and addresses of stores hold passwords."""
    event = without_secrets(None, "info", {"event": text, "authorization": "Bearer x"})

    assert "control" not in event["event"]
    assert "token=1" not in event["event"]
    assert "hunter2" not in event["event"]
    assert event["authorization"] == "[secret]"


def test_a_sink_keeps_the_order_and_loses_nothing(tmp_path: Path) -> None:
    """Also what comes after it was closed is written."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = LineSink(descriptor)
    for number in range(10_000):
        sink.write(f"{number}\n")
    sink.close()
    sink.write("after\n")
    os.close(descriptor)

    assert path.read_text().split() == [*map(str, range(10_000)), "after"]


def test_a_reader_who_left_does_not_stop_the_program() -> None:
    """Wallets go on when nobody reads the log."""
    reading, writing = os.pipe()
    os.close(reading)
    sink = LineSink(writing)
    sink.write("nobody reads this\n")
    sink.close()
    os.close(writing)


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[tuple[Path, LineSink]]:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = LineSink(descriptor)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(sink, form="json", level="info")
    yield path, sink
    sink.close()
    os.close(descriptor)
    root.handlers[:] = handlers
    root.setLevel(level)
    for package in ("wallet_engine", "wallet_http", "wallet_persistence"):
        logging.getLogger(package).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_all_logs_go_one_way(configured: tuple[Path, LineSink]) -> None:
    """structlog, our own loggers and those of libraries: JSON lines, in order."""
    path, sink = configured
    structlog.get_logger("x").info("Hello", org_id="org-1")
    logging.getLogger("wallet_engine.node").info("started %d", 5)
    logging.getLogger("asyncio").info("too much detail")
    logging.getLogger("asyncio").warning("slow")
    structlog.get_logger("x").error("Failed", exc_info=ValueError("boom"))
    sink.drain()

    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["event"] for one in told] == ["Hello", "started 5", "slow", "Failed"]
    assert [one["level"] for one in told] == ["info", "info", "warning", "error"]
    assert "boom" in told[-1]["exception"]
    assert all(one["timestamp"].endswith("Z") for one in told)
