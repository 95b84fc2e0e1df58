"""The child of a probe, with x264 behind the stub of NVENC: the whole way through FFmpeg's NVENC code without a GPU."""

import ctypes
import sys
from ctypes import POINTER, c_int, c_uint32, c_void_p

import av

from media.encoders import probe
from media.encoders.encoder import Capture, EncoderSettings, Shape
from media.encoders.software import X264Encoder

Callback = ctypes.CFUNCTYPE(
    c_int, c_void_p, c_uint32, c_uint32, c_uint32, c_int, c_uint32, c_void_p, POINTER(c_int)
)  # as encoder_function in nvenc.c


class Encoder:
    """One x264 for all sessions; a picture of another size begins a new one."""

    def __init__(self) -> None:
        self._x264: X264Encoder | None = None
        self._size = (0, 0)
        self._number = 0

    def __call__(
        self,
        yv12: int,
        pitch: int,
        width: int,
        height: int,
        is_idr: int,
        bitrate_bps: int,
        out: int,
        was_idr: "ctypes._Pointer[c_int]",
    ) -> int:
        if self._x264 is None or self._size != (width, height):
            self._size = (width, height)
            self._x264 = X264Encoder(Shape(width, height, 30.0), EncoderSettings(bitrate_bps=1_200_000))
        self._x264.set_bitrate(bitrate_bps)
        self._number += 1
        frame = av.VideoFrame(width, height, "yuv420p")
        luma, blue, red = frame.planes
        at = yv12
        for plane, step in ((luma, pitch), (red, pitch // 2), (blue, pitch // 2)):
            rows = [
                ctypes.string_at(at + row * step, plane.width).ljust(plane.line_size) for row in range(plane.height)
            ]
            plane.update(b"".join(rows).ljust(plane.buffer_size))
            at += step * plane.height
        (unit,) = self._x264.encode(Capture(frame, self._number * 3000, 0.0), bool(is_idr))
        ctypes.memmove(out, unit.data, len(unit.data))
        was_idr[0] = int(unit.is_key)
        return len(unit.data)


if __name__ == "__main__":
    callback = Callback(Encoder())
    ctypes.CDLL("libnvidia-encode.so.1").stub_set_encoder(callback)
    probe.main(sys.argv[1])
