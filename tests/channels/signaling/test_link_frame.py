import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.signaling.link_frame import Encoder, Frame, LinkFrameError, decode, encode

_numbers = st.integers(0, 2**64 - 1)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    base = draw(st.integers(0, 2**63))
    offsets = draw(st.lists(st.integers(0, 5000), max_size=5))
    return Frame(
        node=draw(st.text(max_size=20)),
        epoch=draw(st.integers(0, 2**32 - 1)),
        base=base,
        acknowledged_epoch=draw(st.integers(0, 2**32 - 1)),
        acknowledged=draw(_numbers),
        refused=tuple(draw(st.lists(st.tuples(_numbers, st.integers(0, 255)), max_size=5))),
        messages=tuple((base + offset, draw(st.binary(max_size=50))) for offset in offsets),
    )


@given(frames())
def test_a_frame_is_read_back(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(frames(), st.integers(0, 5000), st.binary(max_size=50))
def test_a_frame_with_one_message_has_the_same_bytes(frame: Frame, offset: int, body: bytes) -> None:
    encoder, acknowledged = Encoder(frame.node), (frame.acknowledged_epoch, frame.acknowledged)
    number = frame.base + offset

    one = encoder.encode_one(frame.epoch, frame.base, acknowledged, number, body)

    assert one == encoder.encode(frame.epoch, frame.base, acknowledged, (), [(number, body)])


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_the_one_error(payload: bytes) -> None:
    with contextlib.suppress(LinkFrameError):
        decode(payload)


@pytest.mark.parametrize("wrong", [b"", b"\x02", encode(Frame("a", 1, 1, messages=((1, b"x"),)))[:-1]])
def test_another_version_and_a_cut_frame_are_refused(wrong: bytes) -> None:
    with pytest.raises(LinkFrameError):
        decode(wrong)
    with pytest.raises(LinkFrameError):
        decode(encode(Frame("a", 1, 1)) + b"x")
    with pytest.raises(LinkFrameError, match="version 9"):
        decode(b"\x09" + encode(Frame("a", 1, 1))[1:])
