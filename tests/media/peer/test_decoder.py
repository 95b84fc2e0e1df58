import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import av
import pytest

from media.encoders.encoder import AccessUnit
from media.peer.decoder import QUEUE_UNITS, PictureDecoder
from media.peer.tally import Seen
from media.sources import counter
from media.sources.counter import Counter


def frame(number: int) -> av.VideoFrame:
    made = av.VideoFrame(320, 180, "yuv420p")
    plane = made.planes[0]
    luma = bytearray(plane.buffer_size)
    counter.draw(luma, plane.line_size, 320, Counter(number, 5))
    plane.update(bytes(luma))
    for chroma in made.planes[1:]:
        chroma.update(bytes([128]) * chroma.buffer_size)
    made.pts = number
    return made


def units(name: str, count: int) -> list[AccessUnit]:
    """A key frame and what builds on it."""
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 180, "yuv420p"
    encoder.framerate = 30
    encoder.options = {"tune": "zerolatency"} if name == "libx264" else {"lag-in-frames": "0", "deadline": "realtime"}
    packets = [packet for number in range(count) for packet in encoder.encode(frame(number))]
    return [AccessUnit(bytes(packet), index, packet.is_keyframe, 0.0) for index, packet in enumerate(packets)]


class Rig:
    def __init__(self) -> None:
        self.seen: Queue[Seen] = Queue()
        self.failed: Queue[None] = Queue()
        self.decoder = PictureDecoder(self.seen.put, lambda: self.failed.put(None))

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.decoder.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self.decoder.close()
            thread.join()


@pytest.mark.parametrize(("codec", "name"), [("H264", "libx264"), ("VP8", "libvpx")])
def test_each_picture_is_out_before_the_next_is_in(codec: str, name: str) -> None:
    rig = Rig()
    with rig.running():
        for number, unit in enumerate(units(name, 4)):
            rig.decoder.put(codec, unit)
            seen = rig.seen.get(timeout=15)
            assert (seen.width, seen.height, seen.size) == (320, 180, len(unit.data))
            assert seen.counter == Counter(number, 5)
    assert rig.failed.empty()


def test_a_codec_may_change_with_a_key_frame() -> None:
    rig = Rig()
    with rig.running():
        for codec, name in (("H264", "libx264"), ("VP8", "libvpx")):
            rig.decoder.put(codec, units(name, 1)[0])
            assert rig.seen.get(timeout=15).counter == Counter(0, 5)


def test_what_cannot_be_decoded_asks_for_a_key_frame() -> None:
    rig = Rig()
    with rig.running():
        rig.decoder.put("VP8", AccessUnit(b"\x00\x00", 0, True, 0.0))
        rig.failed.get(timeout=15)


def test_a_decoder_that_is_behind_drops_up_to_the_next_key_frame() -> None:
    rig = Rig()
    for number in range(QUEUE_UNITS + 3):
        rig.decoder.put("H264", AccessUnit(b"x", number, number == 0, 0.0))
    assert rig.decoder.dropped == QUEUE_UNITS + 3
    assert rig.failed.qsize() == 3
