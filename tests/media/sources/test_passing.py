"""H.264 that viewers take as it is."""

from pathlib import Path

import av

from media import h264
from media.h264 import ParameterSets
from media.sources.passing import H264Passer, usual_fps, verdict
from media.sources.source import EncodedPicture
from tests.media.sources.clips import shades, write_h264


def passed(path: Path, leave_out: int = 0) -> list[EncodedPicture]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        passer = H264Passer(video)
        packets = [packet for packet in container.demux(video) if packet.size]
        pictures = [passer.picture(packet, number / 25) for number, packet in enumerate(packets) if number >= leave_out]
        return [picture for picture in pictures if picture is not None]


NAMES = ["a.mp4", "a.mkv", "a.h264"]


def test_every_key_frame_can_be_decoded_alone(tmp_path: Path) -> None:
    for name in NAMES:
        got = passed(write_h264(tmp_path / name))
        assert [picture.is_key for picture in got] == [number % 10 == 0 for number in range(20)]
        for picture in got:
            kinds = [h264.kind(unit) for unit in h264.nal_units(picture.data)]
            assert ({7, 8} <= set(kinds)) is picture.is_key
        assert len(shades(got)) == 20
        assert len(shades(got[10:])) == 10


def test_nothing_comes_before_the_first_key_frame(tmp_path: Path) -> None:
    got = passed(write_h264(tmp_path / "a.mp4"), leave_out=3)
    assert [round(picture.time_s * 25) for picture in got] == list(range(10, 20))


PROFILES = [("baseline", True, "passed on"), ("main", False, "Main, which not every viewer decodes")]


def test_baseline_alone_is_passed(tmp_path: Path) -> None:
    for profile, is_passed, words in PROFILES:
        with av.open(str(write_h264(tmp_path / "a.mp4", profile=profile, pictures=2))) as container:
            video = container.streams.video[0]
            sets = ParameterSets(video.codec_context.extradata or b"")
            assert usual_fps(video, sets) == 25
        passes, note = verdict(sets)
        assert passes is is_passed
        assert words in note
        assert verdict(sets, is_wanted=False)[0] is False
        assert verdict(ParameterSets())[0] is False
