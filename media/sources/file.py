"""A media file that plays for ever, in real time: time goes on over the loops."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import av
import msgspec
from av.container import InputContainer
from av.video.frame import PictureType

from media.encoders.encoder import AUDIO_CLOCK_HZ, OPUS_FRAME_SAMPLES
from media.encoders.frame import private_copy
from media.sources.source import Pace, Picture, RawSource, Sound, SourceError

SOUND_S = OPUS_FRAME_SAMPLES / AUDIO_CLOCK_HZ
OPTIONS = {"protocol_whitelist": "file"}
"""A playlist must not make us open addresses."""
USUAL_FPS = Fraction(25)
SLOWEST_FPS, FASTEST_FPS = 1, 120
LEAST_SIDE, LARGEST_SIDE = 16, 4096
HELD_S = 4.0
HELD_BYTES = 16 * 1024 * 1024
"""How far one stream of a file may run ahead of the other, encoded: fragmented files and transport streams do."""
HELD_PICTURES = 16
HELD_SOUNDS = 100


class _Facts(msgspec.Struct, frozen=True):
    width: int
    height: int
    fps: float
    has_audio: bool


class FileSource(RawSource):
    """Anything FFmpeg reads that holds video, most often MP4. An odd width or height is rounded down.

    Raises: SourceError: the file is missing, no file, without video, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        facts = _probe(path)
        self.width, self.height, self.fps = facts.width, facts.height, facts.fps
        self.has_audio = facts.has_audio

    def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
        """Play; see `Source`. A file of one picture without sound is a still."""
        offset = 0.0
        while True:
            pictures, last, end = 0, None, offset
            with closing(self._play_once(offset)) as items:
                for item in items:
                    if not pace(item.time_s):
                        return
                    yield item
                    if isinstance(item, Picture):
                        pictures, last = pictures + 1, item.frame
                        end = max(end, item.time_s + 1 / self.fps)
                    else:
                        end = max(end, item.time_s + SOUND_S)
            if last is None:
                raise SourceError(f'"{self._path}" gave no picture')
            if pictures == 1 and not self.has_audio:
                yield from self._still(last, end, pace)
                return
            offset = end

    def _still(self, frame: av.VideoFrame, start_s: float, pace: Pace) -> Generator[Picture, None, None]:
        number = 0
        while pace(time_s := start_s + number / self.fps):
            yield Picture(private_copy(frame), time_s)
            number += 1

    def _play_once(self, offset: float) -> Generator[Picture | Sound, None, None]:
        with _open(self._path) as container:
            yield from _in_order(self._decode(container, offset))

    def _decode(self, container: InputContainer, offset: float) -> Iterator[Picture | Sound]:
        """Pictures and sounds as they come; each kind in the order of time."""
        video = container.streams.video[0]
        sounds = _Sounds(offset) if self.has_audio else None
        streams = [video, *container.streams.audio[:1]] if sounds else [video]
        start_s = (container.start_time or 0) / av.time_base
        picture_at = offset - 1 / self.fps
        for packet in _interleaved(container.demux(streams), len(streams)):
            for frame in _decoded(packet):
                time_s = None if frame.time is None else max(frame.time - start_s, 0.0)
                if isinstance(frame, av.VideoFrame):
                    picture_at = picture_at + 1 / self.fps if time_s is None else max(offset + time_s, picture_at)
                    yield Picture(self._fitted(frame), picture_at)
                elif sounds:
                    yield from sounds.cut(frame, time_s)

    def _fitted(self, frame: av.VideoFrame) -> av.VideoFrame:
        fitted = frame.reformat(width=self.width, height=self.height, format="yuv420p", threads=1)
        fitted.pict_type = PictureType.NONE
        return fitted


class _Sounds:
    """Cuts sound of any kind into 20 ms of 48 kHz stereo; a rest at the end of the file is lost."""

    def __init__(self, offset: float) -> None:
        self._resampler = av.AudioResampler(
            format="s16", layout="stereo", rate=AUDIO_CLOCK_HZ, frame_size=OPUS_FRAME_SAMPLES
        )
        self._offset = offset
        self._start_s: float | None = None
        self._count = 0

    def cut(self, frame: av.AudioFrame, time_s: float | None) -> Iterator[Sound]:
        """Sounds that are complete after `frame`; gaps inside the file are closed."""
        if self._start_s is None:
            self._start_s = time_s or 0.0
        frame.pts = None  # else the resampler fills or refuses what the file's time stamps leave open
        for piece in self._resampler.resample(frame):
            if piece.samples == OPUS_FRAME_SAMPLES:
                yield Sound(piece, self._offset + self._start_s + self._count * SOUND_S)
                self._count += 1


