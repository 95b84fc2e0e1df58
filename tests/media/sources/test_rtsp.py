"""Cameras by RTSP: a small one of our own, and FFmpeg's on the other end of a loop."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import pytest

from media.encoders.encoder import Codec
from media.sources import counter, rtsp, uri
from media.sources.live import LiveSource
from media.sources.open import open_source
from media.sources.rtsp import RtspStream, sentence
from media.sources.source import EncodedPicture, EncodedSound, Item, Picture, Sound, SourceError
from tests.media.pictures import at_once, decoder
from tests.media.sources.camera import PASSWORD, USER, Camera
from tests.media.sources.clips import shades, write_h264
from tests.ports import free_port

pytestmark = pytest.mark.slow
LOGIN = f"{USER}:{PASSWORD}@"
PATIENT_S = 15.0  # for a camera that is there, on a machine that is late


def place(url: str) -> uri.Rtsp:
    parsed = uri.parse(url)
    assert isinstance(parsed, uri.Rtsp)
    return parsed


def read(stream: RtspStream, count: int) -> list[Item]:
    start = time.monotonic()
    with closing(stream):
        return list(islice(stream.items(stream.facts, lambda: time.monotonic() - start), count))


def first_number(images: list[EncodedPicture]) -> int | None:
    """The number that the first picture shows."""
    context = decoder(Codec.H264)
    frame = next(frame for image in images for frame in context.decode(av.Packet(image.data)))
    plane = frame.planes[0]
    shown = counter.read(memoryview(plane), plane.line_size, frame.width, frame.height)
    return shown.number if shown else None


@pytest.mark.parametrize(
    ("camera", "query"),
    [
        (Camera(gop=50), ""),
        (Camera(gop=50, has_audio=True), "?transport=udp"),
        (Camera(gop=50, auth="Digest", is_bare=True), "?channel=1"),
        (Camera(gop=50, auth="Basic"), ""),
    ],
    ids=["tcp", "udp", "digest", "basic"],
)
def test_baseline_is_passed_on_from_the_first_key_frame(camera: Camera, query: str) -> None:
    with camera:
        stream = RtspStream(place(camera.url(LOGIN, query)))
        got = read(stream, 30)
        assert Codec.H264 in stream.facts.passes
        images = [item for item in got if isinstance(item, EncodedPicture)]
        assert images[0].is_key
        assert first_number(images) == 0, "the key frame with which the camera begins was lost"
        assert len(shades(images)) == len(images)
        assert [item.time_s for item in images] == sorted(item.time_s for item in images)
        assert any(isinstance(item, EncodedSound) for item in got) is (query == "?transport=udp")


def test_other_profile_is_decoded() -> None:
    with Camera(profile="main") as camera:
        stream = RtspStream(place(camera.url()))
        got = read(stream, 5)
    assert (stream.facts.passes, "H.264 Main" in stream.facts.note) == (frozenset(), True)
    assert {type(item) for item in got} == {Picture}


def test_opus_of_other_lengths_is_decoded() -> None:
    with Camera(has_audio=True, opus_ms=40) as camera:
        stream = RtspStream(place(camera.url()))
        got = read(stream, 40)
    assert stream.facts.passes == {Codec.H264}
    sounds = [item for item in got if isinstance(item, Sound)]
    assert len(sounds) > 10
    assert all(after.time_s - before.time_s > 0.009 for before, after in pairwise(sounds))


@pytest.mark.parametrize("profile", ["baseline", "main"])
def test_lost_packets_cost_pictures_and_no_more(profile: str) -> None:
    with Camera(profile=profile, gop=10, loses_each=7) as camera:
        got = read(RtspStream(place(camera.url(query="?transport=udp"))), 40)
    assert len(got) == 40
    assert [item.time_s for item in got] == sorted(item.time_s for item in got)
    assert got[-1].time_s - got[0].time_s < 8


@contextmanager
def pushed(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Somebody who sends a file to us; nobody has to serve anything."""
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    over = threading.Event()

    def push() -> None:
        while not over.wait(0.05):
            with suppress(av.FFmpegError, OSError), av.open(str(path)) as source:
                out = av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"})
                streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
                with out:
                    for packet in source.demux():
                        if packet.dts is not None and not over.wait(0.01):
                            packet.stream = streams[packet.stream.index]
                            out.mux(packet)

    pushing = threading.Thread(target=push, daemon=True)
    pushing.start()
    try:
        yield url, {"rtsp_flags": "listen", "listen_timeout": "10"}
    finally:
        over.set()
        pushing.join(15)


