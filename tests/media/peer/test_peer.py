import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.rtcdtlstransport import RTCCertificate, generate_certificate
from aiortc.rtp import RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket
from cryptography.hazmat.primitives.asymmetric import rsa

from channels.ice import IceServer
from media.encoders.encoder import Codec
from media.fanout import FanOut
from media.peer import description, gather
from media.peer.description import Description
from media.peer.gather import GATHERING_LIMIT_S
from media.peer.peer import End, Outside, Peer, PeerSettings
from media.rtp.header import PLAYOUT_DELAY
from tests.media.stage import running_feed

QUICK = PeerSettings(deadline_s=30.0, report_s=0.1)


class Browser:
    """A stock aiortc connection in the place of a viewer."""

    def __init__(self, *kinds: str, codec: str = "H264") -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tracks: dict[str, MediaStreamTrack] = {}
        self.connection.on("track", lambda track: self.tracks.update({track.kind: track}))
        for kind in kinds or ("video",):
            transceiver = self.connection.addTransceiver(kind, "recvonly")
            if kind == "video":
                capabilities = RTCRtpReceiver.getCapabilities("video")
                assert capabilities is not None
                wanted = sorted(capabilities.codecs, key=lambda known: known.mimeType != f"video/{codec}")
                transceiver.setCodecPreferences(wanted)

    async def offer(self) -> Description:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return Description("offer", self.connection.localDescription.sdp)

    async def answered(self, payload: bytes) -> None:
        answer = description.read_description(payload, "answer")
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))


def report_about(ssrc: int) -> bytes:
    """One receiver report."""
    return bytes(RtcpRrPacket(ssrc=1, reports=[RtcpReceiverInfo(ssrc, 0, 0, 0, 0, 0, 0)]))


class Visit:
    """One peer with its viewer, and what it told."""

    def __init__(self) -> None:
        self.browser = Browser()
        self.sent: list[tuple[str, bytes]] = []
        self.answered = asyncio.Event()
        self.end: End | None = None
        self.ended = asyncio.Event()
        self.peer: Peer

    async def signal(self, kind: str, payload: bytes) -> None:
        self.sent.append((kind, payload))
        if kind == "SDP_ANSWER":
            self.answered.set()

    @property
    def answer(self) -> str:
        return description.read_description(self.sent[0][1], "answer").sdp


@asynccontextmanager
async def visit(
    settings: PeerSettings = QUICK,
    servers: tuple[IceServer, ...] = (),
    browser: Browser | None = None,
    change: Callable[[str], str] = lambda sdp: sdp,
) -> AsyncIterator[Visit]:
    async def no_servers() -> tuple[IceServer, ...]:
        return servers

    guest = Visit()
    guest.browser = browser or guest.browser
    offer = await guest.browser.offer()
    async with running_feed() as feed, asyncio.TaskGroup() as group:
        outside = Outside(FanOut(feed), no_servers, guest.signal)
        guest.peer = Peer("v1", Description("offer", change(offer.sdp)), outside, settings)

        async def live() -> None:
            guest.end = await guest.peer.run()
            guest.ended.set()

        task = group.create_task(live())
        try:
            yield guest
        finally:
            await guest.browser.connection.close()
            guest.peer.stop()
            await task


async def connected(guest: Visit) -> None:
    async with asyncio.timeout(QUICK.deadline_s):
        await guest.answered.wait()
        await guest.browser.answered(guest.sent[0][1])
        assert await guest.peer.connected()


async def test_the_answer_carries_sha256_only_and_host_candidates_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "GATHERING_LIMIT_S", 30.0)  # that of a silent server, which nobody waits for
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = (IceServer((f"turn:127.0.0.1:{silent.getsockname()[1]}?transport=udp",), "u", "p", 300),)
        started = time.monotonic()

        def with_playout_delay(sdp: str) -> str:
            return sdp.replace("a=mid:", f"a=extmap:9 {PLAYOUT_DELAY}\r\na=mid:")

        async with visit(servers=servers, browser=Browser("audio", "video"), change=with_playout_delay) as guest:
            await guest.answered.wait()
            assert time.monotonic() - started < 30.0
            lines = guest.answer.splitlines()
    prints = {line.split()[0] for line in lines if line.startswith("a=fingerprint:")}
    assert prints == {"a=fingerprint:sha-256"}
    assert any(" typ host" in line for line in lines)
    assert "a=end-of-candidates" not in lines
    assert lines.count("a=sendonly") == 2
    assert f"a=extmap:9 {PLAYOUT_DELAY}" in lines  # pictures are shown as they come


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
async def test_a_stock_viewer_decodes_picture_and_sound(codec: Codec) -> None:
    async with visit(browser=Browser("video", "audio", codec=codec.value)) as guest:
        await connected(guest)
        frame = await guest.browser.tracks["video"].recv()
        assert (frame.width, frame.height) == (320, 180)
        sound = await guest.browser.tracks["audio"].recv()
        assert sound.sample_rate == 48000
        assert description.sent_codec(guest.answer) == codec.value