def _interleaved(packets: "Iterator[av.Packet[Any]]", streams: int) -> "Iterator[av.Packet[Any]]":
    """Packets of all streams by decoding time: a stream that runs ahead is held here, where it is still small."""
    held: list[tuple[float, int, av.Packet[Any]]] = []
    held_bytes = 0
    counts: dict[int, int] = {}
    reached: dict[int, float] = {}
    for number, packet in enumerate(packets):
        index = packet.stream.index
        time_s = reached.get(index, 0.0)  # without a time of its own a packet stays behind the one before it
        if packet.dts is not None and packet.time_base is not None:
            time_s = max(time_s, float(packet.dts * packet.time_base))
        reached[index] = time_s
        counts[index] = counts.get(index, 0) + 1
        heappush(held, (time_s, number, packet))
        held_bytes += packet.size
        while held and (
            sum(map(bool, counts.values())) == streams or held_bytes > HELD_BYTES or time_s - held[0][0] > HELD_S
        ):
            first = heappop(held)[2]
            counts[first.stream.index] -= 1
            held_bytes -= first.size
            yield first
    for _, _, packet in sorted(held):
        yield packet


def _in_order(items: Iterator[Picture | Sound]) -> Iterator[Picture | Sound]:
    """Merge by time; a stream that runs ahead of the other is held back, within bounds."""
    pictures: deque[Picture] = deque()
    sounds: deque[Sound] = deque()
    for item in items:
        if isinstance(item, Picture):
            pictures.append(item)
        else:
            sounds.append(item)
        while (pictures and sounds) or len(pictures) > HELD_PICTURES or len(sounds) > HELD_SOUNDS:
            yield _earlier(pictures, sounds)
    while pictures or sounds:
        yield _earlier(pictures, sounds)


def _earlier(pictures: deque[Picture], sounds: deque[Sound]) -> Picture | Sound:
    if not sounds or (pictures and pictures[0].time_s <= sounds[0].time_s):
        return pictures.popleft()
    return sounds.popleft()


def _decoded(packet: "av.Packet[Any]") -> list[av.VideoFrame | av.AudioFrame]:
    try:
        return [frame for frame in packet.decode() if isinstance(frame, (av.VideoFrame, av.AudioFrame))]
    except av.InvalidDataError:
        return []  # a damaged packet costs its picture, no more


def _open(path: Path) -> InputContainer:
    try:
        return av.open(str(path), options=OPTIONS)
    except FileNotFoundError as error:
        raise SourceError(f'"{path}" does not exist') from error
    except PermissionError as error:
        raise SourceError(f'"{path}" may not be read') from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f'"{path}" is not a media file, or it is damaged') from error


def _first_picture(container: InputContainer) -> av.VideoFrame | av.AudioFrame | None:
    try:
        return next((frame for packet in container.demux(video=0) for frame in _decoded(packet)), None)
    except av.FFmpegError:
        return None


def _probe(path: Path) -> _Facts:
    path = path.absolute()
    if path.is_dir():
        raise SourceError(f'"{path}" is a folder, not a file')
    with _open(path) as container:
        if not container.streams.video:
            raise SourceError(f'"{path}" holds no video')
        video = container.streams.video[0]
        frame = _first_picture(container)
        if not isinstance(frame, av.VideoFrame):
            raise SourceError(f'"{path}" is damaged: none of its pictures can be decoded')
        width, height = frame.width // 2 * 2, frame.height // 2 * 2
        if min(width, height) < LEAST_SIDE or max(width, height) > LARGEST_SIDE:
            raise SourceError(
                f'"{path}" is {frame.width}x{frame.height}; a side must have {LEAST_SIDE} to {LARGEST_SIDE} pixels'
            )
        fps = float(video.average_rate or video.guessed_rate or USUAL_FPS)
        return _Facts(width, height, min(max(fps, SLOWEST_FPS), FASTEST_FPS), bool(container.streams.audio))
