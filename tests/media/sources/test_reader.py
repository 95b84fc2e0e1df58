"""Packets of a live source -> pictures."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from media.encoders.encoder import Codec
from media.sources.reader import BEHIND_S, Backlog, PictureReader, pictures, stamp_s
from media.sources.source import EncodedPicture, Facts, Picture
from tests.media.sources.clips import write_h264

RAW = Facts(64, 48, 25.0)
PASSED = Facts(160, 90, 25.0, passes=frozenset((Codec.H264,)))


@pytest.mark.parametrize("wanted", [RAW, PASSED])
def test_nothing_comes_before_the_first_key_frame(tmp_path: Path, wanted: Facts) -> None:
    with av.open(str(write_h264(tmp_path / "a.h264"))) as container:
        video = container.streams.video[0]
        reader = PictureReader(video, wanted)
        packets = [packet for packet in container.demux(video) if packet.size][3:]
        got = [item for number, packet in enumerate(packets) for item in reader.items(packet, number / 25)]
    assert got[0].time_s == 7 / 25
    if wanted is PASSED:
        assert {type(item) for item in got} == {EncodedPicture}
    else:
        assert {(item.frame.width, item.frame.height) for item in got if isinstance(item, Picture)} == {(64, 48)}


def test_damaged_packet_costs_its_own_picture(tmp_path: Path) -> None:
    with av.open(str(write_h264(tmp_path / "a.h264"))) as container:
        video = container.streams.video[0]
        packets = [packet for packet in container.demux(video) if packet.size]
        damaged = [av.Packet(b"\0\0\0\1\x65\xff\xff") if number == 4 else each for number, each in enumerate(packets)]
        for packet in damaged:
            packet.stream = video
        now = iter(range(1000))
        got = list(pictures(damaged, video, RAW, lambda: next(now) / 25))
    assert len(got) >= 15
    assert [item.time_s for item in got] == sorted(item.time_s for item in got)


def test_time_stamp_is_in_seconds() -> None:
    packet: av.Packet[av.VideoStream] = av.Packet(b"x")
    assert stamp_s(packet) is None
    packet.pts, packet.time_base = 90, Fraction(1, 1000)
    assert stamp_s(packet) == 0.09


def test_reading_that_never_waits_is_behind() -> None:
    backlog = Backlog()
    steps = [number * 0.04 for number in range(100)]
    assert not any(backlog.grows(now, now + 0.01) for now in steps), "it waited each time"
    behind = [now for now in steps if backlog.grows(4 + now, 4 + now)]
    assert len(behind) == 3
    assert behind[0] >= BEHIND_S


def test_who_is_behind_decodes_on_from_a_key_frame(tmp_path: Path) -> None:
    with av.open(str(write_h264(tmp_path / "a.h264"))) as container:
        video = container.streams.video[0]
        reader = PictureReader(video, RAW)
        got = []
        for number, packet in enumerate(packet for packet in container.demux(video) if packet.size):
            if number == 3:
                reader.skip_to_key()
            got += [item.time_s for item in reader.items(packet, float(number))]
    assert [time_s for time_s in got if 3 <= time_s < 10] == []
    assert got[-1] >= 18
