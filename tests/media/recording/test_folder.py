"""The folder of a recording: whole files, numbers that go on, a ring, and clear words when the disk refuses."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import msgspec
import pytest

from media.control.aging import BELIEVED_S
from media.control.ring import RingLimits
from media.recording import names, parameter_sets
from media.recording.cutter import Piece
from media.recording.folder import Folder, RecordingError
from media.recording.names import Segment
from tests.media.recording.film import STEP, decode, pictures, sounds

ANCHOR_MS = 1_764_133_190_000  # 04:59:50 UTC
ACCOUNT = "000000000000"


def piece(number: int, *, anchor_ms: int = ANCHOR_MS, width: int = 160) -> Piece:
    """The number-th second of a film, with its sound."""
    film = pictures(90, width, 90)
    units = film[(number % 3) * 30 : (number % 3) * 30 + 30]
    shift = (number - number % 3) * 30 * STEP
    moved = [msgspec.structs.replace(unit, timestamp=unit.timestamp + shift) for unit in units]
    sets = parameter_sets.find(film[0].data)
    assert sets is not None
    heard = sounds()[(number % 3) * 50 : (number % 3) * 50 + 50]
    moved_sound = [msgspec.structs.replace(unit, timestamp=unit.timestamp + shift * 48 // 90) for unit in heard]
    return Piece(anchor_ms, sets, moved, (number + 1) * 30 * STEP, moved_sound)


class Rig:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = ANCHOR_MS / 1000
        self.jump_s = 0.0
        self.path = root / ACCOUNT / "demo"

    def folder(self, limits: RingLimits | None = None) -> Folder:
        clocks = (lambda: self.now_s + self.jump_s), (lambda: self.now_s - 1e9)
        return Folder(self.root, ACCOUNT, "demo", limits or RingLimits(), *clocks)

    def record(self, folder: Folder, *numbers: int) -> list[Segment]:
        segments = []
        for number in numbers:
            segments.append(folder.write(piece(number)))
            self.now_s = segments[-1].end_ms / 1000
            folder.tidy()
        return segments

    def segments(self) -> list[Segment]:
        found = (names.read_segment(path.name) for path in self.path.glob("*/*.m4s"))
        return sorted(each for each in found if each)

    def film(self) -> bytes:
        """All segments after one init, as a player gets them."""
        segments = self.segments()
        init = self.path / segments[0].hour / names.init_file(segments[0].init)
        return init.read_bytes() + b"".join((self.path / each.hour / each.file).read_bytes() for each in segments)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "recordings")


def test_every_picture_and_sound_comes_back_over_a_change_of_the_hour(rig: Rig) -> None:
    folder = rig.folder()
    segments = rig.record(folder, *range(12))
    folder.close(is_complete=True)
    assert [each.number for each in segments] == list(range(12))
    assert {each.stretch for each in segments} == {0}
    assert [path.name for path in sorted(rig.path.iterdir()) if path.name[0] != "."] == [
        "2025-11-26T04Z",
        "2025-11-26T05Z",
    ]
    seen, heard = decode(rig.film())
    assert (len(seen), len(heard)) == (360, 600)
    for hour in ("2025-11-26T04Z", "2025-11-26T05Z"):
        text = (rig.path / hour / names.PLAYLIST).read_text()
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert [line for line in text.splitlines() if line.endswith(".m4s")] == [
            each.file for each in segments if each.hour == hour
        ]
    assert not list(rig.path.rglob("*.part"))


def test_a_playlist_can_be_played_from_the_disk(rig: Rig) -> None:
    folder = rig.folder()
    rig.record(folder, 0, 1, 2)
    folder.close(is_complete=True)
    with av.open(str(rig.path / "2025-11-26T04Z" / names.PLAYLIST)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 90


def test_a_restart_goes_on_in_the_same_folder_after_a_break(rig: Rig) -> None:
    first = rig.folder()
    rig.record(first, 0, 1)
    hour = rig.path / "2025-11-26T04Z"
    (hour / names.PLAYLIST).unlink()  # killed before it was written
    (hour / ".2-0-x.m4s.part").write_bytes(b"half")
    os.close(first._lock or 0)  # as SIGKILL does
    second = rig.folder()
    second.open()
    assert (hour / names.PLAYLIST).read_text().count(".m4s") == 2
    assert not list(hour.glob(".*.part"))
    (restarted,) = rig.record(second, 4)
    assert (restarted.number, restarted.stretch) == (2, 1)
    lines = (hour / names.PLAYLIST).read_text().splitlines()
    assert lines.count("#EXT-X-DISCONTINUITY") == 1
    assert lines[lines.index("#EXT-X-DISCONTINUITY") :][-1] == restarted.file


def test_a_clock_set_back_never_makes_two_segments_of_one_time(rig: Rig) -> None:
    folder = rig.folder()
    rig.record(folder, 0, 1)
    behind = folder.write(piece(2, anchor_ms=ANCHOR_MS - 60_000))
    assert behind.start_ms == ANCHOR_MS + 2_000
    assert decode(rig.film())[0][-1] == pytest.approx(ANCHOR_MS / 1000 + 2 + 29 / 30, abs=1e-3)


def test_lost_pieces_and_new_parameter_sets_break_the_stretch(rig: Rig) -> None:
    folder = rig.folder()
    rig.record(folder, 0, 2)
    other = folder.write(piece(3, width=320))
    folder.tidy()
    assert [each.stretch for each in rig.segments()] == [0, 1, 2]
    text = (rig.path / other.hour / names.PLAYLIST).read_text()
    assert text.count("#EXT-X-MAP") == 2
    assert len(list(rig.path.glob("*/init-*.mp4"))) == 2


def test_the_ring_by_age_keeps_what_is_young_and_drops_empty_hours(rig: Rig) -> None:
    folder = rig.folder(RingLimits(max_age_s=5))
    rig.record(folder, *range(20))
    assert [each.number for each in rig.segments()] == list(range(14, 20))
    assert [path.name for path in rig.path.iterdir() if path.is_dir()] == ["2025-11-26T05Z"]
    text = (rig.path / "2025-11-26T05Z" / names.PLAYLIST).read_text()
    assert "#EXT-X-MEDIA-SEQUENCE:14" in text
    assert text.count(".m4s") == 6
    assert folder.stats.removed == 14
    rig.now_s += 100
    folder.tidy()
    assert rig.segments() == []
    assert rig.record(folder, 130)[0].number == 20


def test_a_clock_that_jumps_forward_removes_nothing_before_it_has_stayed_there(rig: Rig) -> None:
    day_s = 86_400.0
    first = rig.folder(RingLimits(max_age_s=7 * day_s))
    rig.record(first, 0, 1, 2)
    rig.jump_s = 30 * day_s
    first.tidy()
    rig.jump_s = 0
    rig.record(first, 3)
    first.close()
    rig.jump_s = 30 * day_s
    second = rig.folder(RingLimits(max_age_s=7 * day_s))
    rig.record(second, 4)
    assert [each.number for each in rig.segments()] == [0, 1, 2, 3, 4]
    rig.now_s += BELIEVED_S
    second.tidy()
    assert rig.segments() == []


def test_the_ring_by_size_counts_what_an_earlier_run_left(rig: Rig) -> None:
    first = rig.folder()
    rig.record(first, *range(8))
    first.close()
    total = sum(path.stat().st_size for path in rig.path.glob("*/*.m4s"))
    second = rig.folder(RingLimits(max_bytes=total // 2))
    rig.record(second, 8, 9)
    kept = rig.segments()
    assert [each.number for each in kept] == list(range(kept[0].number, 10))
    assert sum(path.stat().st_size for path in rig.path.glob("*/*.m4s")) <= total // 2


def test_two_processes_never_record_one_channel_into_one_folder(rig: Rig) -> None:
    first, second = rig.folder(), rig.folder()
    first.open()
    with pytest.raises(RecordingError, match="another process records"):
        second.open()
    first.close()
    second.open()


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "input/output error")],
)
def test_what_the_disk_refuses_is_said_in_words_and_leaves_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    folder = rig.folder()
    rig.record(folder, 0)

    def refuse(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refuse)
        with pytest.raises(RecordingError, match=words):
            folder.write(piece(1))
    assert not list(rig.path.rglob(".*.part"))
    assert rig.record(folder, 2)[0].stretch == 1


@pytest.fixture
def small_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the disk of the rig so small, in bytes."""
    room = [1 << 40]
    replace = Path.replace

    def checked(part: Path, target: Path) -> Path:
        if sum(path.stat().st_size for path in rig.root.rglob("*") if path.is_file()) > room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", checked)
    return lambda size: room.insert(0, size)


