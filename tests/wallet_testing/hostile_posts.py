"""A message on its way: the address, the bytes, and what was done to them."""

import gzip
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hypothesis import strategies as st

from .hostile_json import Hostile, written
from .hostile_vapi import ORGS, envelopes, questions

WEBHOOK: Final = "/api/vapi/webhook"
STATUS_CHECK: Final = "/api/vapi/webhook/status-check"

ACTING: Final = re.compile(r'"(assistant-request|end-of-call-report|ended)"')
"""What a body must say to admit or settle anything."""

PADDING_BYTES: Final = 3_000_000
BEYOND_BYTES: Final = 9_000_000
"""More than Vapi may send.  Source: SPEC §5."""

HOSTILE_ORGS: Final = (
    "nobody", "..", ".",
    "%00", "%FF%FE", "%ED%A0%80", "%2e%2e%2fadmin", "a%2Fb", "%20",
    "%0d%0aX:1",
    "*", "x" * 64, "x" * 65, "x" * 5000, "%C3%A9", "<rich>%00", "<rich>%20", "%u0041", "%", "%zz",
    "<RICH>", "<rich>?org_id=<poor>", "<rich>;x=1", "<rich>#x",
)  # fmt: skip
"""Orgs in a path that are none, or not quite one."""


class Wire(StrEnum):
    """What is done to the bytes of a body."""

    PLAIN = "as it is"
    CHUNKED = "in chunks, without a length"
    BOM = "after a byte order mark"
    UTF16 = "in UTF-16"
    UTF32 = "in UTF-32"
    LATIN1 = "in Latin-1, with letters beyond ASCII"
    GZIP = "compressed, and told so"
    GZIP_UNTOLD = "compressed, but not told so"
    GZIP_TOLD_ONLY = "told to be compressed, but not so"
    DEFLATE = "deflated"
    CUT = "cut off in the middle"
    FOLLOWED = "followed by more"
    PADDED = "with megabytes of blanks"
    LONG = "with megabytes of transcript"
    BEYOND = "longer than Vapi may send"
    NULS = "with NUL bytes around"
    EMPTY = "not at all"


REFUSED: Final = frozenset({Wire.UTF16, Wire.UTF32, Wire.GZIP_UNTOLD, Wire.CUT, Wire.BEYOND})
"""What must never be taken for a message, whatever it says."""


@dataclass(frozen=True, slots=True)
class Post:
    """One POST; `path` and `body` name things in angle brackets."""

    path: str
    body: Any
    wire: Wire = Wire.PLAIN
    content_type: str = "application/json"

    @property
    def acts(self) -> bool:
        """Whether the message may change what somebody has."""
        if self.path == STATUS_CHECK or self.wire in REFUSED | {Wire.EMPTY}:
            return False
        return ACTING.search(written(self.body)) is not None

    def told(self, names: Mapping[str, str]) -> tuple[str, bytes, dict[str, str]]:
        """Return path, body and headers, with the names that things have now."""
        path, text = _named(self.path, names), _named(written(self.body), names)
        raw = text.encode("utf-8", "surrogatepass")
        headers = {"Content-Type": self.content_type}
        if encoding := TOLD_AS.get(self.wire):
            headers["Content-Encoding"] = encoding
        return path, CHANGES.get(self.wire, bytes)(raw), headers


def _named(text: str, names: Mapping[str, str]) -> str:
    for name, meant in names.items():
        text = text.replace(f"<{name}>", meant)
    return text


CHANGES: Final[Mapping[Wire, Callable[[bytes], bytes]]] = {
    Wire.BOM: lambda raw: b"\xef\xbb\xbf" + raw,
    Wire.UTF16: lambda raw: raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"),
    Wire.UTF32: lambda raw: raw.decode("utf-8", "surrogatepass").encode("utf-32", "surrogatepass"),
    Wire.LATIN1: lambda raw: raw.replace(b'"a word"', b'"caf\xe9"'),
    Wire.GZIP: lambda raw: gzip.compress(raw, 1),
    Wire.GZIP_UNTOLD: lambda raw: gzip.compress(raw, 1),
    Wire.DEFLATE: lambda raw: zlib.compress(raw, 1),
    Wire.CUT: lambda raw: raw[: len(raw) // 2],
    Wire.FOLLOWED: lambda raw: raw + raw,
    Wire.PADDED: lambda raw: b" " * PADDING_BYTES + raw,
    Wire.LONG: lambda raw: raw.replace(b'"a word"', b'"' + b"word " * (PADDING_BYTES // 5) + b'"'),
    Wire.BEYOND: lambda raw: b" " * BEYOND_BYTES + raw,
    Wire.NULS: lambda raw: b"\0" + raw + b"\0",
    Wire.EMPTY: lambda _raw: b"",
}
"""What becomes of a body; it stays as it is where nothing is said."""

TOLD_AS: Final[Mapping[Wire, str]] = {
    Wire.GZIP: "gzip",
    Wire.GZIP_TOLD_ONLY: "gzip",
    Wire.DEFLATE: "deflate",
}
"""What the headers say that was done."""


def _posts() -> Hostile:
    hooks = st.one_of(
        st.just(WEBHOOK),
        st.sampled_from(ORGS).map(lambda org: f"/api/vapi/orgs/<{org}>/webhook"),
        st.sampled_from(HOSTILE_ORGS).map(lambda org: f"/api/vapi/orgs/{org}/webhook"),
    )
    wires = st.integers(0, 3).flatmap(
        lambda dice: st.sampled_from(list(Wire)) if dice == 3 else st.just(Wire.PLAIN)
    )
    kinds = st.sampled_from(
        ["application/json", "text/plain", "application/json; charset=utf-16", "\xff/x", ""]
    )
    told = st.builds(Post, hooks, envelopes, wires, kinds)
    return told | told | told | st.builds(Post, st.just(STATUS_CHECK), questions, wires)


posts: st.SearchStrategy[Sequence[Post]] = st.lists(_posts(), min_size=1, max_size=5)
"""A few messages, one after the other, as they may come about the same calls."""
