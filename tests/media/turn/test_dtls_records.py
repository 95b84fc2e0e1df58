"""Records are told and cut by their headers alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn.dtls_records import HEADER_BYTES, client_random, flight, number, renumbered

RANDOM = bytes(range(32))


def record(body: bytes, kind: int = 22, epoch: int = 0) -> bytes:
    return bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2) + bytes(6) + len(body).to_bytes(2) + body


def hello(kind: int = 1) -> bytes:
    return bytes((kind,)) + bytes(11) + b"\xfe\xfd" + RANDOM + bytes(8)


def test_random_of_a_client_hello_is_found() -> None:
    assert client_random(memoryview(record(hello()))) == RANDOM


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        record(hello())[:58],
        record(hello(kind=2)),
        record(hello(), kind=23),
        record(hello(), epoch=1),
        record(hello(), epoch=256),
        record(hello()[:6] + b"\0\0\7" + hello()[9:]),
    ],
    ids=["empty", "one-byte", "short", "server-hello", "data", "encrypted", "late-epoch", "later-fragment"],
)
def test_anything_else_has_no_random(datagram: bytes) -> None:
    assert client_random(memoryview(datagram)) is None


@given(st.lists(st.integers(0, 1300), max_size=12), st.integers(0, 1500))
def test_flight_keeps_all_records_whole_and_in_order(sizes: list[int], most_bytes: int) -> None:
    records = [record(bytes((count,)) * size) for count, size in enumerate(sizes)]
    datagrams = list(flight(b"".join(records), most_bytes))
    assert b"".join(datagrams) == b"".join(records)
    for datagram in datagrams:
        first = HEADER_BYTES + int.from_bytes(datagram[11:13])
        assert len(datagram) <= max(most_bytes, first)
        assert datagram in {b"".join(records[i:j]) for i in range(len(records)) for j in range(i + 1, len(records) + 1)}


def test_flight_fills_datagrams() -> None:
    records = record(bytes(100)) * 5
    assert [len(datagram) for datagram in flight(records, 250)] == [226, 226, 113]


def test_plain_records_alone_are_renumbered() -> None:
    plain, encrypted = record(b"plain", kind=20), record(b"encrypted", epoch=1)
    changed = renumbered(renumbered(plain, 2**32) + encrypted + plain, 3)
    cut = list(flight(changed, 0))
    assert [number(one) for one in cut] == [2**32 + 3, 0, 3]
    assert [one[HEADER_BYTES:] for one in cut] == [b"plain", b"encrypted", b"plain"]
    assert number(b"") == 0
    assert renumbered(b"", 1) == b""
    assert number(renumbered(plain, (1 << 48) - 1)) == (1 << 48) - 1
    assert number(renumbered(plain, 1 << 48)) == 0
