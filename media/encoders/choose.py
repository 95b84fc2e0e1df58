"""Which encoder for which codec, and which comes next when one fails."""

import logging
import threading
from collections.abc import Callable, Mapping

from media.encoders import backends, failure
from media.encoders.backends import Backend, Route
from media.encoders.encoder import AudioEncoder, Codec, EncoderError, EncoderSettings, Shape, VideoEncoder
from media.encoders.external import ExternalEncoder
from media.encoders.failure import StallError
from media.encoders.hardware import HardwareEncoder
from media.encoders.opus import OpusEncoder
from media.encoders.software import VpxEncoder, X264Encoder

log = logging.getLogger(__name__)

STALL_S = 0.5
"""How long a device may give nothing for the pictures it gets."""
STALL_EXTERNAL_S = 2.0
"""The same for a program, which is restarted for each key frame."""
STALL_PICTURES = 4
"""The same in pictures, for slow sources."""

Opener = Callable[[Backend, Shape, EncoderSettings], VideoEncoder]


def _open_software(backend: Backend, shape: Shape, settings: EncoderSettings) -> VideoEncoder:
    return {"x264": X264Encoder, "vpx": VpxEncoder}[backend.name](shape, settings)


OPENERS: Mapping[Route, Opener] = {
    Route.SOFTWARE: _open_software,
    Route.HARDWARE: HardwareEncoder,
    Route.EXTERNAL: ExternalEncoder,
}


def check_name(name: str) -> None:
    """Refuse an encoder name that is not known.

    Raises: EncoderError: show its text to the operator.
    """
    if name not in backends.NAMES:
        raise EncoderError(f'there is no encoder "{name}"; known are: {", ".join(backends.NAMES)}')


class Chains:
    """Makes the chains of one feed: what failed in one of them for good is left out of all that are opened later."""

    def __init__(self, openers: Mapping[Route, Opener] = OPENERS) -> None:
        self._openers = openers
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._hanging: dict[str, list[threading.Event]] = {}
        self.fallbacks: dict[str, int] = {}
        """How often one encoder took over from another, by `from/to/reason`."""

    def chain(self, codec: Codec, shape: Shape, settings: EncoderSettings) -> "EncoderChain":
        """The chain of one encoder worker."""
        return EncoderChain(codec, shape, settings, self)

    def open(self, backend: Backend, shape: Shape, settings: EncoderSettings) -> VideoEncoder:
        """Open one encoder. Raises: EncoderError, av.FFmpegError: it does not open."""
        with self._lock:
            hanging = [ended for ended in self._hanging.get(backend.name, ()) if not ended.is_set()]
            self._hanging[backend.name] = hanging
        if hanging:
            raise StallError(f"the driver has not come back from {len(hanging)} attempts before this one")
        if backend.route not in self._openers:
            raise EncoderError(f"{backend.name} cannot be opened here")
        return self._openers[backend.route](backend, shape, settings)

    def gave_up(self, backend: Backend, ended: threading.Event) -> None:
        """Open no further one until a driver has come back: each would cost a thread, and what the driver holds."""
        with self._lock:
            self._hanging.setdefault(backend.name, []).append(ended)

    def has_failed(self, backend: Backend) -> bool:
        """Whether it is left out until the next start."""
        return backend.name in self._failed

    def fell_back(self, before: Backend, after: Backend, reason: failure.Failure) -> None:
        """Count and log a change, and remember the one that failed if its reason lasts."""
        key = f"{before.name}/{after.name}/{reason.kind.value}"
        with self._lock:
            self.fallbacks[key] = self.fallbacks.get(key, 0) + 1
            if reason.kind.lasts:
                self._failed.add(before.name)
        log.warning("encoder fell back", extra={"from": before.name, "to": after.name, "reason": reason.words})


class EncoderChain:
    """The encoders of one codec and size, best first: `open` gives the first that did not fail.

    A pinned encoder stays: after it failed, `open` tries the same one again.
    """

    def __init__(self, codec: Codec, shape: Shape, settings: EncoderSettings, chains: Chains | None = None) -> None:
        check_name(settings.encoder)
        self._shape = shape
        self._settings = settings
        self._chains = chains or Chains()
        self._order = list(backends.order(codec.value, settings.encoder, settings.usable))
        if not self._order:
            raise EncoderError(f"{codec.value} is not a video codec")
        self._opened = self._order[0]

    @property
    def backend(self) -> Backend:
        """What `open` opens: the first that failed neither here nor in another chain."""
        while len(self._order) > 1 and self._chains.has_failed(self._order[0]):
            self._order.pop(0)
        return self._order[0]

    @property
    def stall_s(self) -> float | None:
        """How long this encoder may give nothing; None for software, which is slow but never hangs."""
        if self.backend.is_software:
            return None
        least_s = STALL_EXTERNAL_S if self.backend.route is Route.EXTERNAL else STALL_S
        return max(least_s, STALL_PICTURES / self._shape.fps)

    def open(self) -> VideoEncoder:
        """Open the encoder whose turn it is.

        Raises: EncoderError, av.FFmpegError: it does not open; tell `failed` and open again.
        """
        self._opened = self.backend
        return self._chains.open(self._opened, self._shape, self._settings)

    def failed(self, error: Exception) -> bool:
        """Take note that the encoder failed; whether `open` gives another one now, so that no wait is needed."""
        before = self._opened
        if self.backend is before and len(self._order) > 1:
            self._order.pop(0)
        if self.backend is before:
            return False
        self._chains.fell_back(before, self.backend, failure.of(error, before.name))
        return True

    def gave_up(self, ended: threading.Event) -> None:
        """The encoder that was opened last keeps its thread until `ended`, here and in other chains."""
        self._chains.gave_up(self._opened, ended)


class AudioChain:
    """The one encoder of sound: after a failure the same is opened again."""

    stall_s: float | None = None

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings

    def open(self) -> AudioEncoder:
        """Open the Opus encoder. Raises: av.FFmpegError: it does not open."""
        return OpusEncoder(self._settings)

    def failed(self, _: Exception) -> bool:
        """There is no other one."""
        return False

    def gave_up(self, ended: threading.Event) -> None:
        """Software comes back."""
