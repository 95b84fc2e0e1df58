"""An encoder in the program ffmpeg, for devices that this build of FFmpeg does not reach: raw pictures in, H.264 out.

Key frames on request and changes of the bitrate cost a restart of the program.
"""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from media import h264
from media.encoders import failure
from media.encoders.backends import Backend
from media.encoders.encoder import AccessUnit, EncoderError, EncoderSettings, Shape, VideoCapture
from media.encoders.failure import FailureClass, OpenError, StallError
from media.encoders.machine import RENDER_NODES

PROGRAM = "ffmpeg"
WRITE_S = 2.0
"""How long the program may take to read one picture; it reads the first one after it has opened the device."""
END_S = 2.0
FIRST_S = 1.0
"""How long to wait for the first packet of a run."""
PIPE_BYTES = 1 << 20
TAIL_BYTES = 4000
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"Content-length: "
MOST_HEAD_BYTES = 200
MOST_UNIT_BYTES = 16 << 20


class Parts:
    """Cuts the output of ffmpeg's `mpjpeg` muxer into packets: each has its length before it, whatever its codec."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Packets that are whole now. Raises: EncoderError: this is no such output."""
        self._waiting += data
        packets = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def _next(self) -> bytes | None:
        waiting = self._waiting
        end = waiting.find(_HEAD_END)
        if end == -1:
            if len(waiting) > MOST_HEAD_BYTES:
                raise EncoderError(f"{PROGRAM} gave something else than packets")
            return None
        length = waiting[:end].rpartition(_LENGTH)[2]
        if not length.isdigit() or int(length) > MOST_UNIT_BYTES:
            raise EncoderError(f"{PROGRAM} gave a packet of {bytes(length[:20])!r} bytes")
        start = end + len(_HEAD_END)
        stop = start + int(length)
        if len(waiting) < stop:
            return None
        packet = bytes(waiting[start:stop])
        del waiting[:stop]
        return packet


def command(backend: Backend, shape: Shape, bitrate_bps: int, gop: int, device: str) -> list[str]:
    """The program and its arguments."""
    upload = ("-vf", "format=nv12,hwupload") if backend.hwaccel else ()
    place = (f"-{backend.hwaccel}_device", device) if backend.hwaccel else ()
    options = backend.all_options(bitrate_bps, bitrate_bps)
    return [
        PROGRAM, "-hide_banner", "-loglevel", "error", *place,
        "-probesize", "32", "-f", "rawvideo", "-pixel_format", backend.pixel_format,
        "-video_size", f"{shape.width}x{shape.height}", "-framerate", f"{shape.fps:g}", "-i", "pipe:0",
        "-an", *upload, "-fps_mode", "passthrough", "-c:v", backend.encoder, "-b:v", str(bitrate_bps), "-g", str(gop),
        *(word for key, value in options.items() for word in (f"-{key}", value)),
        "-flush_packets", "1", "-f", "mpjpeg", "pipe:1",
    ]  # fmt: skip


