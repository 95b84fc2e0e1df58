"""TLS on the ports of plain TCP, on real sockets: messages both ways, and every handshake that comes to nothing."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from media.relay.certificate import CertificatePair
from media.relay.stream import Connection
from tests import certificates
from tests.media.relay.hallway import REPLY, REQUEST, Caller, TlsCaller, channel, entrance


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.DevelopmentFiles:
    return certificates.made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(files: certificates.DevelopmentFiles) -> ssl.SSLContext:
    return certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key))


@pytest.fixture
def client_context(files: certificates.DevelopmentFiles) -> ssl.SSLContext:
    return certificates.trusting(files.ca)


async def test_messages_pass_both_ways_however_they_lie_in_records(
    context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with entrance(context) as entered:
        with TlsCaller(entered, client_context) as caller:
            await caller.shake_hands()
            await caller.send(REQUEST + channel(b"12345"))
            assert await caller.receive(32) == REPLY + channel(b"12345")
            for piece in (channel(bytes(9))[:5], channel(bytes(9))[5:] + REQUEST[:7], REQUEST[7:]):
                await caller.send(piece)
            assert await caller.receive(36) == channel(bytes(9)) + REPLY
            assert entered.stats.connections == {"tls": 1}


async def test_flood_arrives_whole_and_in_order(context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    stream = b"".join(channel(count.to_bytes(2) * (count % 700)) for count in range(1000))
    async with entrance(context, write_buffer_bytes=10_000_000) as entered:
        with TlsCaller(entered, client_context) as caller:
            await caller.shake_hands()
            await caller.allocates(entered)
            async with asyncio.TaskGroup() as group:
                echo = group.create_task(caller.receive(len(stream)))
                await caller.send(stream)
            assert echo.result() == stream


async def test_each_message_is_a_record_of_its_own(context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async with entrance(context) as entered:
        with TlsCaller(entered, client_context) as caller:
            await caller.shake_hands()
            await caller.send(REQUEST + channel(b"data"))
            assert [await caller.record(), await caller.record()] == [REPLY, channel(b"data")]


async def test_goodbye_of_the_client_ends_its_allocation_and_is_returned(
    context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with entrance(context) as entered:
        with TlsCaller(entered, client_context) as caller:
            await caller.shake_hands()
            await caller.asks()
            with contextlib.suppress(ssl.SSLWantReadError):
                caller.tls.unwrap()
            await Caller.send(caller, caller.outgoing.read())
            caller.incoming.write(await Caller.receive(caller, 1000))
            caller.tls.unwrap()  # raises without the server's goodbye
            await entered.empty()
        assert len(entered.relay.left) == 1
        assert entered.stats.connections == {"tls": 0}
        assert entered.stats.handshake_failures == entered.stats.connections_refused == {}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_client_that_refuses_the_certificate_is_counted(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.maximum_version = version
    async with entrance(context) as entered:
        with TlsCaller(entered, ssl.create_default_context()) as caller:
            with pytest.raises(ssl.SSLCertVerificationError):
                await caller.shake_hands()
            await Caller.send(caller, caller.outgoing.read())
            await entered.empty()
        assert entered.stats.handshake_failures == {"alert": 1}


async def test_what_only_looks_like_tls_is_closed_with_an_alert(context: ssl.SSLContext) -> None:
    async with entrance(context) as entered:
        with Caller(entered) as caller:
            await caller.send(b"\x16\x03\x01\x00\x05hello")
            assert (await caller.receive(1))[:1] == b"\x15"
        await entered.empty()
        assert entered.stats.handshake_failures == {"protocol": 1}
        assert entered.stats.connections == {}


async def test_version_that_is_too_old_is_told_apart(context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    async with entrance(context) as entered:
        with TlsCaller(entered, client_context) as caller:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                await caller.shake_hands()
            await entered.empty()
        assert entered.stats.handshake_failures == {"version": 1}


@pytest.mark.parametrize("how", ["closed", "timeout"])
async def test_handshake_that_does_not_end_is_closed(context: ssl.SSLContext, how: str) -> None:
    async with entrance(context) as entered:
        with Caller(entered) as caller:
            await caller.send(b"\x16\x03\x01")
            await entered.until(lambda: entered.hall.connections)
            if how == "closed":
                caller.socket.shutdown(socket.SHUT_WR)
            else:
                await asyncio.sleep(0.01)
                entered.acceptor.tick(entered.hall.loop.time() + 10)
            assert await caller.is_closed()
        assert entered.stats.handshake_failures == {how: 1}


async def test_context_that_wants_no_more_handshakes_is_obeyed() -> None:
    class Tired(ssl.SSLContext):
        def wrap_bio(self, *_: object, **__: object) -> ssl.SSLObject:
            raise ConnectionAbortedError

    async with entrance(Tired(ssl.PROTOCOL_TLS_SERVER)) as entered:
        with Caller(entered) as caller:
            await caller.send(b"\x16\x03\x01")
            assert await caller.is_closed()
        assert entered.stats.connections_refused == {"handshakes": 1}


async def test_noise_in_the_midst_of_tls_is_closed_and_what_is_sent_then_is_lost(
    context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with entrance(context) as entered:
        with TlsCaller(entered, client_context) as caller:
            await caller.shake_hands()
            await caller.asks()
            number = entered.number
            await Caller.send(caller, b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
                await caller.record()
            await entered.empty()
        assert entered.stats.connections_refused == {"protocol": 1}
        assert entered.relay.left == [number]


class Stuck(socket.socket):
    """The client's kernel takes nothing."""

    def send(self, *_: object) -> int:
        raise BlockingIOError


async def test_tls_that_answers_by_itself_does_not_queue_without_end(
    context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    ours, theirs = socket.socketpair()
    async with entrance(context, write_buffer_bytes=100) as entered:
        with theirs:
            stuck = Stuck(fileno=ours.detach())
            stuck.setblocking(False)
            Connection(entered.hall, stuck, ("192.0.2.1", 1))
            outgoing = ssl.MemoryBIO()
            tls = client_context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            theirs.send(outgoing.read())
            await entered.empty()
        assert entered.stats.handshake_failures == {"write-buffer": 1}
