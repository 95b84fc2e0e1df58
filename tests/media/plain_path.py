"""A viewer's path that encrypts nothing: what is sealed are the packets as they are."""

from collections.abc import Sequence

from media.rtp.send import Sealed


def seal(heads: Sequence[bytes], payloads: Sequence[bytes]) -> Sealed:
    """One run of packets side by side."""
    packets = [head + payload for head, payload in zip(heads, payloads, strict=True)]
    return memoryview(b"".join(packets)), len(packets[0])


def cut(sealed: Sealed) -> list[bytes]:
    """The packets of a run."""
    data, size = sealed
    return [bytes(data[begin : begin + size]) for begin in range(0, len(data), size)]
