"""Names of files and folders: read back as written, and never a way out of the folder."""

import pytest

from media.recording import names
from media.recording.names import Segment

SEGMENT = Segment(12, 3, 1_764_131_051_234, 2_000, "0a1b2c3d")


def test_a_segment_is_read_back_from_its_name() -> None:
    assert SEGMENT.file == "12-3-1764131051234-2000-0a1b2c3d.m4s"
    assert names.read_segment(SEGMENT.file) == SEGMENT
    assert (SEGMENT.end_ms, SEGMENT.hour) == (1_764_131_053_234, "2025-11-26T04Z")


@pytest.mark.parametrize(
    "name",
    ["index.m3u8", "../1-1-1-1-0a1b2c3d.m4s", "1-1-1-0-0a1b2c3d.m4s", "01-1-1-1-0a1b2c3d.m4s", ".1-1-1-1-0a1b2c3d.m4s",
     "1-1-1-1-0a1b2c3d.m4s\n", "1-1-1-1-0A1B2C3D.m4s", "\u0661-1-1-1-0a1b2c3d.m4s"],
)  # fmt: skip
def test_other_names_are_no_segments(name: str) -> None:
    assert names.read_segment(name) is None


def test_inits_hours_and_accounts_are_told_from_other_names() -> None:
    assert names.read_init(names.init_file(names.init_id(b"x"))) == names.init_id(b"x")
    assert names.read_init("init-../a.mp4") is None
    assert names.is_hour("2025-11-26T04Z")
    assert not names.is_hour("..")
    assert names.is_account("000000000000")
    assert not names.is_account("../000000000")


def test_no_two_channels_share_a_folder_and_none_leaves_its_account() -> None:
    channels = ["demo", ".", "..", "...", ".demo", "x" * 256, "x" * 255, "." * 256, "%2E".replace("%", "_"), "a..b"]
    folders = [names.channel_folder(channel) for channel in channels]
    assert len(set(folders)) == len(channels)
    assert folders[0] == "demo"
    assert not any(folder.startswith(".") or "/" in folder or len(folder) > 255 for folder in folders)


@pytest.mark.parametrize("channel", ["", "a/b", "%2E", "a\0", "x" * 257, "ä"])
def test_what_is_no_channel_has_no_folder(channel: str) -> None:
    with pytest.raises(ValueError, match="no channel's name"):
        names.channel_folder(channel)


def test_a_channel_is_read_back_from_its_folder_unless_it_was_shortened() -> None:
    for channel in ("demo", ".demo", "..", "a..b"):
        assert names.read_channel(names.channel_folder(channel)) == channel
    for folder in (names.channel_folder("x" * 256), "%2Fdemo", ".demo", "a b", "%2E%2E"):
        assert names.read_channel(folder) is None
