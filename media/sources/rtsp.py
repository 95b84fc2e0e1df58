"""Cameras on the network, by RTSP. No text of it holds the address: it may hold a password."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from media.encoders.encoder import Codec
from media.h264 import ParameterSets
from media.sources.fit import even_size
from media.sources.passing import usual_fps, verdict
from media.sources.reader import Backlog, PictureReader, decoded, stamp_s
from media.sources.restamp import Restamp
from media.sources.sound import SoundCutter, is_passable
from media.sources.source import EncodedSound, Facts, Item, SourceError
from media.sources.uri import Rtsp

_log = logging.getLogger(__name__)

SOCKET_S = 5.0
"""How long the camera may be silent inside FFmpeg; `live.SILENT_S` is for the whole source."""
USUAL_FPS = 30.0
_SOUND_S = 0.3
"""How long the first Opus packet is waited for, to see whether it can be passed on."""
_LOOKED_AT = 300
"""Packets in which the size must have come: 5 s of pictures and sound."""
_OPTIONS = {
    # Open at once, on what the session description says; and keep what was read meanwhile: with more probing, or with
    # the flag nobuffer, the key frame with which most cameras begin is lost, and viewers wait for the next one.
    "probesize": "32",
    "analyzeduration": "0",
    "max_delay": "100000",  # microseconds that UDP packets may be waited for when others overtook them
    "timeout": str(round(SOCKET_S * 1_000_000)),
    "allowed_media_types": "video+audio",
    "protocol_whitelist": "rtsp,rtp,rtcp,udp,tcp",
}


class RtspStream:
    """A camera that answered; see `live.Stream`.

    Raises: SourceError: it did not, or it has no video.
    """

    def __init__(self, place: Rtsp, more: Mapping[str, str] | None = None) -> None:
        options = {**_OPTIONS, "rtsp_transport": place.transport, **(more or {})}
        self._transport = place.transport
        try:
            self._container: InputContainer = av.open(
                place.url, format="rtsp", options=options, timeout=(None, SOCKET_S)
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from None
        try:
            self._video, self._audio = self._streams()
            self._looked_at: list[av.Packet[Any]] = []
            self.facts = self._look(place.transcode)
        except BaseException:
            self._container.close()
            raise

    def _streams(self) -> tuple[VideoStream, AudioStream | None]:
        streams = self._container.streams
        if not streams.video:
            raise SourceError("the camera sends no video")
        return streams.video[0], next(iter(streams.audio), None)

    def _failure(self, error: Exception) -> SourceError:
        return SourceError(sentence(error, self._transport))

    def close(self) -> None:
        """Say goodbye to the camera."""
        self._container.close()

    def abort(self) -> None:
        """Nothing can be done: reading ends when something comes, or by its own time limit."""

    def _look(self, transcode: bool) -> Facts:
        """Read until size and sound are known; what was read is played later."""
        found = _Found(self._video, self._audio)
        until = time.monotonic() + _SOUND_S
        for packet in self._packets() if found.lacks_size or found.lacks_sound else ():
            self._looked_at.append(packet)
            found.take(packet)
            if not found.lacks_size and (not found.lacks_sound or time.monotonic() > until):
                break
            if len(self._looked_at) >= _LOOKED_AT:
                break
        if found.lacks_size:
            raise SourceError("the camera does not tell the size of its pictures")
        return found.facts(transcode)

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        streams = [self._video] if self._audio is None else [self._video, self._audio]
        try:
            yield from (packet for packet in self._container.demux(streams) if packet.size)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from None

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        """Pictures and sound; see `live.Stream`."""
        restamp, reader = Restamp(), PictureReader(self._video, wanted)
        sound = _passed_sound if Codec.OPUS in wanted.passes else _Sound().items
        packets, self._looked_at = chain(self._looked_at, self._packets()), []
        backlog, asked_at = Backlog(), elapsed()
        for packet in packets:
            now = elapsed()
            if backlog.grows(asked_at, now):
                _log.warning("decoder is slower than the camera", extra={"skips_to": "key frame"})
                reader.skip_to_key()
            is_video = packet.stream.index == self._video.index
            time_s = restamp.stamp("video" if is_video else "audio", stamp_s(packet), now)
            yield from reader.items(packet, time_s) if is_video else sound(packet, time_s)
            asked_at = elapsed()


class _Found:
    """What a camera turned out to send, from its description and its first packets."""

    def __init__(self, video: VideoStream, audio: AudioStream | None) -> None:
        self._video, self._audio = video, audio
        self._name = video.codec_context.name
        self._sets = ParameterSets(video.codec_context.extradata or b"")
        self._size = _size(self._sets)
        self._is_opus = audio is not None and audio.codec_context.name == "opus"
        self.lacks_sound = self._is_opus

    @property
    def lacks_size(self) -> bool:
        """Nobody has told the size of the pictures yet."""
        return not all(self._size)

    def take(self, packet: "av.Packet[Any]") -> None:
        """Look into a packet."""
        if packet.stream.index != self._video.index:
            self._is_opus = self._is_opus and is_passable(bytes(packet))
            self.lacks_sound = False
        elif self._name == "h264":
            self._sets.complete(bytes(packet))
            self._size = _size(self._sets)
        elif self.lacks_size:
            frame = next(iter(decoded(packet)), None)
            self._size = (frame.width, frame.height) if isinstance(frame, av.VideoFrame) else (0, 0)

    def facts(self, transcode: bool) -> Facts:
        """All together. Raises: SetupError: the pictures are too small or too large."""
        if self._name == "h264":
            is_passed, note = verdict(self._sets, not transcode)
        else:
            is_passed, note = False, f"{self._name}, encoded anew"
        passes = {Codec.H264} if is_passed else set()
        if self._is_opus and not transcode:
            passes.add(Codec.OPUS)
        width, height = even_size(*self._size, "the camera's picture")
        fps = usual_fps(self._video, self._sets) or USUAL_FPS
        return Facts(width, height, fps, self._audio is not None, frozenset(passes), note)


def _size(sets: ParameterSets) -> tuple[int, int]:
    return (sets.sps.width, sets.sps.height) if sets.sps else (0, 0)


class _Sound:
    def __init__(self) -> None:
        self._cutter = SoundCutter(follows=True)

    def items(self, packet: "av.Packet[Any]", time_s: float) -> Iterator[Item]:
        for frame in decoded(packet):
            if isinstance(frame, av.AudioFrame):
                yield from self._cutter.cut(frame, time_s)


def _passed_sound(packet: "av.Packet[Any]", time_s: float) -> Iterator[Item]:
    data = bytes(packet)
    if is_passable(data):
        yield EncodedSound(Codec.OPUS, data, time_s)


def sentence(error: Exception, transport: str) -> str:
    """What an error of FFmpeg means at a camera; its own text holds the address."""
    match error:
        case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
            return "the camera refuses user or password; they stand in the address as rtsp://USER:PASSWORD@HOST/PATH"
        case av.HTTPNotFoundError():
            return "the camera has no stream at this path"
        case av.HTTPOtherClientError() | av.HTTPBadRequestError():
            other = "udp" if transport == "tcp" else "tcp"
            return f"the camera refuses the request; some want ?transport={other}"
        case ConnectionRefusedError():
            return "nobody listens at the address of the camera"
        case TimeoutError() | av.ExitError():
            return f"the camera was silent for {SOCKET_S:g} s"
        case av.InvalidDataError():
            return "what answers at the address does not speak RTSP, or fell silent"
        case OSError() if error.errno:
            return f"the camera cannot be reached: {os.strerror(error.errno)}"
    return f"the camera cannot be read ({type(error).__name__})"
