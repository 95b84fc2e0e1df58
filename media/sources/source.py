"""What a source is: pictures and sound with their time, raw or encoded. An interface and its values."""

from collections.abc import Callable, Generator
from typing import Protocol

import av
import msgspec

from media.encoders.encoder import Codec

Pace = Callable[[float], bool]
"""Waits until a time in seconds since the start of the source; False means stop."""


class SourceError(Exception):
    """A source cannot be opened or has died; the text is a sentence for the operator."""


class SetupError(SourceError):
    """A source cannot be opened, and time does not help: somebody must change something."""


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


class EncodedPicture(msgspec.Struct, frozen=True):
    """A picture that the source gives encoded: H.264 Annex-B, parameter sets before each IDR, or one VP8 frame.

    `time_s` is that of `Picture`. There are no B-frames: the order of decoding is that of time.
    """

    codec: Codec
    data: bytes
    is_key: bool
    time_s: float


class EncodedSound(msgspec.Struct, frozen=True):
    """20 ms of sound that the source gives as one Opus packet; `time_s` is that of `Sound`."""

    codec: Codec
    data: bytes
    time_s: float


Item = Picture | Sound | EncodedPicture | EncodedSound
"""What a source gives."""


class Facts(msgspec.Struct, frozen=True):
    """What a source was found to give; see `Source`. `note` says in words why it is passed on, or encoded anew."""

    width: int
    height: int
    fps: float
    has_audio: bool = False
    passes: frozenset[Codec] = frozenset()
    note: str = ""


class Source(Protocol):
    """Somewhere pictures come from. Width and height are even; they do not change."""

    width: int
    height: int
    fps: float
    has_audio: bool
    can_request_keyframe: bool
    """Whether `request_keyframe` has an effect; it matters for a source that passes pictures."""
    is_muted: bool
    """Set from any thread while nobody hears its sound, which it may then leave out; it comes back in its own time."""

    @property
    def passes(self) -> frozenset[Codec]:
        """Codecs that it gives as encoded items, and then as nothing else; empty for one that gives raw ones.

        It changes only between two plays: a camera that was off at the start is known later, and one may come back set
        to another profile.
        """

    def request_keyframe(self) -> None:
        """Give a key frame soon; called in the thread of `frames`, between two items."""

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        """Play from the start; blocks, so it runs in a thread of its own.

        Each item is preceded by `pace(time_s)`; the times of each kind never fall. Nobody writes to a frame that
        was given out.
        It ends when `pace` says so, or when the source does. Closing the generator frees what it holds.

        Raises: SourceError: the source died, try again later.
        """


class RawSource:
    """What all sources of raw pictures and sound have in common."""

    passes: frozenset[Codec] = frozenset()
    can_request_keyframe = False
    is_muted = False

    def request_keyframe(self) -> None:
        """There is nothing to do: the encoder makes the key frames."""
