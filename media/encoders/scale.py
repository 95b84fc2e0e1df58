"""Pictures of a smaller layer: scaled once, however many encoders of that layer there are."""

import threading

import av
import msgspec
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from media.encoders.encoder import AccessUnit, Capture, VideoCapture, VideoEncoder
from media.encoders.worker import Chain


class Scaler:
    """Scales captures to one size; the last result is kept, so the second encoder of the layer gets it for nothing.

    It runs in the threads of the encoders: the first that takes a picture scales it, the other waits for that.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._lock = threading.Lock()
        self._reformatter = VideoReformatter()
        self._last: tuple[int, VideoCapture] | None = None
        self.scaled = 0

    def scale(self, capture: VideoCapture) -> VideoCapture:
        """The same capture with a picture of this size."""
        with self._lock:
            if self._last is None or self._last[0] != capture.timestamp:
                self._last = (
                    capture.timestamp,
                    Capture(self._scaled(capture.frame), capture.timestamp, capture.captured_at),
                )
            return self._last[1]

    def _scaled(self, frame: av.VideoFrame) -> av.VideoFrame:
        self.scaled += 1
        scaled = self._reformatter.reformat(
            frame, self._width, self._height, "yuv420p", interpolation=Interpolation.FAST_BILINEAR, threads=1
        )
        scaled.pict_type = PictureType.NONE
        return scaled


class LayerEncoder:
    """An encoder behind a scaler; its access units bear the number of the layer."""

    def __init__(self, encoder: VideoEncoder, scaler: Scaler, layer: int) -> None:
        self._encoder = encoder
        self._scaler = scaler
        self._layer = layer
        self.name = encoder.name
        self.bitrate_costs_key = encoder.bitrate_costs_key

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        """Scale and encode one picture; see `Encoder`."""
        units = self._encoder.encode(self._scaler.scale(capture), is_key)
        return [msgspec.structs.replace(unit, layer=self._layer) for unit in units]

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate; see `Encoder`."""
        self._encoder.set_bitrate(bitrate_bps)

    def close(self) -> None:
        """Free the codec; idempotent."""
        self._encoder.close()


class LayerChain:
    """A chain of encoders behind a scaler; see `Chain`."""

    def __init__(self, chain: Chain[av.VideoFrame], scaler: Scaler, layer: int) -> None:
        self._chain: Chain[av.VideoFrame] = chain
        self._scaler = scaler
        self._layer = layer

    @property
    def stall_s(self) -> float | None:
        """How long the encoder of the next `open` may give nothing."""
        return self._chain.stall_s

    def open(self) -> LayerEncoder:
        """Open the encoder whose turn it is."""
        return LayerEncoder(self._chain.open(), self._scaler, self._layer)

    def failed(self, error: Exception) -> bool:
        """Take note of a failure."""
        return self._chain.failed(error)

    def gave_up(self, ended: threading.Event) -> None:
        """The driver keeps its thread until `ended`."""
        self._chain.gave_up(ended)
