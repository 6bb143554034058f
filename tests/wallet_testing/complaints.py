"""What a program says of its own faults while it is asked: lines at level error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from wallet_http.logs import is_ours_to_tell


class _Errors(logging.Handler):
    """Keeps what is logged the standard way, as the program's own handler would."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found
        self.addFilter(is_ours_to_tell)

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(self.format(record))


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Give the errors that this process logs from now on, as they come."""
    found: list[str] = []

    def keep(
        _logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if method in ("error", "exception", "critical"):
            found.append(str(structlog.processors.format_exc_info(None, method, event)))
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    handler = _Errors(found)
    structlog.configure(processors=[keep])
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)
        structlog.configure(processors=before)
