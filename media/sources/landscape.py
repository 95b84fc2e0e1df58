"""Painting of the moving part of the test pattern: rows of luma and chroma made by arithmetic on bytes. No I/O.

Everything is periodic in its width, so that it can scroll for ever. A 1280x720 picture is painted in about 20 ms.
"""

import functools
import hashlib
import math
from itertools import pairwise

import msgspec

NOISE_ROWS = 32
NOISE_STEP = 4
SPECKLE = 6
"""Range of the camera noise in steps of luma."""


class Tint(msgspec.Struct, frozen=True):
    """A colour in studio range: luma 16..235, chroma around 128."""

    y: int
    u: int
    v: int


class Ridge(msgspec.Struct, frozen=True):
    """One range of hills: height of its foot and its swing as parts of the strip, colour, grain and lit edge."""

    foot: float
    swing: float
    waves: int
    tint: Tint
    grain: int
    light: int
    trees: float = 0.0


class Rows(msgspec.Struct, frozen=True):
    """A painted strip: `height` rows of luma, half as many of each chroma."""

    y: list[bytes]
    u: list[bytes]
    v: list[bytes]


SKY_TOP = Tint(48, 158, 116)
SKY_LOW = Tint(176, 88, 158)
RIDGES = (
    Ridge(0.30, 0.20, 2, Tint(104, 136, 128), 10, 34),
    Ridge(0.17, 0.12, 4, Tint(78, 124, 122), 22, 22),
    Ridge(0.05, 0.06, 7, Tint(52, 114, 120), 34, 12, 0.055),
)


def sky(part: float) -> Tint:
    """Colour of the sky, `part` of the way from the top (0) to the horizon (1)."""
    return Tint(
        round(SKY_TOP.y + (SKY_LOW.y - SKY_TOP.y) * part),
        round(SKY_TOP.u + (SKY_LOW.u - SKY_TOP.u) * part),
        round(SKY_TOP.v + (SKY_LOW.v - SKY_TOP.v) * part),
    )


