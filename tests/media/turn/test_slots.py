"""Hot messages at a glance: the same answers as the codec gives, and nothing for what is not of the common form."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from media.turn import stun
from media.turn.address import pack
from media.turn.slots import (
    CHANNEL_LENGTHS,
    HEADROOM,
    IN_MEMORY,
    Slots,
    data_head,
    in_memory,
    send_key,
    send_size,
    write_data,
)

SLOTS = Slots(2)
PEER = stun.xor_address(pack("192.0.2.9"), 5000, bytes(12))


def indication(*attributes: tuple[int, bytes], method: int = stun.SEND, kind: int = stun.INDICATION) -> bytes:
    return stun.encode(stun.Message(method, kind, b"transaction!", list(attributes)))


def size_of(datagram: bytes) -> int:
    SLOTS.views[1][: len(datagram)] = datagram
    return send_size(SLOTS, 1, len(datagram))


def test_numbers_in_memory_lead_there_and_back() -> None:
    assert [IN_MEMORY[in_memory(number)] for number in (0, 1, 0x4000, 0xFFFF)] == [0, 1, 0x4000, 0xFFFF]
    assert list(CHANNEL_LENGTHS[:4]) == [-1] * 4
    assert CHANNEL_LENGTHS[1204] == in_memory(1200)
    SLOTS.views[0][:4] = b"\x40\x01\x00\x07"
    SLOTS.views[1][:4] = b"\x40\x02\x00\x08"
    assert SLOTS.halves(0, 2) == [in_memory(0x4001), in_memory(0x4002)]
    assert SLOTS.halves(1, 1) == [in_memory(7)]


@given(st.binary(max_size=70))
def test_send_indication_is_seen_with_the_size_of_its_data(data: bytes) -> None:
    datagram = indication((stun.XOR_PEER_ADDRESS, PEER), (stun.DATA, data))
    assert size_of(datagram) == len(data)
    assert SLOTS.views[1][36 : 36 + len(data)] == data
    assert SLOTS.quad[len(SLOTS.quad) // 2 + 3] == send_key(PEER)


def test_every_other_form_is_left_to_the_codec() -> None:
    peer, data = (stun.XOR_PEER_ADDRESS, PEER), (stun.DATA, b"data")
    wide = (stun.XOR_PEER_ADDRESS, stun.xor_address(pack("2001:db8::1"), 1, bytes(12)))
    whole = indication(peer, data)
    others = [
        indication(data, peer),
        indication(peer, data, (stun.DONT_FRAGMENT, b"")),
        indication(wide, data),
        indication(peer),
        indication(peer, data, method=stun.DATA_METHOD),
        indication(peer, data, kind=stun.REQUEST),
        whole[:-1],
        whole + bytes(4),
        whole[:4] + bytes(4) + whole[8:],
        whole[:3] + b"\x18" + whole[4:],
        whole[:34] + b"\x00\x05" + whole[36:],
        whole[:35],
        b"",
    ]
    assert [size_of(other) for other in others] == [-1] * len(others)


@given(st.binary(max_size=70))
def test_data_indication_is_what_the_codec_writes(data: bytes) -> None:
    view = SLOTS.views[0]
    view[HEADROOM : HEADROOM + len(data) + 4] = data + b"\xff" * 4
    header = stun.XOR_PEER_ADDRESS.to_bytes(2) + (8).to_bytes(2)
    head = data_head(len(data), header + PEER + stun.DATA.to_bytes(2), b"tran")
    written = write_data(SLOTS, 0, head, len(data), int.from_bytes(b"saction!", sys.byteorder))
    assert written == indication((stun.XOR_PEER_ADDRESS, PEER), (stun.DATA, data), method=stun.DATA_METHOD)
