"""A file that can be passed on: the test pattern as 720p30 H.264 Constrained Baseline of 2 Mbit/s in an MP4."""

import io
from fractions import Fraction
from pathlib import Path

import av

from media.encoders import choose
from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderSettings, Shape
from media.sources.pattern import PatternSource
from media.sources.source import Picture

SHAPE = Shape(1280, 720, 30.0)
CLOCK_HZ = 90_000
PICTURE = 3_000
KEYFRAME_EVERY = 30


def make(path: Path, encoded_s: float = 6.0, repeats: int = 10) -> None:
    """Encode `encoded_s` seconds with a key frame each second, and write them `repeats` times one after another."""
    units = _encoded(round(encoded_s * SHAPE.fps))
    with av.open(path, "w", format="mp4") as container:
        with av.open(io.BytesIO(b"".join(unit.data for unit in units)), format="h264") as bare:
            stream = container.add_stream_from_template(bare.streams.video[0])
        stream.time_base = Fraction(1, CLOCK_HZ)
        for number in range(len(units) * repeats):
            unit = units[number % len(units)]
            packet = av.Packet(unit.data)
            packet.stream, packet.time_base = stream, Fraction(1, CLOCK_HZ)
            packet.pts = packet.dts = number * PICTURE
            packet.duration = PICTURE
            packet.is_keyframe = unit.is_key
            container.mux(packet)


def _encoded(count: int) -> list[AccessUnit]:
    encoder = choose.EncoderChain(Codec.H264, SHAPE, EncoderSettings()).open()
    items = PatternSource(SHAPE.width, SHAPE.height, SHAPE.fps).frames(lambda _: True)
    pictures = (item for item in items if isinstance(item, Picture))
    units = []
    for number in range(count):
        capture = Capture(next(pictures).frame, number * PICTURE, number / SHAPE.fps)
        units += encoder.encode(capture, number % KEYFRAME_EVERY == 0)
    encoder.close()
    return units
