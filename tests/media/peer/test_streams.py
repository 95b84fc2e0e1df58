import asyncio
import itertools
import math
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters

from channels.ice import IceServer
from media.control.share import BURST_S, Share
from media.fanout import FanOut
from media.peer import description
from media.peer.description import Description
from media.peer.peer import Outside, Peer, PeerSettings
from media.peer.speaker import FileSpeaker
from media.peer.streams import Ears, Streams
from media.peer.talkback import TALKERS_LIMIT, Mode, Talkback
from media.rtp import reply
from tests.media.stage import running_feed
from tests.media.talking import share_of


class Tone(MediaStreamTrack):
    """A microphone: 440 Hz in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._said = 0
        self._began_at = asyncio.get_running_loop().time()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(max(self._began_at + self._said * 0.02 - asyncio.get_running_loop().time(), 0))
        frame = av.AudioFrame("s16", "mono", 960)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._said * 960, Fraction(1, 48_000)
        start = self._said * 960
        sound = (round(8000 * math.sin(math.tau * 440 * (start + n) / 48_000)) for n in range(960))
        frame.planes[0].update(array("h", sound).tobytes())
        self._said += 1
        return frame


def clear_pieces(path: Path) -> int:
    """The tenths of a second in a file that hold the microphone's tone and nothing else."""
    with wave.open(str(path), "rb") as said:
        sound = said.readframes(said.getnframes())
    pieces = [sound[at : at + 9600] for at in range(0, len(sound) - 9600, 9600)]
    return sum(share_of(440, piece) > 0.9 for piece in pieces)


@asynccontextmanager
async def calling(viewer: RTCPeerConnection, talkback: Talkback | None) -> AsyncIterator[tuple[Peer, str]]:
    """A stock viewer at a peer that hears; gives the peer and its answer."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def no_servers() -> tuple[IceServer, ...]:
        return ()

    async def signal(kind: str, payload: bytes) -> None:
        if kind == "SDP_ANSWER":
            answered.set_result(payload)

    await viewer.setLocalDescription(await viewer.createOffer())
    offer = Description("offer", viewer.localDescription.sdp)
    async with running_feed() as feed, asyncio.TaskGroup() as group:
        peer = Peer("v1", offer, Outside(FanOut(feed), no_servers, signal, talkback=talkback), PeerSettings())
        task = group.create_task(peer.run())
        sdp = description.read_description(await answered, "answer").sdp
        await viewer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        try:
            async with asyncio.timeout(30):
                assert await peer.connected()
                yield peer, sdp
        finally:
            await viewer.close()
            peer.stop()
            await task


@pytest.mark.slow
async def test_what_a_stock_viewer_says_is_in_the_file_while_it_watches(tmp_path: Path) -> None:
    speaker = FileSpeaker(tmp_path / "said.wav")
    talkback = Talkback(speaker, Mode.MIX)
    viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pictures: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    viewer.on("track", lambda track: track.kind == "video" and pictures.put_nowait(track))
    viewer.addTransceiver("video", "recvonly")
    viewer.addTrack(Tone())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(talkback.run())
        async with calling(viewer, talkback) as (peer, sdp):
            assert "a=sendrecv" in sdp
            assert (await (await pictures.get()).recv()).pts is not None
            while clear_pieces(tmp_path / "said.wav") < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # a file rings no bell; a machine that is busy loses some
            assert peer.streams.by_ssrc
        task.cancel()
    assert talkback.has_room
    assert talkback._talkers == ()


@pytest.mark.parametrize("is_full", [False, True])
async def test_without_room_or_talk_back_the_sound_of_viewers_is_not_taken(is_full: bool, tmp_path: Path) -> None:
    talkback = Talkback(FileSpeaker(tmp_path / "said.wav"), Mode.MIX) if is_full else None
    while talkback is not None and talkback.join("other"):
        continue
    viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    viewer.addTransceiver("video", "recvonly")
    viewer.addTransceiver("audio", "sendrecv")
    async with calling(viewer, talkback) as (_, sdp):
        assert sdp.count("a=sendonly") == 2
        assert "a=sendrecv" not in sdp


def streams_of(talkback: Talkback | None) -> Streams:
    no_feed: Any = None
    return Streams("v1", FanOut(no_feed), talkback, Ears(lambda: None, lambda _: None, lambda: None), Share(0.0))


async def spoken_offer() -> str:
    """What a viewer offers that talks only."""
    async with connection() as viewer:
        viewer.addTransceiver("audio", "sendonly")
        await viewer.setLocalDescription(await viewer.createOffer())
        sdp: str = viewer.localDescription.sdp
        return sdp


@asynccontextmanager
async def connection() -> AsyncIterator[RTCPeerConnection]:
    made = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        yield made
    finally:
        await made.close()


async def test_of_two_viewers_that_offer_at_once_one_gets_the_last_place_and_the_other_is_told(tmp_path: Path) -> None:
    talkback = Talkback(FileSpeaker(tmp_path / "said.wav"), Mode.MIX)
    for number in range(TALKERS_LIMIT - 1):
        talkback.join(str(number))
    offer = await spoken_offer()
    first, second = streams_of(talkback), streams_of(talkback)
    async with connection() as one, connection() as other:
        for streams, made in ((first, one), (second, other)):
            streams.prepare(made, offer, has_audio=True)
        assert [made.getTransceivers()[0].direction for made in (one, other)] == ["recvonly", "inactive"]
        assert (talkback.has_room, talkback.stats.refused) == (False, 1)
        for streams in (first, second):
            streams.close()
        assert talkback.has_room


async def test_what_nobody_hears_is_not_decoded_by_aiortc() -> None:
    offer = await spoken_offer()
    streams = streams_of(None)
    async with connection() as made:
        await made.setRemoteDescription(RTCSessionDescription(offer, "offer"))  # unprepared: aiortc takes what it can
        streams.attach(made)
        [transceiver] = made.getTransceivers()
        assert transceiver.direction == "recvonly"
        await transceiver.receiver.receive(RTCRtpReceiveParameters(codecs=transceiver._codecs))
        assert transceiver.receiver._RTCRtpReceiver__decoder_thread is None


def test_rtcp_costs_no_more_time_than_the_viewers_share(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = itertools.count(0.0, 2**-10)  # each packet costs a millisecond, and no time passes
    clock = SimpleNamespace(monotonic=lambda: 0.0, thread_time=lambda: next(spent))
    monkeypatch.setattr("media.peer.streams.time", clock)
    no_feed: Any = None
    heard: list[bool] = []
    share = Share(0.0)
    streams = Streams("v1", FanOut(no_feed), None, Ears(lambda: None, heard.append, lambda: None), share)
    packet = reply.compound(1, "viewer", None, reply.nack(1, 2, range(6000)))
    streams.rtcp_received(packet)
    assert (len(heard), share.refused) == (1, 0)
    share.spend(BURST_S - 2 * 2**-10)  # but for the time of one more packet
    for _ in range(20):
        streams.rtcp_received(packet)
    assert (len(heard), share.refused) == (2, 19)
