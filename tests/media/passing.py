"""A source of encoded pictures and sound, made from the test pattern."""

import threading
from collections.abc import Generator

from media.encoders.encoder import Capture, Codec, EncoderSettings, Shape
from media.encoders.opus import OpusEncoder
from media.encoders.software import X264Encoder
from media.sources.pattern import PatternSource
from media.sources.source import EncodedPicture, EncodedSound, Item, Pace, Picture, SourceError


class PassingSource:
    """H.264 and Opus; a key frame each `gop` pictures and, with `can_request_keyframe`, when it is asked for.

    After `dies_after` pictures it dies, once, and gives no picture again before `comes_back`.
    """

    passes = frozenset({Codec.H264, Codec.OPUS})
    has_audio = True
    is_muted = False

    def __init__(
        self, fps: float = 60.0, gop: int = 5, can_request_keyframe: bool = False, dies_after: int | None = None
    ) -> None:
        self.width, self.height, self.fps = 160, 90, fps
        self.can_request_keyframe = can_request_keyframe
        self.requests = 0
        self._gop = gop
        self._wants_key = False
        self._dies_after = dies_after
        self._has_died = False
        self.comes_back = threading.Event()

    def request_keyframe(self) -> None:
        self.requests += 1
        self._wants_key = True

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        encoder = X264Encoder(
            Shape(self.width, self.height, self.fps), EncoderSettings(bitrate_bps=200_000, preset="ultrafast")
        )
        opus = OpusEncoder(EncoderSettings())
        if self._has_died:
            self.comes_back.wait(30)
        pictures = sounds = 0
        for item in PatternSource(self.width, self.height, self.fps).frames(pace):
            if not isinstance(item, Picture):
                (packet,) = opus.encode(Capture(item.frame, sounds * 960, 0.0), False)
                sounds += 1
                yield EncodedSound(Codec.OPUS, packet.data, item.time_s)
                continue
            if pictures == self._dies_after:
                self._dies_after, self._has_died = None, True
                raise SourceError("the camera went away")
            is_key = pictures % self._gop == 0 or self._wants_key
            self._wants_key = False
            (unit,) = encoder.encode(Capture(item.frame, round(item.time_s * 90_000), 0.0), is_key)
            pictures += 1
            yield EncodedPicture(Codec.H264, unit.data, unit.is_key, item.time_s)
