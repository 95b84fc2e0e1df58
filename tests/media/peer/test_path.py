"""The way to a viewer over real loopback sockets; aiortc's objects are stood in for by plain ones."""

import asyncio
import asyncio.selector_events
import inspect
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pylibsrtp
import pytest
from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport
from pylibsrtp import Policy, Session

from media.peer.path import DtlsPath

CHANNEL = 0x4001
PEER = ("192.0.2.9", 4000)
RTP = bytes((0x80, 96)) + bytes(10)


def session(profile: int = Policy.SRTP_PROFILE_AES128_CM_SHA1_80, size: int = 30) -> Session:
    policy = Policy(key=bytes(range(size)), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    policy.allow_repeat_tx = True
    return Session(policy)


def path(transport: object, address: tuple[str, int]) -> DtlsPath:
    pair = SimpleNamespace(remote_addr=address, protocol=SimpleNamespace(transport=transport))
    connection = SimpleNamespace(_nominated={1: pair})
    dtls: Any = SimpleNamespace(_tx_srtp=session(), transport=SimpleNamespace(_connection=connection))
    return DtlsPath(dtls)


@contextmanager
def receiver(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        bound.settimeout(2)
        yield bound


async def endpoint(**where: object) -> asyncio.DatagramTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, **where)  # type: ignore[arg-type]
    return transport


@pytest.mark.parametrize(
    ("profile", "size"),
    [
        (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
        (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
        (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
    ],
)
def test_packets_are_encrypted_as_the_library_does_it(profile: int, size: int) -> None:
    connection = SimpleNamespace(_nominated={})
    dtls: Any = SimpleNamespace(_tx_srtp=session(profile, size), transport=SimpleNamespace(_connection=connection))
    ours, theirs = DtlsPath(dtls), session(profile, size)
    for number in range(50):
        packet = bytes((0x80, 96, 0, number)) + bytes(8) + bytes(number * 20)
        assert ours.protect(packet) == theirs.protect(packet)
    assert len(ours.protect_rtcp(b"\x80\xc9\x00\x01" + bytes(4))) > 8
    with pytest.raises(ValueError, match="too long"):
        ours.protect(bytes(1501))
    with pytest.raises(ConnectionError):
        ours.protect(b"\x80")
    with pytest.raises(ConnectionError, match="no candidate pair"):
        ours.waiting_bytes()


def test_the_private_names_of_asyncio_and_pylibsrtp_are_still_there() -> None:
    assert "self._sock = sock" in inspect.getsource(asyncio.selector_events._SelectorTransport)  # type: ignore[attr-defined]
    assert "lib.srtp_protect" in inspect.getsource(Session)
    assert pylibsrtp.__version__.startswith("1.0.")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_run_goes_in_order_as_datagrams_of_its_own_sizes(host: str) -> None:
    with receiver(host) as viewer:
        transport = await endpoint(local_addr=(host, 0))
        way = path(transport, viewer.getsockname()[:2])
        datagrams = [bytes((number,)) * 900 for number in range(20)] + [b"end"]
        is_one_call = way.write(datagrams)
        assert not way.write([b"alone"])
        assert [viewer.recv(2000) for _ in range(22)] == [*datagrams, b"alone"]
        assert way.waiting_bytes() == 0
        assert is_one_call or way._offload.failures
        transport.close()


async def test_what_waits_already_is_not_overtaken() -> None:
    with receiver() as viewer:
        transport = await endpoint(local_addr=("127.0.0.1", 0))
        way = path(transport, viewer.getsockname())
        transport._buffer.append((b"first", viewer.getsockname()))  # type: ignore[attr-defined]
        transport._buffer_size += 5  # type: ignore[attr-defined]
        assert way.waiting_bytes() == 5
        assert not way.write([b"2", b"3"])
        transport._sendto_ready()  # type: ignore[attr-defined]
        assert [viewer.recv(100) for _ in range(3)] == [b"first", b"2", b"3"]
        transport.close()


async def test_a_transport_without_a_socket_of_its_own_gets_one_datagram_at_a_time() -> None:
    class Other:
        sent: list[bytes] = []

        def get_write_buffer_size(self) -> int:
            return 0

        def sendto(self, data: bytes, address: tuple[str, int]) -> None:
            self.sent.append(data)

    assert not path(Other(), PEER).write([b"1", b"2"])
    assert Other.sent == [b"1", b"2"]


async def test_a_closed_socket_raises_for_the_guard_of_its_viewer() -> None:
    transport = await endpoint(local_addr=("127.0.0.1", 0))
    way = path(transport, PEER)
    transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(AttributeError):
        way.write([b"1", b"2"])


def relayed(relay: Any, transport: object, refresh_in_s: float = 100.0) -> DtlsPath:
    relay.transport = transport
    relay.peer_to_channel[PEER] = CHANNEL
    relay.channel_refresh_at[CHANNEL] = time.time() + refresh_in_s
    return path(TurnTransport(relay), PEER)


def client(kind: Callable[..., Any]) -> Any:
    return kind(("127.0.0.1", 1), "user", "password", 600, 500)


async def test_a_relay_gets_channel_data_in_one_call_too() -> None:
    with receiver() as server:
        transport = await endpoint(remote_addr=server.getsockname())
        way = relayed(client(TurnClientUdpProtocol), transport)
        way.write([b"a" * 50, b"b" * 50, b"c"])
        way.write([b"d"])
        frames = [server.recv(100) for _ in range(4)]
        assert [frame[:4] for frame in frames] == [b"\x40\x01\x00\x32"] * 2 + [b"\x40\x01\x00\x01"] * 2
        assert [frame[4:5] for frame in frames] == [b"a", b"b", b"c", b"d"]
        transport.close()


async def test_a_relay_over_tcp_gets_padded_frames_in_one_write() -> None:
    class Stream:
        written: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.written.append(data)

        def is_closing(self) -> bool:
            return False

        def get_write_buffer_size(self) -> int:
            return 7

    way = relayed(client(TurnClientTcpProtocol), Stream())
    assert way.write([b"abcde", b"fg"])
    assert Stream.written == [b"\x40\x01\x00\x05abcde\x00\x00\x00\x40\x01\x00\x02fg\x00\x00"]
    assert way.waiting_bytes() == 7


async def test_a_channel_that_is_due_is_refreshed_by_its_owner() -> None:
    relay = client(TurnClientUdpProtocol)
    sent: list[bytes] = []
    way = relayed(relay, SimpleNamespace(is_closing=lambda: False, sendto=sent.append), refresh_in_s=-1.0)
    bound = asyncio.Event()

    async def bind(number: int, address: tuple[str, int]) -> None:
        bound.set()

    relay.channel_bind = bind
    assert not way.write([b"1"])
    async with asyncio.timeout(2):
        await bound.wait()
    await asyncio.sleep(0)
    assert sent == [b"\x40\x01\x00\x011"]
