"""Bytes between nodes are cut into the frames they are made of, however they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_http.peers.frames import (
    FRAME_BYTES_MAX,
    HANDSHAKE_BYTES_MAX,
    HEAD,
    BadFrame,
    Frame,
    FrameReader,
    Kind,
    frame,
)

frames = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=8)


@given(told=frames, cuts=st.lists(st.integers(1, 60), max_size=40))
def test_frames_arrive_whole_and_in_order(told: list[Frame], cuts: list[int]) -> None:
    """Wherever the network cuts them."""
    reader, found = FrameReader(), []
    rest = b"".join(frame(*it) for it in told)
    for cut in [*cuts, len(rest) or 1]:
        found += list(reader.feed(rest[:cut]))
        rest = rest[cut:]
    found += list(reader.feed(rest))

    assert found == told


def test_a_frame_that_is_cut_off_is_not_whole() -> None:
    """What has come of it is kept, and nothing is made of it before the rest is there."""
    reader = FrameReader()

    assert list(reader.feed(frame(Kind.PROOF, b"proof")[:-1])) == []
    assert list(reader.feed(b"f")) == [(Kind.PROOF, b"proof")]


@pytest.mark.parametrize("kind", [0, max(Kind) + 1, ord("T")])
def test_a_frame_of_no_kind_is_refused(kind: int) -> None:
    """Somebody speaks another language, and the rest means nothing."""
    with pytest.raises(BadFrame, match="kind"):
        list(FrameReader().feed(HEAD.pack(0, kind)))


def test_who_has_not_proven_anything_may_not_send_much() -> None:
    """A frame that is announced too long is refused before its first byte is kept."""
    reader = FrameReader()

    assert list(reader.feed(frame(Kind.PROOF, bytes(HANDSHAKE_BYTES_MAX))))
    with pytest.raises(BadFrame, match="too long"):
        list(reader.feed(HEAD.pack(HANDSHAKE_BYTES_MAX + 1, Kind.PROOF)))


def test_a_limit_that_is_raised_counts_at_once() -> None:
    """Also for what has arrived together with the last of the handshake."""
    reader = FrameReader()
    told = [(Kind.WELCOME, b""), (Kind.ANSWERS, bytes(HANDSHAKE_BYTES_MAX + 1))]
    found = []
    for it in reader.feed(b"".join(frame(*it) for it in told)):
        found.append(it)
        reader.payload_bytes_max = FRAME_BYTES_MAX

    assert found == told
