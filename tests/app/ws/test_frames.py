"""Frames: what RFC 6455 allows comes out as it went in, and what it does not is refused with the right code."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from app.ws import frames
from app.ws.frames import Event, Fault, FrameReader, PeerClose, Ping, Pong
from tests.app.ws.wire import masked

LIMIT = 70_000


def read(data: bytes, limit: int = LIMIT) -> list[Event]:
    reader, events = FrameReader(limit), []
    events += reader.receive(data)
    while reader.has_more:
        events += reader.receive(b"")
    return events


def fault(data: bytes, limit: int = LIMIT) -> int:
    last = read(data, limit)[-1]
    assert isinstance(last, Fault)
    return last.code


CLOSE_1000 = (1000).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (masked(1, b""), [""]),
        (masked(1, b"a" * 125), ["a" * 125]),
        (masked(1, b"a" * 126), ["a" * 126]),
        (masked(1, b"a" * 65_535), ["a" * 65_535]),
        (masked(1, b"a" * 65_536), ["a" * 65_536]),
        (masked(2, b"\xff\x00"), [b"\xff\x00"]),
        (masked(1, "κόσμε".encode()), ["κόσμε"]),
        (masked(1, b"ab", False) + masked(0, b"cd"), ["abcd"]),
        (masked(2, b"ab", False) + masked(0, b"", False) + masked(0, b"cd"), [b"abcd"]),
        (masked(1, "é".encode()[:1], False) + masked(0, "é".encode()[1:]), ["é"]),
        (masked(1, b"a", False) + masked(9, b"p") + masked(10) + masked(0, b"b"), [Ping(b"p"), Pong(b""), "ab"]),
        (masked(9, b"x" * 125), [Ping(b"x" * 125)]),
        (masked(8), [PeerClose(1005, "")]),
        (masked(8, CLOSE_1000 + b"bye"), [PeerClose(1000, "bye")]),
        (masked(8, CLOSE_1000) + masked(1, b"late"), [PeerClose(1000, "")]),
        (masked(1, b"a", False) + masked(8, CLOSE_1000), [PeerClose(1000, "")]),
        (b"".join(masked(1, b"%d" % n) for n in range(200)), [str(n) for n in range(200)]),
    ],
    ids=itertools.count(),
)
def test_what_the_rfc_allows_is_read(data: bytes, events: list[Event]) -> None:
    assert read(data) == events


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0x41, b"a"), 1002),
        (masked(0x21, b"a"), 1002),
        (masked(0x19, b"a"), 1002),
        (b"\x81\x01a", 1002),  # not masked
        *((bytes((0x80 | opcode, 0x80, 0, 0, 0, 0)), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (b"\x09\x80\0\0\0\0", 1002),  # a fragmented ping
        (b"\x08\x80\0\0\0\0", 1002),
        (b"\x89\xfe\x00\x7e" + bytes(4), 1002),  # a ping of 126 bytes, before they have come
        (masked(0, b"a"), 1002),
        (masked(0, b"a", False), 1002),
        (masked(1, b"a", False) + masked(1, b"b"), 1002),
        (masked(1, b"a", False) + masked(2, b"b", False), 1002),
        (masked(1, b"a", False) + masked(0, b"b") + masked(0, b"c"), 1002),
        (masked(8, b"\x03"), 1002),
        *((masked(8, n.to_bytes(2, "big")), 1002) for n in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000)),
        (b"\x82\xff\xff" + bytes(7), 1002),  # a length of 64 bits
        (b"\x81\xfe\x00\x7d", 1002),  # a length that fits into a shorter form
        (b"\x81\xff" + (0xFFFF).to_bytes(8, "big"), 1002),
        (masked(1, b"\xff"), 1007),
        (masked(1, b"\xed\xa0\x80"), 1007),  # a surrogate
        (masked(1, b"\xce", False) + masked(0, b"a"), 1007),
        (masked(8, CLOSE_1000 + b"\xff"), 1007),
        (b"\x81\xff" + LIMIT.to_bytes(8, "big")[:7] + b"\xff", 1009),  # by the length, with nothing of it there
        (b"\x82\xff\x7f" + bytes(7), 1009),
        (masked(1, b"a" * LIMIT, False) + b"\x80\x81", 1009),
        (masked(1, b"a" * 20, False) * 1 + masked(0, b"a" * LIMIT), 1009),
    ],
    ids=itertools.count(),
)
def test_what_it_does_not_is_refused(data: bytes, code: int) -> None:
    assert fault(data) == code
    assert fault(masked(9) + data) == code  # whatever came before


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1014, 3000, 3999, 4000, 4999])
def test_close_codes_that_may_be_sent_are_read(code: int) -> None:
    assert read(masked(8, code.to_bytes(2, "big") + b"ok")) == [PeerClose(code, "ok")]


def test_a_length_over_the_limit_is_refused_before_anything_of_it_is_kept() -> None:
    reader = FrameReader(10)
    assert reader.receive(b"\x81\x8b") == [Fault(1009, "a message of 11 bytes is over the limit of 10")]
    assert reader.receive(b"anything") == []


def test_a_turn_reads_a_bounded_number_of_frames() -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(masked(1, b"a") * 5, most=2) == ["a", "a"]
    assert reader.has_more
    assert reader.receive(masked(1, b"b")[:3], most=2) == ["a", "a"]
    assert reader.receive(b"", most=2) == ["a"]
    assert not reader.has_more


def test_what_comes_before_its_time_waits() -> None:
    reader = FrameReader(LIMIT)
    first = masked(1, b"early")
    assert reader.receive(first[:4], most=0) == reader.receive(first[4:], most=0) == []
    assert reader.has_more
    assert reader.receive(b"") == ["early"]


pieces = st.lists(st.integers(1, 200), min_size=1, max_size=20)
texts = st.text(max_size=300)


@given(st.lists(st.one_of(texts, st.binary(max_size=300)), max_size=8), pieces)
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(
    messages: list[str | bytes], cuts: list[int]
) -> None:
    data = b"".join(masked(1, m.encode()) if isinstance(m, str) else masked(2, m) for m in messages)
    reader, events, sizes = FrameReader(LIMIT), [], itertools.cycle(cuts)
    while data:
        size = next(sizes)
        events += reader.receive(data[:size])
        data = data[size:]
    assert events == messages


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_events_and_at_most_one_end_which_is_the_last(parts: list[bytes]) -> None:
    reader = FrameReader(100)
    events = [event for part in parts for event in reader.receive(part)]
    ends = [event for event in events if isinstance(event, PeerClose | Fault)]
    assert len(ends) <= 1
    assert not ends or events[-1] is ends[0]


@given(texts, st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes)), st.binary(max_size=125))
def test_what_is_written_a_client_library_reads(text: str, data: bytes, payload: bytes) -> None:
    client = Protocol(CLIENT, max_size=None)
    encoded = text.encode()
    client.receive_data(frames.text_header(len(encoded)) + encoded + frames.binary_header(len(data)) + data)
    client.receive_data(frames.ping(payload) + frames.pong(payload) + frames.close(1001, text))
    heard = [frame for frame in client.events_received() if isinstance(frame, Frame)]
    assert [(frame.opcode, bytes(frame.data)) for frame in heard[:4]] == [
        (Opcode.TEXT, encoded), (Opcode.BINARY, data), (Opcode.PING, payload), (Opcode.PONG, payload),
    ]  # fmt: skip
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1001
    assert text.startswith(client.close_rcvd.reason)


def test_a_close_without_a_code_has_no_body() -> None:
    assert frames.close(1005) == b"\x88\x00"


def test_masks_are_applied_by_compiled_code() -> None:
    assert frames.IS_MASKING_COMPILED
