"""One picture as JPEG, from a raw frame or from a key frame. Blocks for some tens of milliseconds: not on the loop."""

from fractions import Fraction

import av
import msgspec
from av.video.reformatter import VideoReformatter

from media.encoders.encoder import Codec

MIME = "image/jpeg"
_QUALITY = "4"
"""Quantiser of mjpeg, 1 (best) to 31: about 80 kB of a busy picture of 1280x720."""
_DECODERS = {Codec.H264: "h264", Codec.VP8: "vp8"}


class SnapshotError(Exception):
    """There is no picture; the text is a sentence."""


class Jpeg(msgspec.Struct, frozen=True):
    """A still picture."""

    data: bytes
    width: int
    height: int


def still(frame: av.VideoFrame) -> Jpeg:
    """Encode a frame."""
    context = av.VideoCodecContext.create("mjpeg", "w")
    # Not by the frame itself: it is shared, and two threads may not use its own converter at once.
    full_range = VideoReformatter().reformat(frame, format="yuvj420p", threads=1)
    context.width, context.height, context.pix_fmt = full_range.width, full_range.height, "yuvj420p"
    context.time_base = Fraction(1, 1)
    context.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    full_range.pts = 0
    packets = [*context.encode(full_range), *context.encode(None)]
    return Jpeg(b"".join(map(bytes, packets)), full_range.width, full_range.height)


def still_of_key(codec: Codec, data: bytes) -> Jpeg:
    """Decode a key frame and encode what it shows. Raises: SnapshotError."""
    context = av.CodecContext.create(_DECODERS[codec], "r")
    if not isinstance(context, av.VideoCodecContext):
        raise SnapshotError(f"{_DECODERS[codec]} is no video decoder")
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as error:
        raise SnapshotError(f"the key frame does not decode: {error}") from error
    if not frames:
        raise SnapshotError("the key frame holds no picture")
    return still(frames[0])
