"""The trial of one encoder: encode, decode back, force a key frame, change the bitrate, measure. May crash or hang."""

import random
import time
from collections.abc import Callable, Iterator

import av
import msgspec

from media.encoders import failure
from media.encoders.backends import Backend, LiveBitrate, Route
from media.encoders.encoder import AccessUnit, Capture, EncoderSettings, Shape, VideoCapture, VideoEncoder
from media.encoders.failure import FailureClass, OpenError
from media.encoders.finding import Finding, Step
from media.encoders.machine import Machine

Open = Callable[[Backend, Shape, EncoderSettings], VideoEncoder]
Say = Callable[[Finding], None]

SMALL = Shape(640, 368, 30.0)
FULL = Shape(1280, 720, 30.0)
BLOCK = 16
_MIDDLE = range(6, 10)
GRAIN = 24
"""Without grain some encoders need far less than the rate that they may use, and their obedience cannot be seen."""
PICTURES = 4
MOST_HELD = 8
"""Pictures that a live encoder may keep back: about a quarter of a second."""
SECONDS = 2
RATES_BPS = (1_200_000, 400_000)
TOLERANCE = 0.35
"""Of the rate after the change; whoever ignores it misses by a factor of 3."""
LEVEL_ERROR = 16
"""Mean error of a block of 16 x 16 that is still the same picture, in steps of 8 bits."""
CHUNKS, CHUNK_PICTURES = 4, 15
"""The best of some short measurements counts: other work on this machine only makes it slower."""
_DECODERS = {"H264": "h264", "VP8": "vp8"}


class TrialError(Exception):
    """The encoder failed its trial."""

    def __init__(self, kind: FailureClass, line: str) -> None:
        super().__init__(line)
        self.kind = kind


class Texture:
    """Blocks of grey with grain, of which some change in each picture: predictable in part, as real pictures are."""

    def __init__(self, shape: Shape) -> None:
        self._chance = random.Random(7)  # noqa: S311  a picture, no secret
        self._columns, self._rows = shape.width // BLOCK, shape.height // BLOCK
        self._shape = shape
        self._lines = [self._grained(row) for row in range(BLOCK)]
        self.levels = [self._chance.randrange(40, 216) for _ in range(self._columns * self._rows)]

    def _grained(self, row: int) -> list[bytes]:
        """One line of a block for each grey; its middle is even, so that it can be compared."""
        grain = [self._chance.randrange(-GRAIN, GRAIN + 1) for _ in range(BLOCK)]
        if row in _MIDDLE:
            grain[_MIDDLE.start : _MIDDLE.stop] = [0] * len(_MIDDLE)
        return [bytes(min(max(grey + each, 16), 235) for each in grain) for grey in range(256)]

    def picture(self, changed: float = 0.25) -> av.VideoFrame:
        """The next picture; `changed` is the part of its blocks that get another grey."""
        for _ in range(round(len(self.levels) * changed)):
            self.levels[self._chance.randrange(len(self.levels))] = self._chance.randrange(40, 216)
        frame = av.VideoFrame(self._shape.width, self._shape.height, "yuv420p")
        luma, *chroma = frame.planes
        pad = bytes(luma.line_size - self._columns * BLOCK)
        lines = []
        for row in range(self._rows):
            greys = self.levels[row * self._columns : (row + 1) * self._columns]
            lines += [b"".join([grained[grey] for grey in greys]) + pad for grained in self._lines]
        luma.update(b"".join(lines).ljust(luma.buffer_size, b"\x80"))
        for plane in chroma:
            plane.update(b"\x80" * plane.buffer_size)
        return frame


def run(backend: Backend, open_encoder: Open, say: Say) -> Finding:
    """Try one encoder; `say` gets what is known so far before each step, should the driver take the process down."""
    return _Trial(backend, open_encoder, say).run()


