"""Cameras and capture cards of Linux: raw pictures, MJPEG, or H.264 of the camera."""

import errno
import os
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import av
from av.container import InputContainer

from media.encoders.encoder import Codec
from media.h264 import ParameterSets
from media.sources import v4l2_modes
from media.sources.fit import even_size
from media.sources.passing import verdict
from media.sources.reader import pictures
from media.sources.source import Facts, Item, SetupError, SourceError
from media.sources.uri import V4l2
from media.sources.v4l2_modes import Mode

READ_S = 5.0
_LOOKED_AT = 60
"""Packets in which a camera must have told its parameter sets."""


class V4l2Stream:
    """An open device; see `live.Stream`.

    Raises: SetupError: it may not be opened, or does not do what is wished; SourceError: it is missing, or taken.
    """

    def __init__(self, place: V4l2) -> None:
        self._device = place.device
        mode = self._mode(place)
        fps = v4l2_modes.rate(mode, place.fps)
        options = {"video_size": f"{mode.width}x{mode.height}", "framerate": f"{fps:g}", "probesize": "32"}
        options["input_format"] = mode.format
        try:
            self._container: InputContainer = av.open(
                place.device, format="v4l2", options=options, timeout=(None, READ_S)
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _failure(self._device, error) from error
        self._looked_at: list[av.Packet[Any]] = []
        try:
            self.facts = self._look(mode, fps, place.transcode)
        except BaseException:
            self.close()
            raise

    def _mode(self, place: V4l2) -> Mode:
        try:
            descriptor = v4l2_modes.open_device(place.device)
        except OSError as error:
            raise _failure(place.device, error) from error
        try:
            return v4l2_modes.choose(v4l2_modes.read_modes(descriptor), place)
        except OSError as error:
            raise _failure(place.device, error) from error
        except SourceError as error:
            raise SetupError(f"{place.device}: {error}") from None
        finally:
            os.close(descriptor)

    def _look(self, mode: Mode, fps: float, transcode: bool) -> Facts:
        width, height = even_size(mode.width, mode.height, self._device)
        if mode.format != "h264":
            return Facts(width, height, fps, note=f"{mode}, encoded")
        sets = ParameterSets()
        for packet in islice(self._packets(), _LOOKED_AT):
            self._looked_at.append(packet)
            sets.complete(bytes(packet))
            if sets.sps is not None:
                break
        is_passed, note = verdict(sets, not transcode)
        return Facts(width, height, fps, passes=frozenset((Codec.H264,)) if is_passed else frozenset(), note=note)

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        try:
            yield from (packet for packet in self._container.demux(self._container.streams.video[0]) if packet.size)
        except (av.FFmpegError, OSError) as error:
            raise _failure(self._device, error) from error

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        """Pictures; see `live.Stream`."""
        packets, self._looked_at = chain(self._looked_at, self._packets()), []
        yield from pictures(packets, self._container.streams.video[0], wanted, elapsed)

    def close(self) -> None:
        """Give the device back."""
        self._container.close()

    def abort(self) -> None:
        """Nothing can be done: reading ends when a picture comes, or never."""


def _failure(device: str, error: Exception) -> SourceError:
    """What an error means: those that time may heal are no SetupError."""
    code = getattr(error, "errno", None)
    match code:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return SourceError(f"{device} is not there; is the camera plugged in? ls /dev/video* lists what there is")
        case errno.EBUSY:
            return SourceError(f"{device} is used by another program; fuser {device} names it")
        case errno.EACCES | errno.EPERM:
            return SetupError(f"{device} may not be opened; its group, often video, may: usermod -aG video USER")
        case errno.ENOTTY | errno.EINVAL:
            return SetupError(f"{device} is no V4L2 capture device")
    return SourceError(f"{device} cannot be read: {os.strerror(code) if code else type(error).__name__}")
