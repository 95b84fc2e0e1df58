"""What a source is: pictures and sound with their time. An interface and its values."""

from collections.abc import Callable, Generator
from typing import Protocol

import av
import msgspec

Pace = Callable[[float], bool]
"""Waits until a time in seconds since the start of the source; False means stop."""


class SourceError(Exception):
    """A source cannot be opened or has died; the text is a sentence for the operator."""


class Picture(msgspec.Struct, frozen=True, eq=False):
    """A yuv420p frame of the source's size, taken `time_s` seconds after the start of the source.

    Its picture type is NONE: an encoder would make a key frame of each picture of type I.
    """

    frame: av.VideoFrame
    time_s: float


class Sound(msgspec.Struct, frozen=True, eq=False):
    """960 samples of 48 kHz stereo s16, the first taken `time_s` seconds after the start of the source."""

    frame: av.AudioFrame
    time_s: float


class Source(Protocol):
    """Somewhere pictures come from. Width and height are even; they do not change."""

    width: int
    height: int
    fps: float
    has_audio: bool

    def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
        """Play from the start; blocks, so it runs in a thread of its own.

        Each item is preceded by `pace(time_s)`; times never fall. Nobody writes to a frame that was given out.
        It ends when `pace` says so, or when the source does. Closing the generator frees what it holds.

        Raises: SourceError: the source died, try again later.
        """