async def test_a_viewer_that_closes_ends_its_peer() -> None:
    async with visit() as guest:
        await connected(guest)
        await guest.browser.connection.close()
        async with asyncio.timeout(15):
            await guest.ended.wait()
    assert guest.end is End.LEFT


async def test_a_viewer_that_never_connects_is_given_up_at_the_deadline() -> None:
    async with visit(PeerSettings(deadline_s=0.2)) as guest:
        async with asyncio.timeout(15):
            await guest.ended.wait()
    assert guest.end is End.DEADLINE


async def test_a_viewer_that_falls_silent_is_evicted() -> None:
    async with visit(PeerSettings(silence_s=0.3, report_s=0.05)) as guest:
        await connected(guest)
        transport = guest.browser.connection.getTransceivers()[0].receiver.transport
        (stream,) = guest.peer.streams.by_ssrc.values()
        assert stream.sender is not None
        for _ in range(2):
            await transport._send_rtp(report_about(stream.sender.stream.ssrc))

        async def nothing(data: bytes) -> None:
            return

        transport._send_rtp = nothing  # type: ignore[method-assign]
        async with asyncio.timeout(15):
            await guest.ended.wait()
    assert guest.end is End.SILENCE


async def test_picture_loss_makes_a_key_frame() -> None:
    async with visit() as guest:
        await connected(guest)
        await guest.browser.tracks["video"].recv()
        (stream,) = guest.peer.streams.by_ssrc.values()
        assert stream.sender is not None
        before = stream.sender.stats.keyframes
        transport = guest.browser.connection.getTransceivers()[0].receiver.transport
        await transport._send_rtp(bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=stream.sender.stream.ssrc)))
        async with asyncio.timeout(15):
            while stream.sender.stats.keyframes == before:
                await guest.browser.tracks["video"].recv()
        assert stream.sender.stats.plis >= 1


async def test_hostile_feedback_leaves_the_picture_alone() -> None:
    async with visit() as guest:
        await connected(guest)
        await guest.browser.tracks["video"].recv()
        transport = guest.browser.connection.getTransceivers()[0].receiver.transport
        for data in (b"\x8f\xce\x00\x04" + b"\x00" * 8 + b"REMB\xff\xff\xff\xff", b"\x81\xcd\xff\xff" + b"\xff" * 60):
            await transport._send_rtp(data)
        for _ in range(5):
            await guest.browser.tracks["video"].recv()
        assert guest.peer.is_connected


@pytest.mark.parametrize("role", ["actpass", "active", "passive"])
async def test_a_viewer_with_an_rsa_certificate_gets_in_in_every_dtls_role(role: str) -> None:
    browser = Browser()
    key = rsa.generate_private_key(65537, 2048)
    certificate = RTCCertificate(key, generate_certificate(key))  # type: ignore[arg-type]
    create = certificate._create_ssl_context

    def with_rsa_suites(srtp_profiles: object) -> object:
        context = create(srtp_profiles=srtp_profiles)  # type: ignore[arg-type]
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
        return context

    certificate._create_ssl_context = with_rsa_suites  # type: ignore[assignment, method-assign]
    transport = browser.connection.getTransceivers()[0].receiver.transport
    transport._RTCDtlsTransport__local_certificate = certificate  # type: ignore[attr-defined]
    async with visit(browser=browser, change=lambda sdp: sdp.replace("setup:actpass", f"setup:{role}")) as guest:
        await connected(guest)
        await guest.browser.tracks["video"].recv()


