from struct import pack

import pytest
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from media.rtp.packet import Packet, parse, unwrap


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    parse(data)
    parse(b"\x90" + data)
    parse(b"\xbf" + data)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=50), st.integers(0, 20), st.booleans())
def test_a_foreign_packet_is_read_whole(
    sequence: int, timestamp: int, payload: bytes, padding: int, last: bool
) -> None:
    sent = RtpPacket(97, int(last), sequence, timestamp, 0x12345678, payload)
    sent.csrc = [1, 2]
    sent.extensions.abs_send_time = 15846540
    sent.padding_size = padding
    extensions = HeaderExtensionsMap()
    extensions._HeaderExtensionsMap__ids.abs_send_time = 3  # type: ignore[attr-defined]
    assert parse(sent.serialize(extensions)) == Packet(97, last, sequence, timestamp, 0x12345678, payload)


@pytest.mark.parametrize("padding", [0, 5])
def test_padding_that_the_packet_does_not_have_makes_it_none(padding: int) -> None:
    assert parse(pack("!BBHLLB", 0xA0, 96, 1, 2, 3, padding)) is None


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-32768, 32767))
def test_numbers_unwrap_to_the_nearest(near: int, step: int) -> None:
    assert unwrap((near + step) & 0xFFFF, near, 16) == near + step
