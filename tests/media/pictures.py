"""Raw material for tests of media: captures of the test pattern, and small MP4 files."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from media.encoders.encoder import AUDIO_CLOCK_HZ, AudioCapture, Capture, Codec, VideoCapture
from media.sources.pattern import PatternSource
from media.sources.source import Picture, Sound


def at_once(_time_s: float) -> bool:
    """A pace that never waits."""
    return True


def captures(source: PatternSource, count: int) -> Iterator[VideoCapture]:
    """`count` pictures of a source, as fast as they come."""
    items = source.frames(at_once)
    number = 0
    for item in items:
        if isinstance(item, Picture):
            yield Capture(item.frame, round(number * 90_000 / source.fps), item.time_s)
            number += 1
            if number == count:
                items.close()
                return


def sounds(source: PatternSource, count: int) -> Iterator[AudioCapture]:
    """`count` sounds of a source, as fast as they come."""
    items = source.frames(at_once)
    number = 0
    for item in items:
        if isinstance(item, Sound):
            yield Capture(item.frame, number * 960, item.time_s)
            number += 1
            if number == count:
                items.close()
                return


def decoder(codec: Codec) -> av.VideoCodecContext:
    """A software decoder without delay."""
    context = av.CodecContext.create({Codec.H264: "h264", Codec.VP8: "vp8"}[codec], "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.low_delay
    return context


def write_clip(
    path: Path, *, size: tuple[int, int] = (160, 90), fps: int = 25, pictures: int = 10, audio: bool = True
) -> Path:
    """Write an MP4 with B-frames whose pictures get brighter; `audio` adds a mono tone at 44.1 kHz."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height = size
        video.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        video.codec_context.max_b_frames = 2
        for number in range(pictures):
            frame = av.VideoFrame(*size, video.pix_fmt)
            for index, plane in enumerate(frame.planes):
                plane.update(bytes([128 if index else 20 + 200 * number // pictures]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        sound = container.add_stream("aac", rate=44_100, layout="mono") if audio else None
        container.mux(video.encode())
        for block in range(round(pictures / fps * 44_100 / 1024) if sound else 0):
            assert sound is not None
            piece = av.AudioFrame("s16", "mono", 1024)
            piece.sample_rate, piece.pts, piece.time_base = 44_100, block * 1024, Fraction(1, 44_100)
            wave = (round(8000 * math.sin(math.tau * 441 * n / 44_100)) for n in range(1024))
            piece.planes[0].update(b"".join(value.to_bytes(2, "little", signed=True) for value in wave))
            container.mux(sound.encode(piece))
        if sound is not None:
            container.mux(sound.encode())
    return path


def seconds_of_sound(packets: int) -> float:
    """How long so many Opus packets last."""
    return packets * 960 / AUDIO_CLOCK_HZ
