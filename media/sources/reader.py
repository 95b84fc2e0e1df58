"""Packets of one stream of a live source -> pictures: passed on, or decoded and fitted. Reads no device."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import av
from av.video.stream import VideoStream

from media.encoders.encoder import Codec
from media.h264 import is_key
from media.sources.fit import Fit
from media.sources.passing import H264Passer
from media.sources.restamp import Restamp
from media.sources.source import Facts, Item, Picture

_WITH_REFERENCES = frozenset(("h264", "hevc", "vp8", "vp9", "av1"))
"""Codecs whose pictures need the ones before them."""
WAIT_S, BEHIND_S = 0.002, 1.0


class PictureReader:
    """Turns packets into what is wanted. Used by one thread."""

    def __init__(self, stream: VideoStream, wanted: Facts) -> None:
        self._passer = H264Passer(stream) if Codec.H264 in wanted.passes else None
        self._fit = Fit(wanted.width, wanted.height)
        self._name = stream.codec_context.name
        self._waits_for_key = self._name in _WITH_REFERENCES

    def items(self, packet: "av.Packet[Any]", time_s: float) -> Iterator[Item]:
        """The pictures of a packet; a damaged one costs its own, no more."""
        if self._passer is not None:
            picture = self._passer.picture(packet, time_s)
            if picture is not None:
                yield picture
            return
        if self._waits_for_key:
            if not (packet.is_keyframe or (self._name == "h264" and is_key(bytes(packet)))):
                return  # in the middle of a group of pictures there would be a grey one first
            self._waits_for_key = False
        for frame in decoded(packet):
            if isinstance(frame, av.VideoFrame):
                yield Picture(self._fit(frame), time_s)

    def skip_to_key(self) -> None:
        """Decode nothing before the next key frame; what is passed on goes on."""
        self._waits_for_key = self._name in _WITH_REFERENCES


class Backlog:
    """Tells that a live source is read too slowly: for a second there was always something that waited. No clock."""

    def __init__(self) -> None:
        self._waited_at: float | None = None

    def grows(self, asked_at: float, given_at: float) -> bool:
        """Take note of one read; True means that the oldest must be given up."""
        if self._waited_at is None or given_at - asked_at > WAIT_S:
            self._waited_at = given_at
        if given_at - self._waited_at <= BEHIND_S:
            return False
        self._waited_at = given_at
        return True


def decoded(packet: "av.Packet[Any]") -> list[Any]:
    """The frames of a packet; none of a damaged one."""
    try:
        return list(packet.decode())
    except av.InvalidDataError:
        return []


def stamp_s(packet: "av.Packet[Any]") -> float | None:
    """The time stamp of a packet in seconds, if it has one."""
    base = packet.time_base
    return None if packet.pts is None or base is None else packet.pts * base.numerator / base.denominator


def pictures(
    packets: "Iterable[av.Packet[Any]]", stream: VideoStream, wanted: Facts, elapsed: Callable[[], float]
) -> Iterator[Item]:
    """All pictures of a stream that is alone, at times on the clock `elapsed`."""
    restamp, reader = Restamp(), PictureReader(stream, wanted)
    for packet in packets:
        if packet.size:
            yield from reader.items(packet, restamp.stamp("video", stamp_s(packet), elapsed()))
