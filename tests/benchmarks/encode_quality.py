"""What the test pattern and its encoders cost, and how good the picture is after them.

Run `python -m tests.benchmarks.encode_quality` in the checkout. The codec runs as fast as it can; a cost is CPU
seconds per second of video at the nominal frame rate.
"""

import time
from collections.abc import Iterator

import av
import msgspec
import numpy as np

from media.encoders import choose
from media.encoders.encoder import Capture, Codec, EncoderSettings, Shape, VideoEncoder
from media.sources.pattern import PatternSource
from media.sources.source import Picture

WARM_UP = 60


class Quality(msgspec.Struct, frozen=True):
    """One pipeline: CPU-seconds per second of video; with an encoder also what came out of it."""

    name: str
    cores: float
    bitrate_bps: float | None = None
    psnr_db: float | None = None
    psnr_least_db: float | None = None
    seconds: float = 0.0


def measure(seconds: float, width: int = 1280, height: int = 720, fps: float = 30.0) -> tuple[Quality, ...]:
    """Source alone, source and x264, source and VP8, each over `seconds` of video at 2 Mbit/s for 720p."""
    frames = round(seconds * fps)
    settings = EncoderSettings(bitrate_bps=round(2_000_000 * width * height / (1280 * 720)))
    shape = Shape(width, height, fps)
    rows = [Quality("source", _cost(shape, None, frames), seconds=seconds)]
    for codec, name in ((Codec.H264, f"source + x264 {settings.preset}"), (Codec.VP8, "source + VP8")):
        cores = _cost(shape, choose.EncoderChain(codec, shape, settings).open(), frames)
        bitrate_bps, psnr = _quality(shape, codec, choose.EncoderChain(codec, shape, settings).open(), frames)
        rows.append(Quality(name, cores, bitrate_bps, float(np.mean(psnr)), float(np.min(psnr)), seconds))
    return tuple(rows)


def _captures(shape: Shape, count: int) -> Iterator[Capture[av.VideoFrame]]:
    source = PatternSource(shape.width, shape.height, shape.fps)
    items = source.frames(lambda _: True)
    number = 0
    for item in items:
        if isinstance(item, Picture):
            yield Capture(item.frame, round(number * 90_000 / shape.fps), item.time_s)
            number += 1
            if number == count:
                items.close()
                return


def _cost(shape: Shape, encoder: VideoEncoder | None, count: int) -> float:
    before = 0.0
    for number, capture in enumerate(_captures(shape, WARM_UP + count)):
        if number == WARM_UP:
            before = time.process_time()
        if encoder is not None:
            encoder.encode(capture, False)
    return (time.process_time() - before) / count * shape.fps


def _quality(shape: Shape, codec: Codec, encoder: VideoEncoder, count: int) -> tuple[float, list[float]]:
    decoder = av.CodecContext.create("h264" if codec is Codec.H264 else "vp8", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    total, psnr = 0, []
    for number, capture in enumerate(_captures(shape, WARM_UP + count)):
        for unit in encoder.encode(capture, False):
            for picture in decoder.decode(av.Packet(unit.data)):
                if number >= WARM_UP:
                    total += len(unit.data)
                    error = np.mean((_luma(capture.frame) - _luma(picture)) ** 2)
                    psnr.append(99.0 if error == 0 else float(10 * np.log10(255**2 / error)))
    return total * 8 / count * shape.fps, psnr


def _luma(frame: av.VideoFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8)[: plane.line_size * frame.height].reshape(frame.height, plane.line_size)
    return rows[:, : frame.width].astype(np.float32)


if __name__ == "__main__":
    for row in measure(10.0):
        print(row)
