import errno
import socket
import time
from collections.abc import Callable, Sequence

import pytest

from media.rtp.packetize import PacketizedUnit, runs
from media.rtp.send import OFFLOAD_FAILURES, WAITING_LIMIT, Offload, PathSender, Sealed
from media.rtp.viewer import SenderStats
from tests.media import plain_path


class Recorded:
    def __init__(self) -> None:
        self.written: list[list[bytes]] = []
        self.places: list[int] = []
        self.waiting = 0

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        self.places.append(at)
        return plain_path.seal(heads, payloads)

    def send(self, sealed: Sealed) -> bool:
        self.written.append(plain_path.cut(sealed))
        return True

    def send_rtcp(self, packet: bytes) -> None:
        self.written.append([packet])

    def waiting_bytes(self) -> int:
        return self.waiting


def unit(*payloads: bytes) -> PacketizedUnit:
    return PacketizedUnit(
        payloads, 0, True, 0.0, sum(map(len, payloads)), packetized_at=time.monotonic(), runs=runs(payloads)
    )


def test_packets_go_in_order_each_run_at_once() -> None:
    path, stats = Recorded(), SenderStats()
    sender = PathSender(path)
    sender.parcel(unit(b"aa", b"a", b"bb"), [b"1", b"2", b"3"], stats).send_alone()
    sender.send_again([b"4", b"5", b"66"])
    sender.send_rtcp(b"7")
    assert path.written == [[b"1aa", b"2a"], [b"3bb"], [b"4", b"5"], [b"66"], [b"7"]]
    assert stats.send_delay_s > 0


def test_parcels_are_sealed_one_behind_the_other_before_they_are_sent() -> None:
    path, stats = Recorded(), SenderStats()
    one, two = (PathSender(path).parcel(unit(b"aa", b"a"), [head, head], stats) for head in (b"1", b"2"))
    end = two.seal(slice(0, 2), one.seal(slice(0, 2), 0))
    assert (path.places, end, path.written) == ([0, 5], 10, [])
    one.send(2)
    two.send(2)
    assert path.written == [[b"1aa", b"1a"], [b"2aa", b"2a"]]


def test_a_path_is_full_above_its_bound_and_for_a_key_frame_above_twice_that() -> None:
    path = Recorded()
    sender = PathSender(path)
    path.waiting = WAITING_LIMIT
    assert not sender.is_full()
    path.waiting += 1
    assert sender.is_full()
    assert not sender.is_full(is_key=True)


class Handle:
    """A socket that answers with an error as long as there is one."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self.sent: list[tuple[object, ...]] = []

    def sendmsg(self, *arguments: object) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(arguments)


def test_one_call_sends_many_datagrams() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        datagrams = [b"a" * 100, b"b" * 100, b"c" * 30]
        if not Offload().send(sender, b"".join(datagrams), 100, receiver.getsockname()):
            pytest.skip("this kernel has no UDP segmentation offload")
        assert [receiver.recv(2000) for _ in datagrams] == datagrams


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT])
def test_offload_that_fails_again_and_again_is_given_up(number: int) -> None:
    offload = Offload()
    handle = Handle(*[OSError(number, "refused")] * 99)
    for _ in range(OFFLOAD_FAILURES + 5):
        assert not offload.send(handle, b"12", 1, None)  # type: ignore[arg-type]
    assert len(handle.errors) == 99 - OFFLOAD_FAILURES


@pytest.mark.parametrize("error", [BlockingIOError, lambda: OSError(errno.ECONNREFUSED, "nobody there")])
def test_what_passes_does_not_cost_the_offload(error: Callable[[], OSError]) -> None:
    offload = Offload()
    handle = Handle(*(error() for _ in range(10)))
    assert not any(offload.send(handle, b"1", 1, None) for _ in range(10))  # type: ignore[arg-type]
    assert offload.send(handle, b"1", 1, None)  # type: ignore[arg-type]
    assert len(handle.sent) == 1


def test_a_failure_between_successes_does_not_cost_the_offload() -> None:
    offload = Offload()
    for _ in range(OFFLOAD_FAILURES + 1):
        assert not offload.send(Handle(OSError(errno.EIO, "no")), b"1", 1, None)  # type: ignore[arg-type]
        assert offload.send(Handle(), b"1", 1, None)  # type: ignore[arg-type]