def size_of(segments: list[Segment], root: Path) -> int:
    return sum(path.stat().st_size for each in segments for path in root.rglob(each.file))


def test_on_a_disk_smaller_than_its_limit_the_newest_is_kept(
    rig: Rig, small_disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = rig.folder(RingLimits(max_bytes=10_000_000))
    four = size_of(rig.record(folder, 0, 1, 2, 3), rig.root)
    small_disk(four + 4_000)
    rig.record(folder, *range(4, 30))
    kept = [each.number for each in rig.segments()]
    assert kept == list(range(kept[0], 30))
    assert folder.stats.removed == kept[0] > 0
    folder.close(is_complete=True)
    assert (rig.path / "2025-11-26T05Z" / names.PLAYLIST).read_text().count(".m4s") == len(kept)
    assert [record.getMessage() for record in caplog.records] == ["recording shorter than its limit: the disk is full"]


def test_a_full_disk_takes_nothing_that_is_to_be_kept_without_a_limit(
    rig: Rig, small_disk: Callable[[int], None]
) -> None:
    folder = rig.folder(RingLimits(max_age_s=1e6))
    small_disk(size_of(rig.record(folder, 0, 1, 2, 3), rig.root))
    with pytest.raises(RecordingError, match="the disk is full"):
        folder.write(piece(4))
    assert len(rig.segments()) == 4


def test_a_restart_on_a_full_disk_makes_room_for_its_playlists(rig: Rig, small_disk: Callable[[int], None]) -> None:
    first = rig.folder()
    rig.record(first, *range(6))
    first.close()
    small_disk(sum(path.stat().st_size for path in rig.root.rglob("*") if path.is_file()))
    second = rig.folder(RingLimits(max_bytes=10_000_000))
    second.open()
    assert [each.number for each in rig.segments()] == [5]
    assert rig.record(second, 6)[0].number == 6


def test_a_disk_that_is_too_small_is_told_at_the_start(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    for limits in (RingLimits(), RingLimits(max_bytes=1), RingLimits(max_bytes=1 << 62)):
        folder = rig.folder(limits)
        folder.open()
        folder.close()
        folder.open()
        folder.close()
    (said,) = caplog.records
    assert said.getMessage() == "recording will be shorter than its limit: the disk is too small"
    assert vars(said)["limit_bytes"] == 1 << 62


def test_a_channel_whose_folder_was_removed_begins_anew_but_a_vanished_disk_is_lost(rig: Rig) -> None:
    folder = rig.folder()
    rig.record(folder, 0)
    shutil.rmtree(rig.path)
    assert rig.record(folder, 1)[0].number == 0
    shutil.rmtree(rig.root)
    with pytest.raises(RecordingError, match="the folder is gone"):
        folder.write(piece(2))
    rig.root.mkdir()
    assert rig.record(folder, 3)
    folder.close()
    folder.close()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = Folder(tmp_path / "file", ACCOUNT, "demo", RingLimits())
    with pytest.raises(RecordingError, match="a file is where a folder should be"):
        folder.open()
    damaged = msgspec.structs.replace(piece(0), sets=parameter_sets.ParameterSets(b"\x67", b"\x68"))
    with pytest.raises(RecordingError, match="parameter set"):
        folder.write(damaged)
