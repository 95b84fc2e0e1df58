"""Reading recordings: times, windows, bytes; and nothing that lies outside, is a link, or is another account's."""

import os
from pathlib import Path

import pytest

from media.recording.library import Library, Stretch
from media.recording.names import HOUR_MS, Segment, hour_name

START = 1_764_133_190_000  # 04:59:50 UTC
ACCOUNT = "000000000000"
CONTENT = bytes(range(100))


def put(root: Path, *segments: Segment, channel: str = "demo", account: str = ACCOUNT) -> None:
    for segment in segments:
        path = root / account / channel / segment.hour / segment.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)


def row(first: int, count: int, start_ms: int, stretch: int = 0) -> list[Segment]:
    return [Segment(first + n, stretch, start_ms + 2_000 * n, 2_000, "aaaaaaaa") for n in range(count)]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    put(tmp_path, *row(0, 10, START), *row(10, 3, START + 60_000, 1))
    return Library(tmp_path)


def test_stretches_join_over_hours_and_part_at_gaps(library: Library, tmp_path: Path) -> None:
    expected = [Stretch(START, START + 20_000), Stretch(START + 60_000, START + 66_000)]
    assert library.stretches(ACCOUNT, "demo") == expected
    assert library.newest_ms(ACCOUNT, "demo") == START + 66_000
    put(tmp_path, *row(13, 1, START + 66_000, 1))
    assert library.stretches(ACCOUNT, "demo") == [expected[0], Stretch(START + 60_000, START + 68_000)]
    assert library.stretches(ACCOUNT, "other") is None
    assert library.newest_ms(ACCOUNT, "other") is None
    (tmp_path / ACCOUNT / "empty").mkdir()
    assert library.stretches(ACCOUNT, "empty") == []
    assert library.newest_ms(ACCOUNT, "empty") is None
    assert library.channels(ACCOUNT) == ["demo", "empty"]


def test_a_window_has_what_overlaps_it(library: Library) -> None:
    def numbers(start: int, end: int) -> list[int]:
        return [each.number for each in library.segments(ACCOUNT, "demo", START + start, START + end)]

    assert numbers(3_000, 12_000) == [1, 2, 3, 4, 5]
    assert numbers(2_000, 4_000) == [1]
    assert numbers(20_000, 60_000) == []
    assert numbers(-HOUR_MS, HOUR_MS) == list(range(13))


def test_a_segment_that_begins_in_one_hour_is_found_from_the_next(tmp_path: Path) -> None:
    border = START // HOUR_MS * HOUR_MS + HOUR_MS
    put(tmp_path, Segment(0, 0, border - 1_000, 2_000, "aaaaaaaa"))
    assert len(Library(tmp_path).segments(ACCOUNT, "demo", border + 500, border + 600)) == 1


def test_bytes_come_whole_or_by_span(library: Library) -> None:
    segment = row(0, 1, START)[0]
    blob = library.read(ACCOUNT, "demo", segment.hour, segment.file)
    assert blob is not None
    assert (blob.data, blob.size) == (CONTENT, 100)
    part = library.read(ACCOUNT, "demo", segment.hour, segment.file, slice(10, 20))
    assert part is not None
    assert (part.data, part.size) == (CONTENT[10:20], 100)


@pytest.mark.parametrize(
    ("account", "channel", "hour", "file"),
    [
        ("111111111111", "demo", hour_name(START), row(0, 1, START)[0].file),
        ("..", "demo", hour_name(START), row(0, 1, START)[0].file),
        (ACCOUNT, "..", hour_name(START), row(0, 1, START)[0].file),
        (ACCOUNT, "demo", "..", row(0, 1, START)[0].file),
        (ACCOUNT, "demo", hour_name(START), "../../secret"),
        (ACCOUNT, "demo", hour_name(START), ".lock"),
        (ACCOUNT, "demo", hour_name(START), row(99, 1, START)[0].file),
    ],
)
def test_what_is_no_file_of_a_recording_is_not_read(
    library: Library, tmp_path: Path, account: str, channel: str, hour: str, file: str
) -> None:
    (tmp_path.parent / "secret").write_text("secret")
    assert library.read(account, channel, hour, file) is None


def test_links_and_pipes_are_not_followed(library: Library, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    hour = tmp_path / ACCOUNT / "demo" / hour_name(START)
    linked, pipe = row(50, 2, START)
    (hour / linked.file).symlink_to(secret)
    os.mkfifo(hour / pipe.file)
    assert library.read(ACCOUNT, "demo", hour.name, linked.file) is None
    assert library.read(ACCOUNT, "demo", hour.name, pipe.file) is None
    (tmp_path / "111111111111").symlink_to(tmp_path / ACCOUNT)
    assert library.channels("111111111111") == []
    (tmp_path / ACCOUNT / "front").symlink_to(hour.parent)
    assert library.stretches(ACCOUNT, "front") is None


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    library = Library(tmp_path / "nowhere")
    assert (library.channels(ACCOUNT), library.stretches(ACCOUNT, "demo")) == ([], None)
    assert library.segments(ACCOUNT, "demo", 0, START) == []
