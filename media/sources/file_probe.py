"""What a media file holds, and what of it can be passed on as it is."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from media.encoders.encoder import Codec
from media.h264 import ParameterSets
from media.sources.fit import even_size, upright_size
from media.sources.passing import usual_fps, verdict
from media.sources.sound import is_passable
from media.sources.source import Facts, SourceError

OPTIONS = {"protocol_whitelist": "file"}
"""A playlist must not make us open addresses."""
USUAL_FPS = Fraction(25)
_LOOKED_AT = 2
"""Packets of each stream that are looked at: with two pictures a file is no still."""


def open_file(path: Path) -> InputContainer:
    """Open a media file. Raises: SourceError: it is missing, may not be read, is none, or is damaged."""
    try:
        return av.open(str(path), options=OPTIONS)
    except FileNotFoundError as error:
        raise SourceError(f'"{path}" does not exist') from error
    except PermissionError as error:
        raise SourceError(f'"{path}" may not be read') from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f'"{path}" is not a media file, or it is damaged') from error


def decoded(packet: "av.Packet[Any]") -> list[av.VideoFrame | av.AudioFrame]:
    """The frames of a packet; a damaged one costs its own, no more."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, (av.VideoFrame, av.AudioFrame))]
    except av.InvalidDataError:
        return []


def main_video(container: InputContainer) -> VideoStream | None:
    """The video of a file, rather than the picture on its cover."""
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) else None


def probe(path: Path, transcode: bool) -> Facts:
    """Look into a file; with `transcode` nothing of it is passed on.

    Raises: SourceError: as `open_file`, or it holds no video, or none that can be decoded.
    """
    path = path.absolute()
    if path.is_dir():
        raise SourceError(f'"{path}" is a folder, not a file')
    with open_file(path) as container:
        video = main_video(container)
        if video is None:
            raise SourceError(f'"{path}" holds no video')
        audio = next(iter(container.streams.audio), None)
        frame, packets = _first_picture(container, video, audio)
        if frame is None:
            raise SourceError(f'"{path}" is damaged: none of its pictures can be decoded')
        width, height = even_size(*upright_size(frame), f'"{path}"')
        sets = ParameterSets(video.codec_context.extradata or b"")
        told = sets.sps.fps if sets.sps and container.format.name == "h264" else None  # no times but those of the SPS
        fps = told or usual_fps(video, sets) or float(USUAL_FPS)
        passes, note = _passed(video, sets, packets, transcode)
        if passes and frame.rotation:
            passes, note = frozenset(), "H.264 that has to be turned, encoded anew"
        if audio is not None and not transcode and _is_opus(audio, packets[audio.index]):
            passes |= {Codec.OPUS}
        return Facts(width, height, fps, audio is not None, passes, note)


def _first_picture(
    container: InputContainer, video: VideoStream, audio: AudioStream | None
) -> tuple[av.VideoFrame | None, dict[int, list[bytes]]]:
    """The first picture that can be decoded, and the first packets of each stream."""
    streams: list[VideoStream | AudioStream] = [video, audio] if audio is not None else [video]
    seen: dict[int, list[bytes]] = {stream.index: [] for stream in streams}
    found: av.VideoFrame | None = None
    for packet in _packets(container, streams):
        first = seen[packet.stream.index]
        if packet.size and len(first) < _LOOKED_AT:
            first.append(bytes(packet))
        if found is None and packet.stream.index == video.index:
            found = next((frame for frame in decoded(packet) if isinstance(frame, av.VideoFrame)), None)
        if found is not None and all(len(first) == _LOOKED_AT for first in seen.values()):
            break
    return found, seen


def _packets(container: InputContainer, streams: list[VideoStream | AudioStream]) -> "Iterator[av.Packet[Any]]":
    try:
        yield from container.demux(streams)
    except av.FFmpegError:
        return


def _passed(
    video: VideoStream, sets: ParameterSets, packets: dict[int, list[bytes]], transcode: bool
) -> tuple[frozenset[Codec], str]:
    name = video.codec_context.name
    if name != "h264":
        return frozenset(), f"{name}, encoded anew"
    if len(packets[video.index]) < _LOOKED_AT:
        return frozenset(), "a still, encoded anew"
    is_passed, note = verdict(sets, not transcode)
    if is_passed and video.codec_context.has_b_frames:
        return frozenset(), "H.264 with B-frames, encoded anew"
    return (frozenset((Codec.H264,)) if is_passed else frozenset()), note


def _is_opus(audio: AudioStream, packets: list[bytes]) -> bool:
    context = audio.codec_context
    return context.name == "opus" and context.channels <= 2 and all(map(is_passable, packets))
