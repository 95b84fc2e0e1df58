"""Encoded film for tests of recordings: H.264 of the real encoder, Opus of the real encoder, and its decoding back."""

import io
from fractions import Fraction
from functools import cache

import av

from media.encoders.encoder import AccessUnit, Capture, EncoderSettings, Shape
from media.encoders.opus import OpusEncoder
from media.encoders.software import X264Encoder

FPS = 30
STEP = 90_000 // FPS


@cache
def pictures(count: int = 90, width: int = 160, height: int = 90, every: int = 30) -> tuple[AccessUnit, ...]:
    """Pictures whose brightness counts, `every` so many a key frame; the first was taken at monotonic 100 s."""
    encoder = X264Encoder(Shape(width, height, FPS), EncoderSettings(bitrate_bps=200_000, preset="ultrafast"))
    units = []
    for number in range(count):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, value in zip(frame.planes, (number % 200 + 20, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        units += encoder.encode(Capture(frame, number * STEP, 100 + number / FPS), number % every == 0)
    encoder.close()
    return tuple(units)


@cache
def sounds(count: int = 150) -> tuple[AccessUnit, ...]:
    """Packets of silence of 20 ms, the first from monotonic 100 s on."""
    encoder = OpusEncoder(EncoderSettings())
    units = []
    for number in range(count):
        frame = av.AudioFrame("s16", "stereo", 960)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 48_000
        units += encoder.encode(Capture(frame, number * 960, 100 + number / 50), False)
    encoder.close()
    return tuple(units)


@cache
def high_profile(width: int, height: int) -> bytes:
    """One access unit of a profile that is not Baseline, with the extensions that its parameter set has."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = Fraction(1, 30)
    context.options = {"preset": "veryfast", "profile": "high", "x264-params": "cqm=jvt:repeat-headers=1"}
    frame = av.VideoFrame(width, height, "yuv420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def decode(film: bytes) -> tuple[list[float], list[float]]:
    """The times (s) of all pictures and of all packets of sound that can be decoded."""
    with av.open(io.BytesIO(film)) as container:
        streams = (*container.streams.video, *container.streams.audio)
        times: dict[str, list[float]] = {"video": [], "audio": []}
        for packet in container.demux(*streams):
            for frame in packet.decode():
                times[packet.stream.type].append(float(frame.time or 0))
    return times["video"], times["audio"]
