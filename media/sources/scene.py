"""The picture of the test pattern: painted once, then scrolled and stamped by copying bytes. No clock.

What stands still is painted into each buffer once: the frames of a pool come back as they were left.

From top to bottom: a dark panel with the counter (`counter`), the time of day and the frame number; a landscape that
scrolls, under a sun that flashes at the start of each second; a meadow that scrolls faster; colour bars; a grey ramp
with a mark that crosses it once a second.
"""

import functools
import math

import av
import msgspec

from media.sources import counter, landscape
from media.sources.counter import Counter
from media.sources.font import ADVANCE, Font
from media.sources.landscape import Rows, Tint

PANEL_LUMA = 24
NEUTRAL = 128
FLASH_S = 0.1
SUN, FLASH = Tint(204, 62, 158), Tint(235, NEUTRAL, NEUTRAL)
SUN_PERIOD_S = 12.0
TAKES = 4
"""Prints of each strip with different camera noise, shown in turn: without noise the picture would flatter encoders."""
BARS = (
    Tint(180, 128, 128),
    Tint(162, 44, 142),
    Tint(131, 156, 44),
    Tint(112, 72, 58),
    Tint(84, 184, 198),
    Tint(65, 100, 212),
    Tint(35, 212, 114),
    Tint(16, 128, 128),
)


Bands = tuple[tuple[int, bytes], ...]
"""Rows of one plane that lie together: where they begin, and their bytes."""


class Moment(msgspec.Struct, frozen=True):
    """What one picture shows: frame number, seconds since the start, wall clock in milliseconds since the epoch."""

    number: int
    time_s: float
    wall_ms: int


class Plan(msgspec.Struct, frozen=True):
    """Where everything is, in pixels; all even, so that chroma lies under luma."""

    width: int
    height: int
    cell: int
    panel_bottom: int
    hills_top: int
    field_top: int
    bars_top: int
    ramp_top: int

    @classmethod
    def of(cls, width: int, height: int) -> "Plan":
        """Lay out a picture that `counter.fits`."""
        cell = width // counter.COLUMNS_PER_WIDTH
        panel_bottom = _even(min(7.6 * cell, height * 0.36))
        rest = height - panel_bottom
        return cls(
            width=width,
            height=height,
            cell=cell,
            panel_bottom=panel_bottom,
            hills_top=_even(panel_bottom + 0.02 * rest),
            field_top=_even(panel_bottom + 0.68 * rest),
            bars_top=_even(panel_bottom + 0.85 * rest),
            ramp_top=_even(panel_bottom + 0.95 * rest),
        )


class Strip:
    """A painted strip at (0, top) that scrolls to the left by an even number of pixels per frame, with camera noise."""

    def __init__(self, rows: Rows, width: int, top: int, speed: int) -> None:
        self._width, self._top, self._speed = width, top, speed
        # One row more, for a shift takes the end of the last row from the row after it.
        luma, u, v = (b"".join([*plane, plane[-1]]) for plane in (rows.y, rows.u, rows.v))
        self._height = len(rows.y)
        # Views: a slice of bytes would be a copy before the copy.
        self._takes = [[memoryview(plane) for plane in (landscape.speckle(luma, take), u, v)] for take in range(TAKES)]

    def draw(self, canvas: "Canvas", number: int) -> None:
        """Copy the strip into all planes, shifted for this frame."""
        shift = number * self._speed % self._width
        for index, pixels in enumerate(self._takes[number % TAKES]):
            half = 1 if index else 0
            height = self._height >> half
            target, line_size = canvas.planes[index], canvas.line_sizes[index]
            width, offset, start = self._width >> half, shift >> half, (self._top >> half) * line_size
            if line_size == width:
                # The part that left on the left comes in on the right one row lower: one copy, and nobody sees it.
                target[start : start + height * width] = pixels[offset : offset + height * width]
                continue
            for row in range(height):
                origin = row * width + offset
                target[start : start + width] = pixels[origin : origin + width]
                start += line_size


class Canvas:
    """The planes of one frame, writable."""

    def __init__(self, frame: av.VideoFrame) -> None:
        planes = frame.planes
        self.addresses = tuple([plane.buffer_ptr for plane in planes])
        self.planes = tuple([memoryview(plane) for plane in planes])
        self.line_sizes = tuple([plane.line_size for plane in planes])