class _Trial:
    def __init__(self, backend: Backend, open_encoder: Open, say: Say) -> None:
        self._backend = backend
        self._tested = backend
        if backend.route is Route.HARDWARE:  # what it does by itself, without being opened anew
            self._tested = msgspec.structs.replace(backend, forces_key=True, bitrate=LiveBitrate.IN_PLACE)
        self._open_encoder = open_encoder
        self._say = say
        machine = Machine()
        self._found = Finding(
            name=backend.name,
            device=machine.device_of(backend),
            driver=machine.driver_of(backend),
            probed_at=time.time(),
        )

    def run(self) -> Finding:
        try:
            for step, do in (
                (Step.OPEN, self._open),
                (Step.ENCODE, self._encode),
                (Step.KEY_FRAME, self._force_key),
                (Step.BITRATE, self._change_bitrate),
                (Step.SPEED, self._measure),
            ):
                self._note(step=step)
                do()
            self._note(step=Step.DONE)
        except OpenError as error:
            self._note(opens=False)
            self._failed(error.failure.kind, error.failure.line)
        except TrialError as error:
            self._failed(error.kind, str(error))
        except Exception as error:  # noqa: BLE001  drivers raise anything; what they raise is the result
            reason = failure.of(error, self._backend.name)
            self._failed(reason.kind, reason.line)
        return self._found

    def _note(self, **news: object) -> None:
        self._found = msgspec.structs.replace(self._found, **news)
        self._say(self._found)

    def _failed(self, kind: FailureClass, line: str) -> None:
        news: dict[str, object] = {"failure": kind, "line": line}
        if self._found.step is Step.OPEN:
            news["is_compiled"] = kind is not FailureClass.NOT_IN_BUILD
        elif self._found.step is Step.ENCODE:
            news["decodes_back"] = False
        self._note(**news)

    def _opened(self, shape: Shape, bitrate_bps: int) -> VideoEncoder:
        settings = EncoderSettings(bitrate_bps=bitrate_bps, keyframe_interval_s=60.0)
        return self._open_encoder(self._tested, shape, settings)

    def _open(self) -> None:
        encoder = self._opened(SMALL, RATES_BPS[0])
        device = getattr(encoder, "device", "")  # of those that learn it when they open
        encoder.close()
        self._note(is_compiled=True, opens=True, device=device or self._found.device)

    def _encode(self) -> None:
        encoder, texture = self._opened(SMALL, RATES_BPS[0]), Texture(SMALL)
        given = [(capture, list(texture.levels)) for capture in _captures(texture, PICTURES + MOST_HELD)]
        units: list[AccessUnit] = []
        before = time.perf_counter()
        for number, (capture, _) in enumerate(given):
            new = encoder.encode(capture, False)
            if new and not units:
                self._note(first_packet_ms=(time.perf_counter() - before) * 1000, held_pictures=number)
            units += new
            if len(units) >= PICTURES:
                break
        encoder.close()
        if len(units) < PICTURES:
            raise TrialError(FailureClass.LATE, f"{len(units)} units for {len(given)} pictures")
        _compare(_decode(self._backend.codec, units[:PICTURES]), [levels for _, levels in given], units)
        self._note(decodes_back=True)

    def _force_key(self) -> None:
        encoder, asked = self._opened(SMALL, RATES_BPS[0]), MOST_HELD + 2
        keys = []
        for number, capture in enumerate(_captures(Texture(SMALL), 2 * asked)):
            keys += [unit.timestamp for unit in encoder.encode(capture, number == asked) if unit.is_key]
        encoder.close()
        self._note(forces_key=round(asked * 90_000 / SMALL.fps) in keys)

    def _change_bitrate(self) -> None:
        encoder = self._opened(SMALL, RATES_BPS[0])
        units: list[AccessUnit] = []
        change = round(SECONDS * SMALL.fps)
        for number, capture in enumerate(_captures(Texture(SMALL), 2 * change)):
            if number == change:
                encoder.set_bitrate(RATES_BPS[1])
            units += encoder.encode(capture, False)
        encoder.close()
        changed_at = change / SMALL.fps * 90_000
        end = [unit for unit in units if unit.timestamp >= changed_at + 90_000 * SECONDS / 2]
        rate_bps = sum(len(unit.data) for unit in end) * 8 / max(len(end) / SMALL.fps, 0.001)
        cost = LiveBitrate.IN_PLACE
        if any(unit.is_key and unit.timestamp >= changed_at for unit in units):
            cost = LiveBitrate.WITH_KEY
        if abs(rate_bps / RATES_BPS[1] - 1) > TOLERANCE:
            cost = LiveBitrate.REOPEN
        self._note(bitrate=cost if self._backend.route is Route.HARDWARE else self._backend.bitrate)

    def _measure(self) -> None:
        encoder, texture = self._opened(FULL, 2_000_000), Texture(FULL)
        pictures = [texture.picture(0.02) for _ in range(CHUNK_PICTURES)]
        encoder.encode(Capture(pictures[-1], 0, 0.0), False)
        times = []
        for chunk in range(CHUNKS):
            before = time.perf_counter()
            for number, picture in enumerate(pictures, 1):
                encoder.encode(Capture(picture, 3000 * (chunk * CHUNK_PICTURES + number), 0.0), False)
            times.append(time.perf_counter() - before)
        encoder.close()
        self._note(fps_720p=CHUNK_PICTURES / min(times))


def _captures(texture: Texture, count: int) -> Iterator[VideoCapture]:
    for number in range(count):
        yield Capture(texture.picture(), round(number * 90_000 / SMALL.fps), number / SMALL.fps)


def _decode(codec: str, units: list[AccessUnit]) -> list[av.VideoFrame]:
    context = av.CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(context, av.VideoCodecContext)  # noqa: S101  both names are of video
    context.thread_count = 1
    frames = []
    for unit in units:
        packet = av.Packet(unit.data)
        packet.pts = packet.dts = unit.timestamp
        frames += context.decode(packet)
    return [*frames, *context.decode(None)]


def _compare(frames: list[av.VideoFrame], shown: list[list[int]], units: list[AccessUnit]) -> None:
    if [unit.timestamp for unit in units] != sorted({unit.timestamp for unit in units}):
        raise TrialError(FailureClass.WRONG_ORDER, "its time stamps fall")
    if len(frames) != PICTURES:
        raise TrialError(FailureClass.WRONG_PICTURE, f"{len(frames)} of {PICTURES} pictures decode")
    for number, frame in enumerate(frames):
        errors = [_error(frame, levels) for levels in shown]
        if min(errors) > LEVEL_ERROR:
            raise TrialError(FailureClass.WRONG_PICTURE, f"picture {number} is off by {min(errors):.0f} of 255")
        if errors[number] > min(errors) + 1:
            raise TrialError(FailureClass.WRONG_ORDER, f"picture {errors.index(min(errors))} came as number {number}")


def _error(frame: av.VideoFrame, levels: list[int]) -> float:
    """Mean difference between the middles of the blocks and the greys that were drawn."""
    luma = frame.planes[0]
    pixels, columns = memoryview(luma), SMALL.width // BLOCK
    middle = BLOCK // 2
    total = 0
    for at, level in enumerate(levels):
        row, column = divmod(at, columns)
        total += abs(pixels[(row * BLOCK + middle) * luma.line_size + column * BLOCK + middle] - level)
    return total / len(levels)
