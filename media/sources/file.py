"""A media file that plays for ever, in real time: time goes on over the loops."""

import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from media.encoders.encoder import Codec
from media.encoders.frame import private_copy
from media.sources import file_probe, interleave
from media.sources.fit import Fit
from media.sources.passing import H264Passer
from media.sources.reader import stamp_s
from media.sources.sound import SOUND_S, SoundCutter
from media.sources.source import EncodedPicture, EncodedSound, Item, Pace, Picture, SourceError

_log = logging.getLogger(__name__)

HELD_S = 0.2
"""A raw picture that stands longer is given again: who joins then waits no longer than this for the first one."""


class FileSource:
    """Anything FFmpeg reads that holds video, most often MP4. An odd width or height is rounded down.

    H.264 Constrained Baseline and Opus of 20 ms are passed on as they are, unless `transcode`.
    Raises: SourceError: the file is missing, no file, without video, or damaged.
    """

    can_request_keyframe = False
    is_muted = False

    def __init__(self, path: Path, transcode: bool = False) -> None:
        self._path = path
        facts = file_probe.probe(path, transcode)
        self.width, self.height, self.fps = facts.width, facts.height, facts.fps
        self.has_audio, self.passes = facts.has_audio, facts.passes
        _log.info("file opened", extra={"file": str(path), "video": facts.note})

    def request_keyframe(self) -> None:
        """A file has those that it has."""

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        """Play; see `Source`. A file of one picture without sound is a still."""
        offset = 0.0
        while True:
            pictures, last, end = 0, None, offset
            with closing(self._play_once(offset)) as items:
                for item in items:
                    if not pace(item.time_s):
                        return
                    yield item
                    if isinstance(item, (Picture, EncodedPicture)):
                        pictures, last = pictures + 1, item
                        end = max(end, item.time_s + 1 / self.fps)
                    else:
                        end = max(end, item.time_s + SOUND_S)
            if last is None:
                raise SourceError(f'"{self._path}" gave no picture')
            if pictures == 1 and not self.has_audio and isinstance(last, Picture):
                yield from self._still(last.frame, end, pace)
                return
            offset = end

    def _still(self, frame: av.VideoFrame, start_s: float, pace: Pace) -> Generator[Picture, None, None]:
        number = 0
        while pace(time_s := start_s + number / self.fps):
            yield Picture(private_copy(frame), time_s)
            number += 1

    def _play_once(self, offset: float) -> Generator[Item, None, None]:
        with file_probe.open_file(self._path) as container:
            items = interleave.by_time(self._items(container, offset))
            yield from interleave.ahead(items) if Codec.H264 in self.passes else _held(items)

    def _items(self, container: InputContainer, offset: float) -> Iterator[Item]:
        """Pictures and sounds as they come; each kind in the order of time."""
        video = file_probe.main_video(container)
        assert video is not None  # noqa: S101  it was there when the file was probed
        streams: list[VideoStream | AudioStream] = [video]
        if self.has_audio:
            streams += container.streams.audio[:1]
        start_s = offset - (container.start_time or 0) / av.time_base
        pictures = (self._passed if Codec.H264 in self.passes else self._raw)(video, start_s, offset)
        sounds = _PassedSounds(start_s, offset) if Codec.OPUS in self.passes else _Sounds(start_s, offset)
        for packet in interleave.by_decoding_time(container.demux(streams), len(streams)):
            yield from (pictures if packet.stream.index == video.index else sounds).items(packet)

    def _passed(self, video: VideoStream, start_s: float, offset: float) -> "_PassedPictures":
        return _PassedPictures(H264Passer(video), _Times(start_s, offset, 1 / self.fps))

    def _raw(self, _video: VideoStream, start_s: float, offset: float) -> "_Pictures":
        return _Pictures(Fit(self.width, self.height), _Times(start_s, offset, 1 / self.fps))


def _held(items: Iterator[Item]) -> Iterator[Item]:
    """Show a raw picture again while the next one is far away."""
    last: Picture | None = None
    for item in items:
        while last is not None and item.time_s - last.time_s > HELD_S:
            last = Picture(private_copy(last.frame), last.time_s + HELD_S)
            yield last
        if isinstance(item, Picture):
            last = item
        yield item


class _Times:
    """Places the time stamps of one stream of one loop on the clock of the source; they never fall."""

    def __init__(self, start_s: float, offset: float, step_s: float) -> None:
        self._start_s, self._offset, self._step_s = start_s, offset, step_s
        self._last = offset - step_s

    def place(self, stamp_s: float | None) -> float:
        """The time of `stamp_s`; without one, a step after the last."""
        if stamp_s is None:
            self._last += self._step_s
        else:
            self._last = max(self._start_s + stamp_s, self._offset, self._last)
        return self._last


class _Pictures:
    def __init__(self, fit: Fit, times: _Times) -> None:
        self._fit, self._times = fit, times

    def items(self, packet: "av.Packet[Any]") -> Iterator[Item]:
        for frame in file_probe.decoded(packet):
            if isinstance(frame, av.VideoFrame):
                yield Picture(self._fit(frame), self._times.place(frame.time))


class _PassedPictures:
    def __init__(self, passer: H264Passer, times: _Times) -> None:
        self._passer, self._times = passer, times

    def items(self, packet: "av.Packet[Any]") -> Iterator[Item]:
        if not packet.size:
            return
        picture = self._passer.picture(packet, self._times.place(stamp_s(packet)))
        if picture is not None:
            yield picture


class _Sounds:
    def __init__(self, start_s: float, offset: float) -> None:
        self._cutter = SoundCutter(offset)
        self._late_s = offset - start_s

    def items(self, packet: "av.Packet[Any]") -> Iterator[Item]:
        for frame in file_probe.decoded(packet):
            if isinstance(frame, av.AudioFrame):
                time_s = None if frame.time is None else max(frame.time - self._late_s, 0.0)
                yield from self._cutter.cut(frame, time_s)


class _PassedSounds:
    def __init__(self, start_s: float, offset: float) -> None:
        self._times = _Times(start_s, offset, SOUND_S)

    def items(self, packet: "av.Packet[Any]") -> Iterator[Item]:
        if packet.size:
            yield EncodedSound(Codec.OPUS, bytes(packet), self._times.place(stamp_s(packet)))
