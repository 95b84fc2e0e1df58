"""The test pattern."""

import time
from collections.abc import Generator
from fractions import Fraction

import av

from media.encoders.encoder import AUDIO_CLOCK_HZ, OPUS_FRAME_SAMPLES
from media.sources import counter
from media.sources.source import Pace, Picture, Sound


class PatternSource:
    """Thin: testsrc2 and the counter."""

    has_audio = True

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.width, self.height, self.fps = width, height, fps

    def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
        """Play; see `Source`."""
        graph = av.filter.Graph()
        rate = Fraction(self.fps).limit_denominator(1001)
        source = graph.add("testsrc2", f"size={self.width}x{self.height}:rate={rate}")
        form = graph.add("format", "yuv420p")
        sink = graph.add("buffersink")
        source.link_to(form)
        form.link_to(sink)
        graph.configure()
        number = sounds = 0
        while True:
            picture_at, sound_at = number / self.fps, sounds * 0.02
            if sound_at < picture_at:
                if not pace(sound_at):
                    return
                sound = av.AudioFrame("s16", "stereo", OPUS_FRAME_SAMPLES)
                sound.sample_rate = AUDIO_CLOCK_HZ
                sound.planes[0].update(bytes(OPUS_FRAME_SAMPLES * 4))
                yield Sound(sound, sound_at)
                sounds += 1
                continue
            if not pace(picture_at):
                return
            frame = graph.vpull()
            plane = frame.planes[0]
            view = memoryview(plane)
            counter.draw(view, plane.line_size, self.width, counter.Counter(number, time.time_ns() // 1_000_000))
            yield Picture(frame, picture_at)
            number += 1
