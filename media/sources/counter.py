"""The counter burnt into a picture: frame number and wall clock as black and white cells in the luma plane. No I/O.

A cell is `width // 40` pixels wide and high. 32 columns start at x = 4 cells, most significant bit on the left; four
rows start at y = 1 cell: the frame number, the wall clock in milliseconds (both modulo 2**32), their exclusive or with
0x5A5A5A5A, and the frame number inverted. Luma 235 is 1, luma 16 is 0, chroma is neutral. The size lets it survive
320x180 at 150 kbit/s.
"""

from collections.abc import Sequence

import msgspec

COLUMNS_PER_WIDTH = 40
BITS = 32
ROWS = 4
LEFT_CELLS = 4
TOP_CELLS = 1
ZERO_LUMA = 16
ONE_LUMA = 235
THRESHOLD = 125
CHECK = 0x5A5A5A5A
MASK = 0xFFFFFFFF
LEAST_CELL = 4
SAMPLES = 4

Luma = bytes | bytearray | memoryview


class Counter(msgspec.Struct, frozen=True):
    """What a picture says: its frame number and the wall clock in milliseconds, both modulo 2**32."""

    number: int
    wall_ms: int


def fits(width: int, height: int) -> bool:
    """Whether a picture is big enough for the counter."""
    cell = width // COLUMNS_PER_WIDTH
    return cell >= LEAST_CELL and height >= (TOP_CELLS + ROWS) * cell


def draw(luma: bytearray | memoryview, line_size: int, width: int, counter: Counter) -> None:
    """Write the counter into a luma plane of `line_size` bytes per row; the picture must `fits`."""
    cell = width // COLUMNS_PER_WIDTH
    zero, one = bytes([ZERO_LUMA]) * cell, bytes([ONE_LUMA]) * cell
    left = LEFT_CELLS * cell
    start = TOP_CELLS * cell * line_size + left
    for word in _words(counter):
        pixels = b"".join([one if bit == "1" else zero for bit in f"{word:032b}"])
        for _ in range(cell):
            luma[start : start + len(pixels)] = pixels
            start += line_size


def read(luma: Luma, line_size: int, width: int, height: int) -> Counter | None:
    """Read the counter out of a luma plane; None when there is none, or when it is damaged."""
    cell = width // COLUMNS_PER_WIDTH
    if not fits(width, height) or len(luma) < (TOP_CELLS + ROWS) * cell * line_size:
        return None
    number, wall_ms, check, inverted = (_read_row(luma, line_size, cell, row) for row in range(ROWS))
    counter = Counter(number, wall_ms)
    return counter if _words(counter)[2:] == (check, inverted) else None


def _words(counter: Counter) -> Sequence[int]:
    number, wall_ms = counter.number & MASK, counter.wall_ms & MASK
    return number, wall_ms, number ^ wall_ms ^ CHECK, number ^ MASK


def _read_row(luma: Luma, line_size: int, cell: int, row: int) -> int:
    """Judge each cell by 16 points of its middle, or by all of them in a small picture."""
    margin, middle = cell // 4, cell - 2 * (cell // 4)
    step = max(1, middle // SAMPLES)
    top = (TOP_CELLS + row) * cell + margin
    lines = []
    for y in range(top, top + middle, step):
        start = y * line_size + LEFT_CELLS * cell
        lines.append(luma[start : start + BITS * cell])
    word = 0
    least = THRESHOLD * len(lines) * len(range(0, middle, step))
    for at in range(margin, BITS * cell, cell):
        word = word << 1 | (sum([sum(line[at : at + middle : step]) for line in lines]) > least)
    return word
