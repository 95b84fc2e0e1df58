"""Playlists of RFC 8216."""

from media.recording.names import Segment
from media.recording.playlist import playlist

START = 1_764_133_198_000  # 04:59:58 UTC
FIRST = Segment(7, 2, START, 2_000, "aaaaaaaa")
NEXT = Segment(8, 2, START + 2_000, 2_033, "aaaaaaaa")
RESTARTED = Segment(9, 3, START + 60_000, 1_000, "bbbbbbbb")


def test_a_playlist_that_grows_has_maps_dates_and_breaks() -> None:
    assert playlist([FIRST, NEXT, RESTARTED], is_complete=False).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-DISCONTINUITY-SEQUENCE:2",
        '#EXT-X-MAP:URI="init-aaaaaaaa.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2025-11-26T04:59:58.000Z",
        "#EXTINF:2.000,",
        FIRST.file,
        "#EXTINF:2.033,",
        NEXT.file,
        "#EXT-X-DISCONTINUITY",
        '#EXT-X-MAP:URI="init-bbbbbbbb.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2025-11-26T05:00:58.000Z",
        "#EXTINF:1.000,",
        RESTARTED.file,
    ]


def test_a_complete_playlist_over_hours_names_their_folders() -> None:
    lines = playlist([FIRST, NEXT], is_complete=True, with_hours=True).splitlines()
    assert "#EXT-X-PLAYLIST-TYPE:VOD" in lines
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert [line for line in lines if "/" in line] == [
        '#EXT-X-MAP:URI="2025-11-26T04Z/init-aaaaaaaa.mp4"',
        f"2025-11-26T04Z/{FIRST.file}",
        '#EXT-X-MAP:URI="2025-11-26T05Z/init-aaaaaaaa.mp4"',
        f"2025-11-26T05Z/{NEXT.file}",
    ]


def test_a_playlist_of_nothing_is_a_playlist() -> None:
    assert playlist([], is_complete=True).splitlines()[-1] == "#EXT-X-ENDLIST"
