"""The way to a viewer over real loopback sockets; aiortc's objects are stood in for by plain ones."""

import asyncio
import asyncio.selector_events
import inspect
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pylibsrtp
import pytest
from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport
from pylibsrtp import Policy, Session

from media.peer.path import DtlsPath
from media.rtp.header import ExtensionIds, HeaderTemplate, Heads

CHANNEL = 0x4001
PEER = ("192.0.2.9", 4000)


def session(profile: int = Policy.SRTP_PROFILE_AES128_CM_SHA1_80, size: int = 30) -> Session:
    policy = Policy(key=bytes(range(size)), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    policy.allow_repeat_tx = True
    return Session(policy)


def path(
    transport: object, address: tuple[str, int], keys: Session | None = None, room: bytearray | None = None
) -> DtlsPath:
    pair = SimpleNamespace(remote_addr=address, protocol=SimpleNamespace(transport=transport))
    connection = SimpleNamespace(_nominated={1: pair} if transport else {})
    dtls: Any = SimpleNamespace(_tx_srtp=keys or session(), transport=SimpleNamespace(_connection=connection))
    return DtlsPath(dtls, room)


def send(way: DtlsPath, heads: Sequence[bytes], payloads: Sequence[bytes], at: int = 0) -> tuple[int, bool]:
    run = way.seal(heads, payloads, at)
    return len(run[0]), way.send(run)


def packets(*sizes: int) -> tuple[Heads, list[bytes]]:
    heads = HeaderTemplate(7, 96, "0", ExtensionIds(mid=1)).heads(0, 9, b"\xbe\xde\x00\x01\x10\x30\x00\x00", len(sizes))
    return heads, [bytes((65 + number,)) * size for number, size in enumerate(sizes)]


def sealed(heads: Sequence[bytes], payloads: list[bytes]) -> list[bytes]:
    theirs = session()
    return [theirs.protect(head + payload) for head, payload in zip(heads, payloads, strict=True)]


@contextmanager
def receiver(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        bound.settimeout(15)
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
async def test_packets_are_encrypted_as_the_library_does_it(profile: int, size: int) -> None:
    with receiver() as viewer:
        transport = await endpoint(local_addr=("127.0.0.1", 0))
        way, theirs = path(transport, viewer.getsockname(), session(profile, size)), session(profile, size)
        heads, payloads = packets(*[300] * 30, 9)
        for count in (1, 5, 31):
            send(way, heads[:count], payloads[:count])
            for head, payload in zip(heads[:count], payloads[:count], strict=True):
                assert viewer.recv(2000) == theirs.protect(head + payload)
        way.send_rtcp(b"\x80\xc9\x00\x01" + bytes(4))
        assert viewer.recv(2000) == theirs.protect_rtcp(b"\x80\xc9\x00\x01" + bytes(4))
        transport.close()


async def test_what_cannot_be_encrypted_is_refused() -> None:
    transport = await endpoint(local_addr=("127.0.0.1", 0))
    way = path(transport, PEER)
    with pytest.raises(ValueError, match="more packets than there is room for"):
        send(way, *packets(*[1200] * 70))
    with pytest.raises(ConnectionError):
        send(way, [b"\x80"], [b""])
    with pytest.raises(ValueError, match="more packets than there is room for"):
        send(way, *packets(*[1200] * 70))  # now that the length of the tag is known
    transport.close()
    with pytest.raises(ConnectionError, match="no candidate pair"):
        path(None, PEER).waiting_bytes()


async def test_a_run_that_the_library_refuses_half_way_is_not_sent() -> None:
    policy = Policy(key=bytes(30), ssrc_type=Policy.SSRC_ANY_OUTBOUND)
    with receiver() as viewer:
        transport = await endpoint(local_addr=("127.0.0.1", 0))
        way = path(transport, viewer.getsockname(), Session(policy))
        heads, payloads = packets(*[30] * 5)
        send(way, heads[3:], payloads[3:])
        assert len([viewer.recv(100) for _ in range(2)]) == 2
        with pytest.raises(ConnectionError, match="SRTP refused a packet"):
            send(way, heads[1:], payloads[1:])  # the last two numbers went out before
        viewer.setblocking(False)
        with pytest.raises(BlockingIOError):
            viewer.recv(100)
        transport.close()


def test_the_private_names_of_asyncio_and_pylibsrtp_are_still_there() -> None:
    assert "self._sock = sock" in inspect.getsource(asyncio.selector_events._SelectorTransport)  # type: ignore[attr-defined]
    assert "lib.srtp_protect" in inspect.getsource(Session)
    assert pylibsrtp._binding.lib.srtp_err_status_ok == 0
    assert pylibsrtp.__version__.startswith("1.0.")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_run_goes_in_order_as_datagrams_of_its_own_sizes(host: str) -> None:
    with receiver(host) as viewer:
        transport = await endpoint(local_addr=(host, 0))
        way = path(transport, viewer.getsockname()[:2])
        heads, payloads = packets(*[900] * 20, 3)
        expected = sealed(heads, payloads)
        size, is_one_call = send(way, heads, payloads)
        assert [viewer.recv(2000) for _ in expected] == expected
        assert size == sum(map(len, expected))
        assert is_one_call or way._offload.failures
        assert send(way, heads[:1], payloads[:1]) == (930, False)
        assert way.waiting_bytes() == 0
        transport.close()


async def test_paths_that_share_a_room_seal_one_behind_the_other() -> None:
    with receiver() as viewer:
        transport = await endpoint(local_addr=("127.0.0.1", 0))
        room = bytearray(10_000)
        ways = [path(transport, viewer.getsockname(), room=room) for _ in range(3)]
        heads, payloads = packets(*[300] * 3, 9)
        for way in ways:
            send(way, heads[:1], payloads[:1])  # from now on each knows how long its tag is
        runs, at = [], 0
        for way in ways:
            runs.append(way.seal(heads, payloads, at))
            at += len(runs[-1][0])
        for way, run in zip(ways, runs, strict=True):
            way.send(run)
        expected = sealed(heads, payloads)
        assert [viewer.recv(2000) for _ in range(3 + 3 * len(expected))] == expected[:1] * 3 + expected * 3
        with pytest.raises(ValueError, match="more packets than there is room for"):
            ways[0].seal(heads, payloads, 9_500)
        transport.close()


async def test_what_waits_already_is_not_overtaken() -> None:
    with receiver() as viewer:
        transport = await endpoint(local_addr=("127.0.0.1", 0))
        way = path(transport, viewer.getsockname())
        transport._buffer.append((b"first", viewer.getsockname()))  # type: ignore[attr-defined]
        transport._buffer_size += 5  # type: ignore[attr-defined]
        assert way.waiting_bytes() == 5
        heads, payloads = packets(9, 9)
        assert send(way, heads, payloads) == (78, False)
        send(way, *packets(1))  # writes over the room: what waits is a copy
        transport._sendto_ready()  # type: ignore[attr-defined]
        assert [viewer.recv(100) for _ in range(3)] == [b"first", *sealed(heads, payloads)]
        transport.close()


async def test_a_transport_without_a_socket_of_its_own_gets_one_datagram_at_a_time() -> None:
    class Other:
        sent: list[bytes] = []

        def get_write_buffer_size(self) -> int:
            return 0

        def sendto(self, data: memoryview, address: tuple[str, int]) -> None:
            self.sent.append(bytes(data))

    heads, payloads = packets(9, 9)
    assert not send(path(Other(), PEER), heads, payloads)[1]
    assert Other.sent == sealed(heads, payloads)


async def test_a_closed_socket_raises_for_the_guard_of_its_viewer() -> None:
    transport = await endpoint(local_addr=("127.0.0.1", 0))
    way = path(transport, PEER)
    transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(AttributeError):
        send(way, *packets(1, 1))


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
        heads, payloads = packets(50, 50, 1)
        send(way, heads, payloads)
        way.send_rtcp(b"\x80\xc9\x00\x01" + bytes(4))
        frames = [server.recv(100) for _ in range(4)]
        assert [frame[:4] for frame in frames] == [b"\x40\x01\x00\x50"] * 2 + [b"\x40\x01\x00\x1f", b"\x40\x01\x00\x16"]
        assert [frame[4:] for frame in frames[:3]] == sealed(heads, payloads)
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
    heads, payloads = packets(4, 3)
    first, second = sealed(heads, payloads)
    assert send(way, heads, payloads) == (67, True)
    assert Stream.written == [b"\x40\x01\x00\x22" + first + bytes(2) + b"\x40\x01\x00\x21" + second + bytes(3)]
    assert way.waiting_bytes() == 7


async def test_a_channel_that_is_due_is_refreshed_by_its_owner() -> None:
    relay = client(TurnClientUdpProtocol)
    sent: list[bytes] = []
    way = relayed(relay, SimpleNamespace(is_closing=lambda: False, sendto=sent.append), refresh_in_s=-1.0)
    bound = asyncio.Event()

    async def bind(number: int, address: tuple[str, int]) -> None:
        bound.set()

    relay.channel_bind = bind
    heads, payloads = packets(1)
    assert not send(way, heads, payloads)[1]
    async with asyncio.timeout(15):
        await bound.wait()
    await asyncio.sleep(0)
    assert sent == [b"\x40\x01\x00\x1f" + sealed(heads, payloads)[0]]
