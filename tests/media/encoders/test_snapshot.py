import io

import av
import pytest

from media.encoders import snapshot
from media.encoders.choose import Chains
from media.encoders.encoder import Codec, EncoderSettings, Shape
from media.encoders.snapshot import Jpeg, SnapshotError
from media.sources.pattern import PatternSource
from tests.media.pictures import captures


def decoded(jpeg: Jpeg) -> av.VideoFrame:
    with av.open(io.BytesIO(jpeg.data), format="mjpeg") as container:
        return next(container.decode(video=0))


def mean(frame: av.VideoFrame) -> float:
    gray = frame.reformat(format="gray").planes[0]
    return sum(bytes(gray)) / gray.buffer_size


def test_a_raw_picture_becomes_a_jpeg() -> None:
    (capture,) = captures(PatternSource(160, 90, 30), 1)
    jpeg = snapshot.still(capture.frame)
    assert (jpeg.width, jpeg.height) == (160, 90)
    shown = decoded(jpeg)
    assert (shown.width, shown.height) == (160, 90)
    assert abs(mean(shown) - mean(capture.frame)) < 4


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_a_key_frame_becomes_a_jpeg(codec: Codec) -> None:
    (capture,) = captures(PatternSource(160, 90, 30), 1)
    encoder = Chains().chain(codec, Shape(160, 90, 30.0), EncoderSettings()).open()
    (unit,) = encoder.encode(capture, True)
    encoder.close()
    assert abs(mean(decoded(snapshot.still_of_key(codec, unit.data))) - mean(capture.frame)) < 6


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00\x01\x65nonsense"])
def test_what_is_no_key_frame_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        snapshot.still_of_key(Codec.H264, data)
