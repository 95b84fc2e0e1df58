"""Messages found in the bytes of a stream, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn import channel_data, stun
from media.turn.framing import BROKEN, MOST_BYTES, cut


def channel(data: bytes, number: int = 0x4001) -> bytes:
    return channel_data.header(number, len(data)) + data


def padded(message: bytes) -> bytes:
    return message + b"\xff" * (-len(message) % 4)


def binding(attribute: bytes = b"") -> bytes:
    attributes = [(stun.SOFTWARE, attribute)] if attribute else []
    return stun.encode(stun.Message(stun.BINDING, stun.REQUEST, bytes(12), attributes))


def fed(stream: bytes, cuts: list[int]) -> tuple[list[bytes], bytes | None]:
    """What comes of a stream that arrives in pieces: the messages, and the rest or None when it is broken."""
    messages: list[bytes] = []
    rest = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        data = rest + stream[start:end]
        found, used = cut(memoryview(data))
        messages += map(bytes, found)
        if used == BROKEN:
            return messages, None
        rest = data[used:]
    return messages, rest


MESSAGES = [binding(), channel(b""), channel(b"1"), binding(b"software"), channel(b"1234"), channel(b"123456")]
STREAM = b"".join(map(padded, MESSAGES))


def test_messages_come_without_their_padding() -> None:
    assert fed(STREAM, []) == (MESSAGES, b"")


def test_stream_in_single_bytes_gives_the_same() -> None:
    assert fed(STREAM, list(range(1, len(STREAM)))) == (MESSAGES, b"")


@pytest.mark.parametrize("at", range(1, len(STREAM)))
def test_stream_that_is_cut_in_two_gives_the_same(at: int) -> None:
    assert fed(STREAM, [at]) == (MESSAGES, b"")


def test_rest_waits_for_its_end_and_for_its_padding() -> None:
    assert fed(channel(b"12345"), []) == ([], channel(b"12345"))
    assert fed(channel(b"12345") + bytes(3) + b"\0", []) == ([channel(b"12345")], b"\0")


@pytest.mark.parametrize(
    "rest",
    [
        b"\x04",
        b"\x16\x03\x01",
        b"POST / HTTP/1.1\r\n",
        b"\x50\x00\x00\x00",
        b"\x7f\x00\x00\x00",
        b"\xff",
        b"\0\1\0\1",
        b"\0\1\0\2" + bytes(16),
        b"\0\1\0\0" + bytes(16),
        binding()[:4] + b"\x21\x12\xa4\x43",
    ],
)
def test_what_is_no_message_breaks_the_stream_after_the_messages_before(rest: bytes) -> None:
    stream = padded(channel(b"before")) + rest
    for cuts in ([], list(range(1, len(stream)))):
        assert fed(stream, cuts) == ([channel(b"before")], None)


def test_channel_numbers_of_old_clients_are_messages_when_told_so() -> None:
    message = channel(b"data", 0x7FFE)
    assert cut(memoryview(message)) == ([], BROKEN)
    assert cut(memoryview(message), 0x7F) == ([message], len(message))


def test_longest_messages_are_taken_and_nothing_is_longer() -> None:
    longest = channel(bytes(0xFFFF))
    assert fed(padded(longest), [65000]) == ([longest], b"")
    message = b"\0\1\xff\xfc" + binding()[4:20] + bytes(0xFFFC)
    assert len(message) == MOST_BYTES > len(padded(longest))
    assert fed(message, [65000]) == ([message], b"")


def test_no_more_messages_are_taken_than_wanted() -> None:
    data = memoryview(padded(channel(b"one")) + padded(channel(b"two")) + padded(channel(b"three")))
    messages, used = cut(data, most=2)
    assert messages == [channel(b"one"), channel(b"two")]
    assert cut(data[used:], most=2) == ([channel(b"three")], len(data) - used)


def test_messages_are_views_of_the_bytes_given() -> None:
    data = bytearray(padded(channel(b"data")))
    message = cut(memoryview(data))[0][0]
    data[4:8] = b"DATA"
    assert message == channel(b"DATA")


@given(st.binary(max_size=200), st.lists(st.integers(1, 199), max_size=8), st.integers(0, len(MESSAGES)))
def test_any_bytes_give_the_same_however_they_are_cut(noise: bytes, cuts: list[int], count: int) -> None:
    stream = b"".join(map(padded, MESSAGES[:count])) + noise
    whole = fed(stream, [])
    assert fed(stream, sorted({at for at in cuts if at < len(stream)})) == whole
    assert whole[0][:count] == MESSAGES[:count]