def test_aac_is_decoded_beside_pictures_that_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_h264(path, pictures=60)
    with_sound = add_aac(path, tmp_path / "b.mp4")
    with pushed(with_sound) as (url, options):
        stream = RtspStream(place(url), options)
        got = read(stream, 60)
    assert (stream.facts.has_audio, stream.facts.passes) == (True, {Codec.H264})
    sounds = [item for item in got if isinstance(item, Sound)]
    assert len(sounds) > 5
    assert {(sound.frame.samples, sound.frame.sample_rate) for sound in sounds} == {(960, 48_000)}
    assert sum(isinstance(item, EncodedPicture) for item in got) > 5


def add_aac(path: Path, target: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for block in range(40):
            frame = av.AudioFrame("fltp", "mono", 1024)
            frame.sample_rate, frame.pts, frame.time_base = 16_000, block * 1024, Fraction(1, 16_000)
            frame.planes[0].update(bytes(4096))
            packets += audio.encode(frame)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            if packet.stream.type == "video":
                packet.stream = video
            out.mux(packet)
    return target


@pytest.mark.parametrize(
    ("credentials", "path", "words"),
    [("admin:wrong@", "/live", "refuses user or password"), (LOGIN, "/other", "no stream at this path")],
)
def test_refusal_is_told_without_the_password(credentials: str, path: str, words: str) -> None:
    with Camera(auth="Digest") as camera, pytest.raises(SourceError, match=words) as caught:
        RtspStream(place(f"rtsp://{credentials}127.0.0.1:{camera.port}{path}"))
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_every_error_has_a_sentence_without_the_address() -> None:
    url = f"rtsp://u:{PASSWORD}@127.0.0.1:1/x"
    with pytest.raises(SourceError, match="nobody listens") as caught:
        RtspStream(place(url))
    assert "127.0.0.1" not in str(caught.value)
    for kind in (av.error.TimeoutError, av.ExitError, av.InvalidDataError, av.error.OSError, av.HTTPBadRequestError):
        text = sentence(kind(113, "text", url), "tcp")
        assert "camera" in text or "address" in text
        assert PASSWORD not in text


def test_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rtsp._OPTIONS, "timeout", "200000")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SourceError, match="silent"):
        RtspStream(place(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"))


def test_camera_that_vanishes_and_returns_goes_on_without_a_jump() -> None:
    with Camera(gop=10) as camera:
        source = open_source(camera.url(), PATIENT_S)
        assert isinstance(source, LiveSource)
        playing = source.frames(at_once)
        first = list(islice(playing, 20))
        camera.die()
        with pytest.raises(SourceError):
            list(playing)
        with pytest.raises(SourceError, match="nobody listens"):
            list(source.frames(at_once))
    with Camera(gop=10, port=camera.port):
        playing = source.frames(at_once)
        again = list(islice(playing, 20))
        playing.close()
    for items in (first, again):
        assert isinstance(items[0], EncodedPicture)
        assert items[0].is_key
        steps = [after.time_s - before.time_s for before, after in pairwise(items)]
        assert max(steps) < 0.5


def test_silent_camera_is_a_dead_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with Camera() as camera:
        source = open_source(camera.url(), PATIENT_S)
        playing = source.frames(at_once)
        assert isinstance(next(playing), EncodedPicture)
        monkeypatch.setattr("media.sources.live.SILENT_S", 0.5)  # which counts from now on
        camera.is_silent.set()
        with pytest.raises(SourceError, match=r"gave no picture for 0\.5 s"):
            list(playing)


def test_camera_that_is_off_at_the_start_is_assumed_to_be_720p_with_sound() -> None:
    port = free_port()
    source = open_source(f"rtsp://127.0.0.1:{port}/live")
    assert (source.width, source.height, source.has_audio) == (1280, 720, True)
    with Camera(port=port) as camera:
        playing = source.frames(at_once)
        item = next(playing)
        playing.close()
        assert camera.goodbye.wait(15)
    assert isinstance(item, Picture)
    assert item.frame.width == 1280
    assert source.passes == {Codec.H264}