class ExternalEncoder:
    """One run of the program after the other; pipes are bounded and never block for longer than `WRITE_S`."""

    bitrate_costs_key = True

    def __init__(self, backend: Backend, shape: Shape, settings: EncoderSettings, root: Path = Path("/")) -> None:
        self.name = f"{backend.encoder} of {PROGRAM}"
        self._backend = backend
        self._shape = shape
        self._settings = settings
        self._bitrate_bps = settings.bitrate_bps
        if shutil.which(PROGRAM) is None:
            raise OpenError(failure.Failure(FailureClass.NOT_IN_BUILD, f"no {PROGRAM}", backend.name))
        self._device = _render_node(backend, root)
        self._reformatter = VideoReformatter()
        self._has_given = False
        self._run: _Run | None = self._start()

    def _start(self) -> "_Run":
        gop = max(1, round(self._settings.keyframe_interval_s * self._shape.fps))
        return _Run(command(self._backend, self._shape, self._bitrate_bps, gop, self._device))

    def _restart(self) -> None:
        if self._run is not None:
            self._run.end()
            self._run = self._start()

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        """Encode one picture; see `Encoder`. A forced key frame restarts the program unless it has just started."""
        if self._run is None:
            raise EncoderError(f"{self.name} is closed")
        if is_key and self._run.has_begun:
            self._restart()
        run = self._run
        try:
            packets = run.exchange(self._raw(capture.frame), capture, self._patience_s)
        except (BrokenPipeError, EOFError):
            raise self._reason(run) from None
        self._has_given = self._has_given or bool(packets)
        return [self._unit(data, given) for data, given in packets]

    def _raw(self, frame: av.VideoFrame) -> bytes:
        if frame.format.name != self._backend.pixel_format:
            frame = self._reformatter.reformat(frame, format=self._backend.pixel_format, threads=1)
        return planes(frame)

    @property
    def _patience_s(self) -> float:
        """How long to wait for the unit of the picture just written: it should go out with this one, not the next."""
        return 0.5 / self._shape.fps

    def _reason(self, run: "_Run") -> EncoderError:
        run.end()
        said = run.said()
        if self._has_given:
            return EncoderError(f"{self.name} ended: {said.strip() or 'without a word'}")
        return OpenError(failure.classify(said, self._backend.name, FailureClass.UNKNOWN))

    def _unit(self, data: bytes, capture: VideoCapture) -> AccessUnit:
        return AccessUnit(data, capture.timestamp, h264.is_key(data), capture.captured_at)

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Restart at another rate, which costs a key frame; see `Encoder`."""
        wanted = min(bitrate_bps, self._settings.max_bitrate_bps or self._settings.bitrate_bps)
        if wanted != self._bitrate_bps:
            self._bitrate_bps = wanted
            self._restart()

    def close(self) -> None:
        """End the program; idempotent."""
        if self._run is not None:
            self._run.end()
            self._run = None


class _Run:
    """The program from start to end."""

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101, PT018  all are pipes
        self._files = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (file.fileno() for file in self._files)
        for descriptor in (self._in, self._out, self._err):
            os.set_blocking(descriptor, False)
        with contextlib.suppress(OSError, AttributeError):  # used up by other pipes of this user; not Linux
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._parts = Parts()
        self._given: deque[VideoCapture] = deque()
        self._said = b""
        self._has_given = False
        self._has_ended = False
        self.has_begun = False

    def exchange(self, picture: bytes, capture: VideoCapture, patience_s: float) -> list[tuple[bytes, VideoCapture]]:
        """Write one picture, read what comes meanwhile, and wait a little for the packet of this picture.

        Raises: BrokenPipeError, EOFError: the program has ended; StallError: it does not read.
        """
        self.has_begun = True
        self._given.append(capture)
        packets: list[tuple[bytes, VideoCapture]] = []
        left, deadline = memoryview(picture), time.monotonic() + WRITE_S
        while left:
            if time.monotonic() > deadline:
                raise StallError(f"{PROGRAM} read no picture for {WRITE_S:g} s")
            packets += self._wait(deadline, writes=True)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._in, left) :]
        deadline = time.monotonic() + (patience_s if self._has_given else FIRST_S)
        while self._given and time.monotonic() < deadline:
            packets += self._wait(deadline, writes=False)
        self._has_given = self._has_given or bool(packets)
        return packets

    def _wait(self, deadline: float, writes: bool) -> list[tuple[bytes, VideoCapture]]:
        timeout_s = max(deadline - time.monotonic(), 0.0)
        waiting = select.poll()  # select.select knows no descriptor above 1,023, and viewers take many
        for descriptor in (self._out, self._err):
            waiting.register(descriptor, select.POLLIN)
        if writes:
            waiting.register(self._in, select.POLLOUT)
        ready = {descriptor for descriptor, _ in waiting.poll(timeout_s * 1000)}
        if self._err in ready:
            self._hear()
        if self._out not in ready:
            return []
        data = os.read(self._out, PIPE_BYTES)
        if not data:
            raise EOFError
        packets = self._parts.feed(data)
        if len(packets) > len(self._given):
            raise EncoderError(f"{PROGRAM} gave more pictures than it got")
        return [(packet, self._given.popleft()) for packet in packets]

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._said = (self._said + os.read(self._err, TAIL_BYTES))[-TAIL_BYTES:]

    def said(self) -> str:
        """The last lines of the log."""
        return self._said.decode(errors="replace")

    def end(self) -> None:
        """Kill the program with all that it started, and keep what it said; idempotent."""
        if self._has_ended:
            return
        self._has_ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: nothing else is in this group
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._hear()
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()


def planes(frame: av.VideoFrame) -> bytes:
    """The planes of a picture without padding."""
    rows = []
    for plane, width in zip(frame.planes, _widths(frame), strict=True):
        view = memoryview(plane)
        if plane.line_size == width:
            rows.append(view[: width * plane.height])
        else:
            rows += [view[row * plane.line_size :][:width] for row in range(plane.height)]
    return b"".join(rows)


def _widths(frame: av.VideoFrame) -> tuple[int, ...]:
    """Bytes of a row of each plane: the chroma of nv12 lies in pairs."""
    half = (frame.width + 1) // 2
    return (frame.width, 2 * half) if frame.format.name == "nv12" else (frame.width, half, half)


def _render_node(backend: Backend, root: Path) -> str:
    if not backend.hwaccel:
        return ""
    nodes = sorted(root.glob(RENDER_NODES.lstrip("/")))
    if not nodes:
        raise OpenError(failure.Failure(FailureClass.NO_DEVICE, f"no {RENDER_NODES}", backend.name))
    return str(nodes[0])
