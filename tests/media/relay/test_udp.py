"""Sockets of the relay: order of segmented sends, faults of the kernel."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.relay.udp import MOST_RUN_BYTES, MOST_SEGMENTS, Outbox, UdpSocket, open_socket
from media.turn.effects import TurnStats


class Wire:
    """Stands for a socket: keeps what was sent, datagram by datagram, and fails as it is told."""

    family = socket.AF_INET

    def __init__(self, run_errno: int = 0, single_errno: int = 0) -> None:
        self.run_errno = run_errno
        self.single_errno = single_errno
        self.sent: list[tuple[object, bytes]] = []
        self.runs: list[list[int]] = []

    def sendmsg(self, parts: list[bytes], ancillary: list[tuple[int, int, bytes]], flags: int, to: object) -> None:
        whole = b"".join(parts)
        error = self.run_errno if ancillary else self.single_errno
        if error:
            raise OSError(error, "told so")
        size = int.from_bytes(ancillary[0][2], "little") if ancillary else max(1, len(whole))
        assert len(whole) <= MOST_RUN_BYTES
        cut = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert len(cut) <= MOST_SEGMENTS
        self.sent += [(to, piece) for piece in cut]
        self.runs.append([len(piece) for piece in cut])

    def sendto(self, data: bytes, to: object) -> None:
        if self.single_errno:
            raise OSError(self.single_errno, "told so")
        self.sent.append((to, bytes(data)))
        self.runs.append([len(data)])


A, B = ("192.0.2.1", 1), ("192.0.2.1", 2)


def outbox_and(wire: Wire) -> tuple[Outbox, UdpSocket, TurnStats]:
    stats = TurnStats()
    return Outbox(stats), UdpSocket(wire), stats  # type: ignore[arg-type]


def test_equal_lengths_go_out_as_one_send_and_the_shorter_last_one_with_them() -> None:
    wire = Wire()
    outbox, udp, _ = outbox_and(wire)
    for size in (100, 100, 100, 40, 40, 41):
        outbox.send(udp, A, b"", bytes(size))
    outbox.flush()
    assert wire.runs == [[100, 100, 100, 40], [40], [41]]


def test_head_and_data_count_as_one_datagram() -> None:
    wire = Wire()
    outbox, udp, _ = outbox_and(wire)
    for letter in (b"a", b"b", b"c"):
        outbox.send(udp, A, b"head", letter * 8)
    outbox.flush()
    assert wire.sent == [(A, b"head" + letter * 8) for letter in (b"a", b"b", b"c")]
    assert wire.runs == [[12, 12, 12]]


def test_all_wait_for_the_flush_in_order_and_a_socket_that_closes_has_sent_its_own_before() -> None:
    wire, other_wire = Wire(), Wire()
    outbox, udp, _ = outbox_and(wire)
    other = UdpSocket(other_wire)  # type: ignore[arg-type]  # a double
    for number, to in enumerate((A, B, A)):
        outbox.send(udp, to, b"", bytes([number]))
    outbox.flush_from(other)
    assert wire.sent == []
    outbox.send(other, A, b"", b"last")
    outbox.flush_from(other)
    assert wire.sent == [(A, b"\0"), (B, b"\1"), (A, b"\2")]
    assert other_wire.sent == [(A, b"last")]
    outbox.flush_from(other)
    outbox.flush()
    assert len(wire.sent + other_wire.sent) == 4


def test_run_keeps_its_bounds() -> None:
    wire = Wire()
    outbox, udp, _ = outbox_and(wire)
    for _ in range(100):
        outbox.send(udp, A, b"", bytes(1472))
    for _ in range(100):
        outbox.send(udp, B, b"", bytes(10))
    outbox.flush()
    assert [len(run) for run in wire.runs] == [44, 44, 12, 48, 48, 4]


@pytest.mark.parametrize("size", [0, 1473, 9000, 65507])
def test_empty_and_large_datagrams_go_alone(size: int) -> None:
    wire = Wire()
    outbox, udp, _ = outbox_and(wire)
    for _ in range(3):
        outbox.send(udp, A, b"", bytes(size))
    outbox.flush()
    assert wire.runs == [[size]] * 3


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from((0, 1, 20, 20, 20, 20, 19, 1472, 1473, 9000)), st.booleans()),
        max_size=200,
    ),
    st.sampled_from((0, errno.EIO)),
)
def test_order_is_kept_and_nothing_is_doubled_or_lost(plan: list[tuple[bool, int, bool]], run_errno: int) -> None:
    wire = Wire(run_errno)
    outbox, udp, stats = outbox_and(wire)
    expected = []
    for count, (is_first, size, has_head) in enumerate(plan):
        data = count.to_bytes(2)[:size] + bytes(max(0, size - 2))
        head = b"HEAD" if has_head else b""
        expected.append((A if is_first else B, head + data))
        outbox.send(udp, A if is_first else B, head, data)
    outbox.flush()
    assert wire.sent == expected
    assert stats.send_errors == 0


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_path_that_cannot_segment_gets_single_datagrams_from_then_on(code: int) -> None:
    wire = Wire(run_errno=code)
    outbox, udp, stats = outbox_and(wire)
    for _ in range(3):
        outbox.send(udp, A, b"", bytes(10))
    outbox.flush()
    assert udp.most_segment_bytes < 10
    outbox.send(udp, A, b"", bytes(10))
    outbox.flush()
    assert wire.runs == [[10]] * 4
    assert stats.send_errors == 0


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.ENOBUFS])
def test_other_faults_lose_the_packets_and_nothing_else(code: int) -> None:
    wire = Wire(run_errno=code, single_errno=code)
    outbox, udp, stats = outbox_and(wire)
    for _ in range(3):
        outbox.send(udp, A, b"", bytes(10))
    outbox.flush()
    outbox.send(udp, A, b"head", b"x")
    outbox.flush()
    assert (stats.send_errors, wire.sent, udp.most_segment_bytes) == (4, [], 1472)


def test_single_datagram_that_is_too_large_keeps_segmentation() -> None:
    wire = Wire(single_errno=errno.EMSGSIZE)
    outbox, udp, stats = outbox_and(wire)
    outbox.send(udp, A, b"", bytes(1400))
    outbox.flush()
    assert (stats.send_errors, udp.most_segment_bytes) == (1, 1472)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with ExitStack() as stack:
        yield stack.enter_context(open_socket("127.0.0.1", 0)), stack.enter_context(open_socket("127.0.0.1", 0))


def test_real_segmented_sends_arrive_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    stats = TurnStats()
    outbox, udp = Outbox(stats), UdpSocket(sender)
    sizes = [1200, 1200, 1200, 700, 700, 3, 9000, 0, 1472, 1472, 20]
    sent = [bytes((count,)) * size for count, size in enumerate(sizes)]
    for data in sent:
        outbox.send(udp, receiver.getsockname(), data[:4], data[4:])
    outbox.flush()
    assert [receiver.recv(65536) for _ in sent] == sent
    assert stats.send_errors == 0


def test_fragmentation_is_set_on_the_socket() -> None:
    for host, level, option in (("127.0.0.1", socket.IPPROTO_IP, 10), ("::1", socket.IPPROTO_IPV6, 23)):
        for is_unfragmented, mode in ((True, 2), (False, 0)):
            with open_socket(host, 0, is_unfragmented=is_unfragmented) as handle:
                assert handle.getsockopt(level, option) == mode


def test_taken_port_is_an_error_and_leaves_no_socket_open() -> None:
    with open_socket("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        open_socket("127.0.0.1", first.getsockname()[1])


def test_destination_behind_a_small_mtu_ends_segmentation_of_large_datagrams_only() -> None:
    class Tunnel(Wire):
        def sendmsg(self, parts: list[bytes], ancillary: list[tuple[int, int, bytes]], flags: int, to: object) -> None:
            self.run_errno = errno.EINVAL if len(parts[0]) > 1300 else 0
            super().sendmsg(parts, ancillary, flags, to)

    wire = Tunnel()
    outbox, udp, stats = outbox_and(wire)
    for size in (1400, 1200, 1400):
        for _ in range(3):
            outbox.send(udp, A, b"", bytes(size))
    outbox.flush()
    assert wire.runs == [[1400], [1400], [1400], [1200], [1200, 1200], [1400], [1400], [1400]]
    assert stats.send_errors == 0
