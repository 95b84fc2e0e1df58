"""The test pattern as a source: moving picture with a counter, and a tone that beeps when the sun flashes."""

import time
from collections.abc import Callable, Generator
from fractions import Fraction

import av
from av.video.frame import PictureType

from media.encoders.encoder import AUDIO_CLOCK_HZ, OPUS_FRAME_SAMPLES
from media.sources import counter, tone
from media.sources.scene import Moment, Scene
from media.sources.source import Pace, Picture, RawSource, Sound, SourceError

SOUND_S = OPUS_FRAME_SAMPLES / AUDIO_CLOCK_HZ
SOUND_BYTES = OPUS_FRAME_SAMPLES * 4
LARGEST_SIDE = 4096
FASTEST_FPS = 120
LEAD = 0.3
"""Of the time of a picture: so long before it is due it is painted, all but what tells the time."""


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class PatternSource(RawSource):
    """Pictures of any even size of at least 160x90; the frame number goes on when the source is played again.

    Raises: SourceError: a size or rate that cannot be made.
    """

    has_audio = True

    def __init__(
        self, width: int = 1280, height: int = 720, fps: float = 30.0, wall_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        _check(width, height, fps)
        self.width, self.height, self.fps = width, height, fps
        self._wall_ms = wall_ms
        self._number = 0
        self._frames = _frame_pool(width, height)
        self._scene = Scene(self._frames.vpull())
        self._tone = tone.one_second()

    def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
        """Play; see `Source`."""
        pictures = sounds = 0
        while True:
            picture_at, sound_at = pictures / self.fps, sounds * SOUND_S
            if sound_at < picture_at:
                if self.is_muted:
                    sounds += 1
                    continue
                if not pace(sound_at):
                    return
                yield Sound(self._sound(sounds), sound_at)
                sounds += 1
            else:
                if not pace(picture_at - LEAD / self.fps):
                    return
                frame = self._frames.vpull()
                frame.pict_type = PictureType.NONE
                canvas = self._scene.paint(frame, self._number)
                if not pace(picture_at):
                    return
                self._scene.stamp(canvas, Moment(self._number, picture_at, self._wall_ms()))
                self._number += 1
                yield Picture(frame, picture_at)
                pictures += 1

    def _sound(self, index: int) -> av.AudioFrame:
        frame = av.AudioFrame("s16", "stereo", OPUS_FRAME_SAMPLES)
        frame.sample_rate = AUDIO_CLOCK_HZ
        start = index * SOUND_BYTES % len(self._tone)
        frame.planes[0].update(self._tone[start : start + SOUND_BYTES])
        return frame


def _frame_pool(width: int, height: int) -> av.filter.Graph:
    """FFmpeg's own frame pool: a filter that gives empty frames and takes them back when nobody holds them."""
    graph = av.filter.Graph()
    source = graph.add("nullsrc", f"size={width}x{height}:rate={Fraction(30)}")
    pixels = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    source.link_to(pixels)
    pixels.link_to(sink)
    graph.configure()
    return graph


def _check(width: int, height: int, fps: float) -> None:
    if width % 2 or height % 2:
        raise SourceError(f"the test pattern needs an even width and height, not {width}x{height}")
    if not counter.fits(width, height * 2 // 3) or max(width, height) > LARGEST_SIDE:
        raise SourceError(
            f"the test pattern cannot be {width}x{height}: it needs 160 to {LARGEST_SIDE} pixels of width "
            "and a height of at least a fifth of the width"
        )
    if not 1 <= fps <= FASTEST_FPS:
        raise SourceError(f"the test pattern runs at 1 to {FASTEST_FPS} frames per second, not {fps:g}")