class Scene:
    """Draws pictures of one size; the planes of all frames have the line sizes of `sample`.

    The frames are those of one pool, into which nobody else writes: a buffer at a known address is as it was left here.
    """

    def __init__(self, sample: av.VideoFrame) -> None:
        self._plan = plan = Plan.of(sample.width, sample.height)
        line_sizes = tuple(plane.line_size for plane in sample.planes)
        self._base, self._strips = _scenery(plan, line_sizes)
        below, pixels = self._base[0][1]  # colour bars and ramp
        top = plan.ramp_top * line_sizes[0]
        self._ramp = top, memoryview(pixels)[top - below :]
        self._radius = radius = _even(plan.cell * 1.4)
        self._sun, self._flash = (
            tuple(_disc(radius >> (1 if index else 0), value) for index, value in enumerate((tint.y, tint.u, tint.v)))
            for tint in (SUN, FLASH)
        )
        self._font = Font(max(1, plan.cell // 4), 235, PANEL_LUMA)
        self._known: set[int] = set()

    def paint(self, frame: av.VideoFrame, number: int) -> Canvas:
        """Paint the whole of `frame`, but for what tells the time; `stamp` does the rest."""
        canvas = Canvas(frame)
        if not self._known.issuperset(canvas.addresses):
            self._known.update(canvas.addresses)
            for plane, bands in zip(canvas.planes, self._base, strict=True):
                for start, pixels in bands:
                    plane[start : start + len(pixels)] = pixels
        for strip in self._strips:
            strip.draw(canvas, number)
        return canvas

    def stamp(self, canvas: Canvas, moment: Moment) -> None:
        """Draw sun, mark, counter and text, which say when the picture was taken."""
        self._draw_sun(canvas, moment.time_s)
        self._draw_mark(canvas, moment.time_s)
        luma, line_size = canvas.planes[0], canvas.line_sizes[0]
        counter.draw(luma, line_size, self._plan.width, Counter(moment.number, moment.wall_ms))
        self._draw_text(luma, line_size, moment)

    def _draw_text(self, luma: memoryview, line_size: int, moment: Moment) -> None:
        plan, font = self._plan, self._font
        left, right = 4 * plan.cell, 36 * plan.cell
        top = (5 * plan.cell + plan.panel_bottom - font.height) // 2
        seconds, milliseconds = divmod(moment.wall_ms, 1000)
        minutes, second = divmod(seconds, 60)
        hours, minute = divmod(minutes, 60)
        clock = f"{hours % 24:02}:{minute:02}:{second:02}.{milliseconds:03}"
        number = f"#{moment.number % 10_000_000:07}"
        font.draw(luma, line_size, left, top, clock)
        font.draw(luma, line_size, right - len(number) * ADVANCE * font.scale + font.scale, top, number)

    def _draw_sun(self, canvas: Canvas, time_s: float) -> None:
        plan = self._plan
        radius = self._radius
        turn = time_s / SUN_PERIOD_S
        x = radius + (plan.width - 2 * radius) * (0.5 - 0.5 * math.cos(2 * math.pi * turn))
        room = (plan.field_top - plan.hills_top) * 0.42 - 2 * radius
        y = plan.hills_top + radius + max(room, 0) * (0.5 + 0.5 * math.cos(4 * math.pi * turn))
        for index, disc in enumerate(self._flash if time_s % 1.0 < FLASH_S else self._sun):
            half = 1 if index else 0
            plane, line_size = canvas.planes[index], canvas.line_sizes[index]
            centre = (_even(y) >> half) * line_size + (_even(x) >> half)
            for dy, reach, pixels in disc:
                start = centre + dy * line_size - reach
                plane[start : start + len(pixels)] = pixels

    def _draw_mark(self, canvas: Canvas, time_s: float) -> None:
        plan = self._plan
        size = max(2, _even(plan.cell / 4))
        x = _even((plan.width - size) * (time_s % 1.0))
        top, ramp = self._ramp
        luma, line_size = canvas.planes[0], canvas.line_sizes[0]
        luma[top : top + len(ramp)] = ramp  # over the mark of the picture that was here before
        pixels = bytes([235]) * size
        for start in range(top + x, top + len(ramp), line_size):
            luma[start : start + size] = pixels


def _disc(radius: int, value: int) -> tuple[tuple[int, int, bytes], ...]:
    """Rows of a disc: how far above or below the centre, how far to the left it begins, its pixels."""
    rows = []
    for dy in range(-radius, radius):
        reach = math.isqrt(radius * radius - dy * dy)
        rows.append((dy, reach, bytes([value]) * (2 * reach)))
    return tuple(rows)


@functools.lru_cache(maxsize=2)
def _scenery(plan: Plan, line_sizes: tuple[int, ...]) -> tuple[tuple[Bands, ...], tuple[Strip, ...]]:
    """What all scenes of one size only read: painting it takes longer than a picture lasts."""
    width = plan.width
    noise = landscape.grain(width)
    sky_from = 0.45
    speed = max(2, _even(width / 640))
    hills = landscape.hills(width, plan.field_top - plan.hills_top, sky_from, noise)
    field = landscape.field(width, plan.bars_top - plan.field_top, noise)
    strips = (Strip(hills, width, plan.hills_top, speed), Strip(field, width, plan.field_top, 3 * speed))
    return _paint_base(plan, line_sizes, sky_from), strips


def _paint_base(plan: Plan, line_sizes: tuple[int, ...], sky_from: float) -> tuple[Bands, ...]:
    """Everything that stands still, above and below the strips, per plane with these line sizes."""
    planes = []
    for index, line_size in enumerate(line_sizes):
        half = 1 if index else 0
        width = plan.width >> half
        padding = bytes(line_size - width)
        bands = []
        for top, bottom in ((0, plan.hills_top), (plan.bars_top, plan.height)):
            rows = [_base_row(plan, y << half, index, width, sky_from) for y in range(top >> half, bottom >> half)]
            bands.append(((top >> half) * line_size, padding.join(rows)))
        planes.append(tuple(bands))
    return tuple(planes)


def _base_row(plan: Plan, y: int, index: int, width: int, sky_from: float) -> bytes:
    if y >= plan.ramp_top:
        return bytes([16 + 219 * x // width for x in range(width)]) if index == 0 else bytes([NEUTRAL]) * width
    if y >= plan.bars_top:
        values = [(tint.y, tint.u, tint.v)[index] for tint in BARS]
        return bytes([values[x * len(BARS) // width] for x in range(width)])
    tint = landscape.sky(sky_from * min(1.0, y / plan.hills_top))
    row = bytes([(tint.y, tint.u, tint.v)[index]]) * width
    half = 1 if index else 0
    if plan.cell // 2 <= y < plan.panel_bottom:
        left, right = _even(3.5 * plan.cell) >> half, _even(36.5 * plan.cell) >> half
        panel = PANEL_LUMA if index == 0 else NEUTRAL
        row = row[:left] + bytes([panel]) * (right - left) + row[right:]
    return row


def _even(value: float) -> int:
    return int(value) // 2 * 2