@pytest.mark.parametrize(
    "change",
    [
        lambda sdp: "",
        lambda sdp: "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        lambda sdp: sdp.replace("VP8", "AV1").replace("H264", "H265"),
        lambda sdp: sdp.replace("a=ice-ufrag", "a=x"),
        lambda sdp: sdp.replace("a=fingerprint", "a=x").replace("a=setup:actpass\r\n", ""),
        lambda sdp: sdp.replace("a=rtcp-mux\r\n", ""),
        lambda sdp: sdp[: len(sdp) // 3],
    ],
)
async def test_an_offer_that_cannot_be_used_ends_quietly(
    change: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    async with visit(PeerSettings(deadline_s=0.3), change=change) as guest, asyncio.timeout(15):
        await guest.ended.wait()
    assert guest.end in (End.REFUSED, End.DEADLINE)
    assert all(len(record.__dict__.get("reason", "")) < 160 for record in caplog.records)


async def test_candidates_that_come_by_trickle_connect() -> None:
    def without_candidates(sdp: str) -> str:
        return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=candidate"))

    async with visit(change=without_candidates) as guest:
        sdp = guest.browser.connection.localDescription.sdp
        for line in sdp.splitlines():
            if line.startswith("a=candidate"):
                payload = {"candidate": line.removeprefix("a="), "sdpMid": "0", "sdpMLineIndex": 0}
                guest.peer.add_candidate(description.read_candidate(json.dumps(payload).encode()))
        await connected(guest)


async def test_names_that_nobody_resolves_do_not_hold_the_answer_back() -> None:
    def with_names(sdp: str) -> str:
        line = "a=candidate:1 1 udp 2122260223 {}.local 40000 typ host\r\n"
        return sdp.replace("a=ice-ufrag", "".join(map(line.format, range(3))) + "a=ice-ufrag", 1)

    started = time.monotonic()
    async with visit(change=with_names) as guest:
        await guest.answered.wait()
        assert time.monotonic() - started < GATHERING_LIMIT_S
        await connected(guest)


async def test_candidates_in_the_offer_are_bounded_too() -> None:
    def with_many(sdp: str) -> str:
        lines = (f"a=candidate:1 1 udp 1 192.0.2.77 {port} typ host\r\n" for port in range(1, 100))
        return sdp.replace("a=ice-ufrag", "".join(lines) + "a=ice-ufrag", 1)

    async with visit(change=with_many) as guest:
        await guest.answered.wait()
        assert guest.peer.trickle.taken == QUICK.candidates_limit
        assert guest.peer.trickle.dropped > 0


async def test_candidates_are_bounded() -> None:
    async with visit() as guest:
        for port in range(1, 100):
            text = f"candidate:1 1 udp 1 192.0.2.77 {port} typ host"
            guest.peer.add_candidate(description.read_candidate(json.dumps({"candidate": text}).encode()))
        assert guest.peer.trickle.taken == QUICK.candidates_limit
        assert guest.peer.trickle.dropped == 99 - QUICK.candidates_limit
        await guest.answered.wait()


async def test_a_viewer_may_bundle_on_a_data_channel() -> None:
    browser = Browser()
    browser.connection.createDataChannel("control")
    async with visit(browser=browser) as guest:
        await connected(guest)
        await guest.browser.tracks["video"].recv()


async def test_a_viewer_without_bundling_gets_a_transport_for_each_stream() -> None:
    def unbundled(sdp: str) -> str:
        return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=group:BUNDLE"))

    async with visit(browser=Browser("video", "audio"), change=unbundled) as guest:
        await guest.answered.wait()
        assert len({line for line in guest.answer.splitlines() if line.startswith("a=candidate")}) >= 2


async def test_commands_come_through_a_real_data_channel() -> None:
    browser = Browser()
    channel = browser.connection.createDataChannel("control")
    heard: asyncio.Queue[str] = asyncio.Queue()
    channel.on("message", heard.put_nowait)
    async with visit(browser=browser) as guest:
        await connected(guest)
        async with asyncio.timeout(15):
            await guest.browser.tracks["video"].recv()  # so that something was sent
            while channel.readyState != "open":
                await guest.browser.tracks["video"].recv()
            channel.send('{"type": "stats", "id": 1}')
            stats = json.loads(await heard.get())
            channel.send('{"type": "layer", "id": 2, "data": {"layer": 5}}')
            refused = json.loads(await heard.get())
    assert stats["data"]["streams"][0]["codec"] == "H264"
    assert stats["data"]["streams"][0]["sent"]["packets"] > 0
    assert refused["data"]["reason"] == "no-such-layer"
