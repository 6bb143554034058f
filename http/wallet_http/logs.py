"""What this program says of itself: structured lines, JSON or text, on one file descriptor.

Decisions and refusals are never sampled, and there are many thousands a second, so their lines
are built by hand and written by a thread; everything else goes through structlog.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic_core import to_json

from wallet_engine.commands import CALL_DEDUCTION, AssetType, CreditType
from wallet_engine.wallet import Entry

from .answers import iso_ms

FLUSH_S = 0.05
"""How long lines gather before they are written: twenty writes a second, however many lines."""

BUFFERED_MAX = 16 * 1024 * 1024
"""Characters that may wait while the reader of the log is slow; then writing waits for it."""

LEVELS: Final = MappingProxyType(
    {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warning": logging.WARNING,
        "error": logging.ERROR,
    }
)

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reservation": "Call authorized",
        "reservation_extension": "Hold extended",
        "reservation_release": "Hold released",
        "reservation_expiry": "Hold expired",
        "call_kill": "Call killed",
        "suspend": "Wallet suspended",
        "resume": "Wallet resumed",
        "settings_change": "Settings changed",
        CALL_DEDUCTION: "Deducted",
        **dict.fromkeys(AssetType, "Deducted"),
        **dict.fromkeys(CreditType, "Credited"),
        CreditType.REFUND: "Refunded",
        CreditType.ADJUSTMENT: "Adjusted",
        CreditType.CLAWBACK: "Clawed back",
    }
)
"""What each type of journal row is called in the log.  Source: SPEC §5.7."""

BLOCKED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reserve": "Call blocked - insufficient balance",
        "deduct": "Purchase blocked - insufficient balance",
    }
)

SECRET_NAMES: Final = frozenset(
    {
        "authorization",
        "token",
        "secret",
        "password",
        "dsn",
        "control_url",
        "controlUrl",
        "listenUrl",
    }
)
SECRET_TEXTS: Final = re.compile(
    r"(https?|wss?)://[^\s\"']*\.vapi\.ai[^\s\"']*|(?<=://)[^\s/@\"']+:[^\s/@\"']+(?=@)"
)
"""Control addresses of live calls, and the passwords in addresses of stores."""


class LineSink:
    """Writes lines to a file descriptor from a thread of its own.  Looks like a file to others.

    Lines keep the order in which they came.  `close` writes what is left.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._buffered = 0
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Take a line, which ends with a newline."""
        self._lines.append(text)
        self._buffered += len(text)
        if not self._wake.is_set():
            self._wake.set()
        if self._buffered > BUFFERED_MAX or self._closed:
            self.drain()

    def flush(self) -> None:
        """Do nothing: the thread writes soon.  Loggers call this after each line."""

    def drain(self) -> None:
        """Write all lines that wait, now."""
        with self._writing:
            lines, self._lines = self._lines, []
            self._buffered = 0
            if lines:
                _write_all(self._descriptor, "".join(lines).encode(errors="backslashreplace"))

    def close(self) -> None:
        """Write what is left and end the thread; later lines are written at once."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self.drain()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            if not self._closed:
                time.sleep(FLUSH_S)
            self._wake.clear()
            self.drain()


def _write_all(descriptor: int, raw: bytes) -> None:
    view = memoryview(raw)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:  # nobody reads the log any more: the wallets go on
        return


class DecisionLog:
    """A line for every decision and every refusal.  On the hot path: a few microseconds each."""

    def __init__(
        self, write: Callable[[str], None], *, form: Literal["json", "text"], enabled: bool
    ) -> None:
        self._write = write
        self._json = form == "json"
        self._enabled = enabled

    def decided(self, entry: Entry) -> None:
        """Log an entry that became durable."""
        if not self._enabled:
            return
        event = EVENTS.get(entry.type, "Decided")
        if not self._json:
            self._write(_text_line(iso_ms(entry.at_ms), event, _told(entry)))
            return
        quoted = _quoted
        call = "null" if entry.call_id is None else quoted(entry.call_id)
        self._write(
            f'{{"timestamp":"{_stamp(entry.at_ms)}","level":"info","event":"{event}",'
            f'"org_id":"{entry.org_id}","seq":{entry.seq},"type":"{entry.type}",'
            f'"amount_pence":{entry.amount_pence},"held_delta_pence":{entry.held_delta_pence},'
            f'"balance_pence":{entry.balance_after_pence},'
            f'"held_pence":{entry.held_after_pence},'
            f'"uncollected_pence":{entry.uncollected_pence},"call_id":{call},'
            f'"key":{quoted(entry.key)},"reason":{quoted(entry.description)},'
            f'"epoch":{entry.epoch},"node":{quoted(entry.node)}}}\n'
        )

    def refused(
        self,
        verb: str,
        org_id: str | None,
        call_id: str | None,
        refusal: Mapping[str, object],
        **more: object,
    ) -> None:
        """Log a refusal with its numbers; `more` is what the asker knows besides."""
        if not self._enabled:
            return
        event = "Refused"
        if refusal.get("code") == "insufficient_credits":
            event = BLOCKED.get(verb, event)
        fields = {
            "verb": verb,
            "org_id": org_id,
            "call_id": call_id,
            **more,
            **refusal,
            "balance_pence": refusal.get("current_balance_pence"),
        }
        stamp = iso_ms(time.time_ns() // 1_000_000)
        if self._json:
            head = {"timestamp": stamp, "level": "info", "event": event}
            self._write(to_json({**head, **fields}).decode() + "\n")
        else:
            self._write(_text_line(stamp, event, fields))


SILENT: Final = DecisionLog(lambda _line: None, form="json", enabled=False)
"""Logs nothing: for tests, and where nobody reads."""

DECISIONS: Final = web.AppKey("DECISIONS", DecisionLog)

_quoted = json.encoder.encode_basestring_ascii


def _stamp(at_ms: int) -> str:
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=8)
def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def _told(entry: Entry) -> dict[str, object]:
    return {
        "org_id": entry.org_id,
        "seq": entry.seq,
        "type": entry.type,
        "amount_pence": entry.amount_pence,
        "held_delta_pence": entry.held_delta_pence,
        "balance_pence": entry.balance_after_pence,
        "held_pence": entry.held_after_pence,
        "call_id": entry.call_id,
        "reason": entry.description,
    }


def _text_line(stamp: str, event: str, fields: Mapping[str, object]) -> str:
    told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return f"{stamp} [info     ] {event:<24} {told}".replace("\n", "\\n") + "\n"


def configure_logs(sink: LineSink, *, form: Literal["json", "text"], level: str) -> DecisionLog:
    """Send all logs of this process to `sink`, and return what logs decisions.

    Global, as logging is: called once by the composition root.
    """
    least = LEVELS[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        without_secrets,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=sink),  # type: ignore[arg-type]  # as a file
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(is_ours_to_tell)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(least, logging.WARNING))
    for package in ("wallet_engine", "wallet_http", "wallet_persistence"):
        logging.getLogger(package).setLevel(least)
    return DecisionLog(sink.write, form=form, enabled=least <= logging.INFO)


def is_ours_to_tell(record: logging.LogRecord) -> bool:
    """Leave out what is a client's own fault: it is answered, and not logged.

    That is bytes that are no HTTP, and a body that is not encoded as its headers say.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def without_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blank what must not be read in a log."""
    for name, value in event.items():
        if name in SECRET_NAMES:
            event[name] = "[secret]"
        elif isinstance(value, str):
            event[name] = SECRET_TEXTS.sub("[secret]", value)
    return event


def _dumps(value: object, **_options: object) -> str:
    return to_json(value, fallback=repr).decode()
