from collections.abc import Sequence

from media.rtp.send import WAITING_LIMIT, PathSender


class Recorded:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0

    def protect(self, packet: bytes) -> bytes:
        return b"rtp:" + packet

    def protect_rtcp(self, packet: bytes) -> bytes:
        return b"rtcp:" + packet

    def write(self, datagrams: Sequence[bytes]) -> None:
        self.written.extend(datagrams)

    def waiting_bytes(self) -> int:
        return self.waiting


def test_packets_are_encrypted_and_go_in_order() -> None:
    path = Recorded()
    sender = PathSender(path)
    sender.send([b"1", b"2"])
    sender.send_rtcp(b"3")
    assert path.written == [b"rtp:1", b"rtp:2", b"rtcp:3"]
    assert (sender.stats.datagrams, sender.stats.bytes) == (3, 16)


def test_a_path_is_full_above_its_bound() -> None:
    path = Recorded()
    sender = PathSender(path)
    path.waiting = WAITING_LIMIT
    assert not sender.is_full
    path.waiting += 1
    assert sender.is_full
