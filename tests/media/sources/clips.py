"""Small H.264 files of any profile, with Opus, and decoding of what comes out of a source."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from media.encoders.encoder import Codec
from media.sources.source import EncodedPicture, Item
from tests.media.pictures import decoder


def write_h264(
    path: Path,
    *,
    profile: str = "baseline",
    size: tuple[int, int] = (160, 90),
    pictures: int = 20,
    gop: int = 10,
    opus: bool = False,
    steps: Iterable[int] = (1,),
    is_split: bool = False,
) -> Path:
    """25 pictures per second that get brighter, `steps` frames apart, with a key frame each `gop` of them.

    With `is_split` all are white on the left and black on the right.
    """
    with av.open(str(path), "w") as container:
        options = {
            "profile": profile,
            "preset": "ultrafast",
            "g": str(gop),
            "bf": "2" if profile != "baseline" else "0",
        }
        video = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, 25)
        sound = container.add_stream("libopus", rate=48_000, layout="stereo") if opus else None
        pts = 0
        steps = list(steps)
        for number in range(pictures):
            frame = split(size) if is_split else shaded(size, 20 + 200 * number // pictures)
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            container.mux(video.encode(frame))
            for block in range(2 * pts, 2 * (pts + steps[number % len(steps)])) if sound else ():
                assert sound is not None
                container.mux(sound.encode(silence(block * 960)))
            pts += steps[number % len(steps)]
        container.mux(video.encode())
        if sound is not None:
            container.mux(sound.encode())
    return path


def shaded(size: tuple[int, int], luma: int) -> av.VideoFrame:
    """A picture of one grey."""
    frame = av.VideoFrame(*size, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes([128 if index else luma]) * plane.buffer_size)
    return frame


def split(size: tuple[int, int]) -> av.VideoFrame:
    """A picture that is white on the left and black on the right."""
    frame = shaded(size, 16)
    plane = frame.planes[0]
    row = bytes([235]) * (size[0] // 2) + bytes([16]) * (plane.line_size - size[0] // 2)
    plane.update(row * (plane.buffer_size // len(row)))
    return frame


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """Have an MP4 say that its pictures are to be shown by this matrix (ISO/IEC 14496-12, 8.3.2)."""
    data = path.read_bytes()
    place = data.index(b"tkhd") + 44
    path.write_bytes(data[:place] + struct.pack(">9i", *matrix) + data[place + 36 :])
    return path


def silence(pts: int) -> av.AudioFrame:
    """20 ms."""
    frame = av.AudioFrame("s16", "stereo", 960)
    frame.sample_rate, frame.pts, frame.time_base = 48_000, pts, Fraction(1, 48_000)
    frame.planes[0].update(bytes(3840))
    return frame


def shades(items: Iterable[Item]) -> list[int]:
    """The greys of encoded pictures, decoded one by one as a viewer does."""
    context = decoder(Codec.H264)
    return [
        bytes(frame.planes[0])[0]
        for item in items
        if isinstance(item, EncodedPicture)
        for frame in context.decode(av.Packet(item.data))
    ]