def hills(width: int, height: int, sky_from: float, noise: list[bytes]) -> Rows:
    """Paint three ranges of hills under the sky, which has come `sky_from` of its way at the upper edge."""
    rows = Rows([], [], [])
    tops = [_tops(ridge, width, noise) for ridge in RIDGES]
    for y in range(height):
        tint = sky(sky_from + (1 - sky_from) * y / height)
        luma = bytes([tint.y - SPECKLE // 2]) * width  # the noise brings it back to the sky that stands still
        for ridge, top in zip(RIDGES, tops, strict=True):
            luma = _paint_luma(luma, ridge, top, y / height, noise[y % NOISE_ROWS])
        rows.y.append(luma)
        if y % 2 == 0:
            u, v = bytes([tint.u]) * (width // 2), bytes([tint.v]) * (width // 2)
            for ridge, top in zip(RIDGES, tops, strict=True):
                mask = top[::2].translate(_at_most(y / height))
                u = _over(mask, bytes([ridge.tint.u]) * len(u), u)
                v = _over(mask, bytes([ridge.tint.v]) * len(v), v)
            rows.u.append(u)
            rows.v.append(v)
    return rows


def field(width: int, height: int, noise: list[bytes]) -> Rows:
    """Paint a meadow with a fence."""
    rows = Rows([], [], [])
    post, gap = max(2, width // 320), max(16, width // 16)
    pales = (bytes([255]) * post + bytes(gap - post)) * (width // gap + 1)
    pales = pales[:width]
    for y in range(height):
        part = y / height
        base, grain = round(96 - 34 * part), 18 + round(30 * part)
        luma = noise[y * 3 % NOISE_ROWS].translate(_shade(base, grain))
        if 0.08 < part < 0.62:
            luma = _over(pales, bytes([206]) * width, luma)
        if 0.18 < part < 0.24 or 0.38 < part < 0.44:
            luma = bytes([186]) * width
        rows.y.append(luma)
        if y % 2 == 0:
            is_rail = 0.18 < part < 0.24 or 0.38 < part < 0.44
            wood = bytes([122]) * (width // 2)
            mask = pales[::2] if 0.08 < part < 0.62 else bytes(width // 2)
            rows.u.append(wood if is_rail else _over(mask, wood, bytes([108]) * (width // 2)))
            rows.v.append(wood if is_rail else _over(mask, wood, bytes([118]) * (width // 2)))
    return rows


def grain(width: int) -> list[bytes]:
    """Rows of smooth noise, 0..255, periodic in both directions."""
    columns = width // NOISE_STEP + 1
    keys = []
    for index in range(NOISE_ROWS // NOISE_STEP):
        key = list(hashlib.shake_128(bytes([index])).digest(columns))
        key[-1] = key[0]
        keys.append([a + (b - a) * i // NOISE_STEP for a, b in pairwise(key) for i in range(NOISE_STEP)])
    keys.append(keys[0])
    rows = []
    for above, below in pairwise(keys):
        for i in range(NOISE_STEP):
            row = bytes([a + (b - a) * i // NOISE_STEP for a, b in zip(above, below, strict=True)])
            rows.append((row + row)[:width])
    return rows


def speckle(luma: bytes, take: int) -> bytes:
    """`luma` (at most 235) with the noise of a camera, another one for each `take`."""
    table = bytes([value * (SPECKLE + 1) // 256 for value in range(256)])
    noise = hashlib.shake_128(b"take" + bytes([take])).digest(len(luma)).translate(table)
    # No byte passes 255, so the carry of one long addition never leaves its byte.
    return (int.from_bytes(luma, "little") + int.from_bytes(noise, "little")).to_bytes(len(luma), "little")


def _tops(ridge: Ridge, width: int, noise: list[bytes]) -> bytes:
    """Upper edge of a range per column, 0 (top of the strip) to 255 (bottom)."""
    angle, w = math.tau / width, ridge.waves
    tops = []
    for x in range(width):
        # Frequencies without a common divisor: the range repeats only after the whole width.
        wave = sum(math.sin((k * w + i) * x * angle + 1.7 * i * i) / k**1.2 for i, k in enumerate((1, 2, 3, 5, 9)))
        height = ridge.foot + ridge.swing * (0.5 + wave / 3.4)
        if ridge.trees:
            height += ridge.trees * (noise[7][x * 5 % width] - 90) / 165 * (x // 2 % 5 in (1, 2, 3))
        tops.append(min(255, max(0, round(255 * (1 - height)))))
    return bytes(tops)


def _paint_luma(under: bytes, ridge: Ridge, top: bytes, part: float, noise: bytes) -> bytes:
    mask = top.translate(_at_most(part))
    if not any(mask):
        return under
    shaded = noise.translate(_shade(ridge.tint.y, ridge.grain))
    lit = noise.translate(_shade(ridge.tint.y + ridge.light, ridge.grain))
    inner = top.translate(_at_most(part - 0.03))
    return _over(mask, _over(inner, shaded, lit), under)


def _at_most(part: float) -> bytes:
    """Table that maps an edge at or above `part` of the height to 255, else to 0."""
    edge = min(256, max(0, round(255 * part) + 1))
    return b"\xff" * edge + bytes(256 - edge)


@functools.lru_cache(maxsize=256)
def _shade(base: int, swing: int) -> bytes:
    """Table that maps noise to luma around `base`."""
    return bytes([min(235, max(16, base + (value - 128) * swing // 128)) for value in range(256)])


def _over(mask: bytes, over: bytes, under: bytes) -> bytes:
    """`over` where the mask is 255, `under` where it is 0."""
    low = int.from_bytes(under, "little")
    chosen = low ^ (low ^ int.from_bytes(over, "little")) & int.from_bytes(mask, "little")
    return chosen.to_bytes(len(under), "little")
