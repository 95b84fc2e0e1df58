"""DTLS records as they lie on the wire: enough to tell and to cut them. No cryptography, no I/O, no clock.

RFC 6347, 4.1 and 4.2.2.
"""

from collections.abc import Iterator

FIRST_BYTE, LAST_BYTE = 20, 63
"""RFC 7983: a datagram that starts with one of these is DTLS."""

HEADER_BYTES = 13
HANDSHAKE = 22
_CLIENT_HELLO = 1
_EPOCH = slice(3, 5)
_NUMBER = slice(5, 11)
_LAST_NUMBER = (1 << 48) - 1
_LENGTH = slice(11, 13)
_FRAGMENT_OFFSET = slice(HEADER_BYTES + 6, HEADER_BYTES + 9)
_HANDSHAKE_HEADER_BYTES = 12
_RANDOM_AT = HEADER_BYTES + _HANDSHAKE_HEADER_BYTES + 2
_RANDOM_BYTES = 32


def client_random(datagram: memoryview) -> bytes | None:
    """Return the random of the ClientHello with which a datagram starts, None when it starts with anything else."""
    if len(datagram) < _RANDOM_AT + _RANDOM_BYTES or datagram[0] != HANDSHAKE:
        return None
    # in a later epoch the handshake is encrypted; of a hello in fragments only the first one has the random
    if datagram[HEADER_BYTES] != _CLIENT_HELLO or any(datagram[_EPOCH]) or any(datagram[_FRAGMENT_OFFSET]):
        return None
    return bytes(datagram[_RANDOM_AT : _RANDOM_AT + _RANDOM_BYTES])


def flight(records: bytes, most_bytes: int) -> Iterator[bytes]:
    """Cut whole records, one after the other, into datagrams of at most `most_bytes` (a longer record goes alone)."""
    start = end = 0
    while end < len(records):
        size = HEADER_BYTES + int.from_bytes(records[end:][_LENGTH])
        if end > start and end + size - start > most_bytes:
            yield records[start:end]
            start = end
        end += size
    if end > start:
        yield records[start:end]


def number(datagram: bytes | memoryview) -> int:
    """Return the sequence number of the record with which a datagram starts; 0 when there is none."""
    return int.from_bytes(datagram[_NUMBER])


def renumbered(records: bytes, by: int) -> bytes:
    """Raise the sequence numbers of the plain records (epoch 0) in a flight; behind the last one comes 0."""
    changed = bytearray(records)
    start = 0
    while start < len(changed):
        record = memoryview(changed)[start:]
        if not any(record[_EPOCH]):
            record[_NUMBER] = (number(record) + by & _LAST_NUMBER).to_bytes(6)
        start += HEADER_BYTES + int.from_bytes(record[_LENGTH])
    return bytes(changed)
