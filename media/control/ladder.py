"""The sizes in which one picture is encoded, for viewers with paths of different width. No clock, no codec."""

import msgspec

from media.encoders.encoder import Shape

LEAST_WIDTH, LEAST_HEIGHT = 160, 90
_STEPS = ((1, 1.0), (2, 0.3), (4, 0.075))
"""(divisor of both sides, part of the full rate): 720p 2 Mbit/s, 360p 600 kbit/s, 180p 150 kbit/s."""


class Layer(msgspec.Struct, frozen=True):
    """One size of the picture, in even pixels, with the rate it has when nobody asks for less; 0 is the full size."""

    number: int
    width: int
    height: int
    bitrate_bps: int


def rungs(shape: Shape, bitrate_bps: int) -> tuple[Layer, ...]:
    """The full size at `bitrate_bps`; its half and quarter where they are not under 160x90."""
    layers = []
    for number, (divisor, part) in enumerate(_STEPS):
        width, height = (round(side / divisor / 2) * 2 for side in (shape.width, shape.height))
        if number and (width < LEAST_WIDTH or height < LEAST_HEIGHT):
            break
        layers.append(Layer(number, width, height, round(bitrate_bps * part)))
    return tuple(layers)
