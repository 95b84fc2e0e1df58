import asyncio
import socket
from pathlib import Path

import pytest

from media.relay.certificate import CertificatePair
from media.turn import channel_data, stun
from media.turn_check import link
from media.turn_check.link import StreamLink, UdpLink
from media.turn_check.verdict import LinkError, Trouble
from tests import certificates
from tests.certificates import made, trusting
from tests.media.turn_check.scripted import over_stream, over_udp
from tests.ports import free_port

BINDING = stun.encode(stun.Message(stun.BINDING, stun.REQUEST, bytes(12), []))
DATA = channel_data.header(0x4000, 5) + b"hello"


async def tcp(port: int) -> StreamLink:
    return await link.over_tcp(await link.connect_tcp("127.0.0.1", port))


async def trouble_of(waiting: object) -> Trouble:
    with pytest.raises(LinkError) as caught:
        await waiting  # type: ignore[misc]
    return caught.value.trouble


async def test_datagrams_go_and_come() -> None:
    async with over_udp(lambda data: data[::-1]) as port:
        udp = UdpLink("127.0.0.1", port, local_host="127.0.0.1")
        udp.send(b"hello")
        assert await udp.receive() == b"olleh"
        udp.close()


async def test_a_udp_port_without_a_listener_is_refused() -> None:
    udp = UdpLink("127.0.0.1", free_port())
    udp.send(b"hello")
    assert await trouble_of(udp.receive()) is Trouble.REFUSED
    udp.close()


def test_an_address_without_a_route_is_unreachable() -> None:
    with pytest.raises(LinkError) as caught:
        UdpLink("127.0.0.1", 9, local_host="203.0.113.7")
    assert caught.value.trouble is Trouble.UNREACHABLE


async def test_a_stream_is_cut_into_messages_however_it_comes() -> None:
    padded = DATA + bytes(3)
    reader = asyncio.StreamReader()
    async with over_stream(b"") as port:
        stream = await tcp(port)
        stream._reader = reader
        for byte in BINDING + padded + BINDING:
            reader.feed_data(bytes((byte,)))
        assert [await stream.receive() for _ in range(3)] == [BINDING, DATA, BINDING]
        assert (stream.certificate, stream.protocol) == (b"", "")
        handle = stream._writer.get_extra_info("socket")
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "else messages wait 40 ms for each other"
        reader.feed_eof()
        assert await trouble_of(stream.receive()) is Trouble.CLOSED
        stream.close()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [(b"HTTP/1.1 400 Bad", Trouble.NOT_STUN), (b"\xff\xff", Trouble.NOT_STUN), (b"", Trouble.CLOSED)],
)
async def test_a_port_of_another_program_is_told(answer: bytes, trouble: Trouble) -> None:
    async with over_stream(answer) as port:
        stream = await tcp(port)
        stream.send(BINDING)
        assert await trouble_of(stream.receive()) is trouble
        stream.close()


async def test_a_tcp_port_without_a_listener_is_refused() -> None:
    assert await trouble_of(link.connect_tcp("127.0.0.1", free_port())) is Trouble.REFUSED


async def test_tls_shows_the_certificate_and_carries_messages(tmp_path: Path) -> None:
    files = made(tmp_path)
    server = certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key))
    async with over_stream(lambda data: data, server) as port:
        secure = await link.over_tls(await link.connect_tcp("127.0.0.1", port), trusting(files.ca), "localhost")
        secure.send(BINDING)
        assert await secure.receive() == BINDING
        assert secure.certificate
        assert secure.protocol == "TLSv1.3"
        secure.close()


@pytest.mark.parametrize(("name", "code"), [("localhost", 20), ("kvs.example", 62)])
async def test_a_certificate_is_refused_and_can_be_looked_at(tmp_path: Path, name: str, code: int) -> None:
    files = made(tmp_path)
    trust = trusting(files.ca) if code == 62 else trusting(made(tmp_path / "other").ca)
    server = certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key))
    async with over_stream(lambda data: data, server) as port:
        with pytest.raises(LinkError) as caught:
            await link.over_tls(await link.connect_tcp("127.0.0.1", port), trust, name)
        assert (caught.value.trouble, caught.value.verify_code) == (Trouble.CERTIFICATE, code)
        assert await link.certificate_of("127.0.0.1", port, name)
    assert await link.certificate_of("127.0.0.1", free_port(), name) == b""


async def test_a_port_without_tls_is_told(tmp_path: Path) -> None:
    async with over_stream(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        opening = link.over_tls(await link.connect_tcp("127.0.0.1", port), trusting(made(tmp_path).ca), "localhost")
        assert await trouble_of(opening) is Trouble.TLS
