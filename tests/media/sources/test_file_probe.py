"""What a media file holds, and what of it is passed on."""

from pathlib import Path

from media.encoders.encoder import Codec
from media.sources.file_probe import probe
from tests.media.pictures import write_clip
from tests.media.sources.clips import write_h264

H264, OPUS = Codec.H264, Codec.OPUS


FILES = [
    ("baseline", True, False, {H264, OPUS}, "passed on"),
    ("baseline", True, True, set(), "as wished"),
    ("main", True, False, {OPUS}, "H.264 Main"),
    ("baseline", False, False, {H264}, "passed on"),
]


def test_what_fits_is_passed(tmp_path: Path) -> None:
    for profile, opus, transcode, passes, words in FILES:
        facts = probe(write_h264(tmp_path / "a.mkv", profile=profile, opus=opus, pictures=6), transcode)
        assert (facts.passes, facts.has_audio, facts.width, facts.height, facts.fps) == (passes, opus, 160, 90, 25)
        assert words in facts.note


def test_still_is_encoded_since_nobody_wants_its_key_frame_25_times_a_second(tmp_path: Path) -> None:
    facts = probe(write_h264(tmp_path / "a.mp4", pictures=1), transcode=False)
    assert (facts.passes, facts.note) == (set(), "a still, encoded anew")


def test_other_codecs_are_encoded_anew(tmp_path: Path) -> None:
    assert probe(write_clip(tmp_path / "a.mp4"), transcode=False).passes == set()


def test_bare_h264_runs_at_the_rate_that_it_tells(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.h264", pictures=3)
    assert probe(path, transcode=False).fps == 25
