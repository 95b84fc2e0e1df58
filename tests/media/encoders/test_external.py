"""The encoder in the program ffmpeg, with its libx264 in the place of a device."""

import shutil
from pathlib import Path

import av
import msgspec
import pytest

from media.encoders import external
from media.encoders.backends import BY_NAME, Backend, LiveBitrate, Route
from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderError, EncoderSettings, Shape
from media.encoders.external import ExternalEncoder, Parts
from media.encoders.failure import FailureClass, OpenError
from media.encoders.trial import Texture
from tests.media.descriptors import crowded
from tests.media.pictures import decoder

SHAPE = Shape(320, 176, 10.0)
SETTINGS = EncoderSettings(bitrate_bps=300_000)
X264 = Backend(
    "vaapi-ffmpeg", "H264", "libx264", "ffmpeg", Route.EXTERNAL, "nv12",
    (("preset", "ultrafast"), ("tune", "zerolatency"), ("maxrate", "{bitrate}"), ("bufsize", "{buffer}")),
    bitrate=LiveBitrate.REOPEN, forces_key=False,
)  # fmt: skip
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no program ffmpeg")


def part(data: bytes) -> bytes:
    return b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: %d\r\n\r\n%b\r\n" % (len(data), data)


def test_packets_are_cut_wherever_the_pipe_cuts_them() -> None:
    packets = [b"\0\0\0\1abc", b"\r\n\r\n", b"", b"x" * 1000]
    stream = b"".join(part(packet) for packet in packets)
    for step in (1, 7, len(stream)):
        parts = Parts()
        cut = [packet for at in range(0, len(stream), step) for packet in parts.feed(stream[at : at + step])]
        assert cut == packets


def test_what_is_no_packet_is_an_error() -> None:
    for data in (b"x" * 300, b"Content-length: many\r\n\r\n", b"Content-length: 99999999\r\n\r\n"):
        with pytest.raises(EncoderError, match="ffmpeg gave"):
            Parts().feed(data)


@needs_ffmpeg
def test_command_uploads_to_the_device_that_is_there(tmp_path: Path) -> None:
    words = external.command(BY_NAME["vaapi-ffmpeg"], SHAPE, 300_000, 20, "/dev/dri/renderD129")
    line = " ".join(words)
    assert "-vaapi_device /dev/dri/renderD129" in line
    assert "-vf format=nv12,hwupload" in line
    assert "-c:v h264_vaapi -b:v 300000 -g 20 -profile:v constrained_baseline" in line
    with pytest.raises(OpenError) as caught:
        ExternalEncoder(BY_NAME["vaapi-ffmpeg"], SHAPE, SETTINGS, tmp_path)
    assert caught.value.failure.kind is FailureClass.NO_DEVICE


def test_without_the_program_it_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "PROGRAM", "no-such-program")
    with pytest.raises(OpenError, match="install the program ffmpeg"):
        ExternalEncoder(X264, SHAPE, SETTINGS)


def shown(encoder: ExternalEncoder, count: int, keys: tuple[int, ...] = (), rate_at: int = -1) -> list[AccessUnit]:
    texture, units = Texture(SHAPE), []
    for number in range(count):
        if number == rate_at:
            encoder.set_bitrate(100_000)
        units += encoder.encode(Capture(texture.picture(), number * 9000, float(number)), number in keys)
    for number in range(count, count + 20):
        if len(units) >= count:
            break
        units += encoder.encode(Capture(texture.picture(), number * 9000, float(number)), False)
    return units[:count]


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize("pixel_format", ["nv12", "yuv420p"])
def test_units_decode_in_order_and_keys_and_rates_cost_a_restart(pixel_format: str) -> None:
    encoder = ExternalEncoder(msgspec.structs.replace(X264, pixel_format=pixel_format), SHAPE, SETTINGS)
    units = shown(encoder, 12, (0, 4), rate_at=8)
    encoder.close()
    assert [unit.timestamp // 9000 for unit in units if unit.is_key] == [0, 4, 8]
    assert [unit.timestamp for unit in units] == sorted({unit.timestamp for unit in units})
    assert all(unit.captured_at * 9000 == unit.timestamp for unit in units)
    context = decoder(Codec.H264)
    assert all(context.decode(av.Packet(unit.data)) for unit in units)


@pytest.mark.slow
@needs_ffmpeg
def test_device_that_the_program_cannot_open_has_a_class(tmp_path: Path) -> None:
    node = tmp_path / "dev" / "dri" / "renderD128"
    node.parent.mkdir(parents=True)
    node.write_text("")
    encoder = ExternalEncoder(BY_NAME["vaapi-ffmpeg"], SHAPE, SETTINGS, tmp_path)
    with pytest.raises(OpenError, match="install the VA-API driver of this GPU") as caught:
        shown(encoder, 3)
    assert caught.value.failure.kind is FailureClass.RUNTIME_MISSING


@pytest.mark.slow
@needs_ffmpeg
def test_program_that_is_killed_is_an_error_and_nothing_stays_behind() -> None:
    encoder = ExternalEncoder(X264, SHAPE, SETTINGS)
    shown(encoder, 2)
    assert encoder._run is not None
    process = encoder._run._process
    process.kill()
    with pytest.raises(EncoderError, match="libx264 of ffmpeg ended"):
        shown(encoder, 3)
    assert process.returncode == -9
    encoder.close()
    encoder.close()
    with pytest.raises(EncoderError, match="closed"):
        shown(encoder, 1)


@pytest.mark.slow
@needs_ffmpeg
def test_program_that_reads_nothing_is_a_stall_also_beside_hundreds_of_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "WRITE_S", 0.2)
    monkeypatch.setattr(external, "FIRST_S", 0.05)
    monkeypatch.setattr(external, "command", lambda *_: ["sleep", "60"])
    big = Shape(1920, 1088, 30.0)
    picture = Capture(av.VideoFrame(1920, 1088, "nv12"), 0, 0.0)
    with crowded():
        encoder = ExternalEncoder(X264, big, SETTINGS)
        with pytest.raises(EncoderError, match="read no picture"):
            encoder.encode(picture, False)
        encoder.close()


def test_padding_of_rows_is_left_out() -> None:
    for width, pixel_format in ((100, "nv12"), (100, "yuv420p"), (128, "nv12"), (128, "yuv420p")):
        frame = av.VideoFrame(width, 50, pixel_format)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        assert len(external.planes(frame)) == width * 50 * 3 // 2
