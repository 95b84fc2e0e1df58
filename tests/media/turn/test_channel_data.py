"""ChannelData: header, cut-off data, padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn import channel_data


@given(st.integers(0x4000, 0x4FFF), st.binary(max_size=1500), st.binary(max_size=3))
def test_what_is_written_is_read_again_without_padding(number: int, data: bytes, padding: bytes) -> None:
    datagram = channel_data.header(number, len(data)) + data + padding
    found, body = channel_data.decode(memoryview(datagram))
    assert (found, bytes(body)) == (number, data)


@pytest.mark.parametrize("datagram", [b"", b"\x40\x00\x00", b"\x40\x00\x00\x01", b"\x40\x00\xff\xffabc"])
def test_cut_off_message_is_refused(datagram: bytes) -> None:
    with pytest.raises(channel_data.ChannelDataError):
        channel_data.decode(memoryview(datagram))
