"""The folder of one channel's recording on disk: written by one thread of one process, whole files only. Blocks.

A segment is written under another name, synced and then renamed, so a name always stands for a whole file, after
SIGKILL and after a power cut. The folder itself is not synced: a power cut may take the last seconds. Playlists are
made anew from the names of the segments, so they are not synced either.
"""

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import TypeVar

import msgspec

from media.control.aging import AgingTime
from media.control.ring import Ring, RingLimits
from media.recording import boxes, names
from media.recording.cutter import Piece
from media.recording.names import Segment
from media.recording.parameter_sets import ParameterSetError, ParameterSets
from media.recording.playlist import entry, header, playlist

log = logging.getLogger(__name__)
Result = TypeVar("Result")

INDEX_OLDEST_EVERY = 10
"""Of so many segments that the ring took, one has the playlist of the oldest hour written anew."""
PLAYLIST_BYTES = 256 * 1024
"""What the playlist of an hour may need; a full disk needs room for one beside the next segment."""
_FOLDER_MODE = 0o750
_FILE_MODE = 0o640
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of this user is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENOENT: "the folder is gone",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
}


class RecordingError(Exception):
    """Something cannot be recorded; the sentence says what is wrong with which folder."""


class FolderStats(msgspec.Struct):
    """Plain counters: segments and bytes written, segments given up by age, by size and for room on a full disk."""

    segments: int = 0
    segment_bytes: int = 0
    removed: int = 0


class Folder:
    """Records one channel into ROOT/ACCOUNT/CHANNEL; `wall` gives epoch seconds, `clock` monotonic ones.

    ROOT is made at the first write and never again: where it vanishes, a disk was taken away. Where there is a limit of
    size, a disk that is full before is one, too: the oldest makes room.
    """

    def __init__(
        self,
        root: Path,
        account: str,
        channel: str,
        limits: RingLimits,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = root / account / names.channel_folder(channel)
        self.stats = FolderStats()
        self._root = root
        self._wall = wall
        self._clock = clock
        self._aging = AgingTime()
        self._limits = limits
        self._ring: Ring[Segment] = Ring(limits)
        self._lock: int | None = None
        self._may_make_root = True
        self._is_said: set[str] = set()
        self._last: Segment | None = None
        self._current: list[Segment] = []
        self._lines: list[list[str]] = []
        self._inits: set[str] = set()
        self._since_oldest = 0
        self._made_init: tuple[ParameterSets, str, bytes] | None = None

    def open(self) -> None:
        """Make or find the folder, and mend what a crash left; does nothing when it is open. Raises: RecordingError."""
        with self._in_words():
            self._open()

    def write(self, piece: Piece) -> Segment:
        """Write a piece as the newest segment. Raises: RecordingError, and the piece is lost."""
        try:
            init = self._init_of(piece.sets)
        except ParameterSetError as error:
            raise RecordingError(str(error)) from None
        room_bytes = 2 * sum(len(unit.data) for unit in piece.video)
        with self._in_words():
            try:
                return self._with_room(partial(self._write, piece, init), room_bytes)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self.close()  # somebody removed it: once more from the beginning
                return self._write(piece, init)

    def tidy(self) -> None:
        """Write the playlist, and remove what the ring gives up. Raises: RecordingError."""
        if self._lock is None:
            return
        with self._in_words():
            self._give_up()
            self._with_room(self._index)

    def close(self, *, is_complete: bool = False) -> None:
        """Let go of the folder; `is_complete` ends its playlist. Raises: RecordingError."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            if is_complete:
                with self._in_words():
                    self._index(is_complete=True)
        finally:
            os.close(lock)

    def _give_up(self, most_bytes: int | None = None) -> None:
        """Remove what is too old and too much, or what is over `most_bytes` where that is less."""
        now_s = self._aging.now_s(self._wall(), self._clock())
        while True:
            hour = self._ring.unread(now_s, most_bytes)
            if hour is not None:
                self._ring.read((each, each.end_ms / 1000, size) for each, size in self._scan(hour))
            self._remove(self._ring.overdue(now_s, most_bytes))
            emptied = self._ring.drop_empty()
            if emptied is None:
                break
            self._remove_hour(emptied)

    def _with_room(self, step: Callable[[], Result], room_bytes: int = 0) -> Result:
        """Do `step`; where the disk is full, once more without the oldest. Raises: OSError."""
        try:
            return step()
        except OSError as error:
            if error.errno not in _FULL or not self._make_room(room_bytes + PLAYLIST_BYTES):
                raise
        return step()

    def _make_room(self, size_bytes: int) -> bool:
        """Remove the oldest of this size; False where nothing may go: without a limit of size all is to be kept."""
        if self._limits.max_bytes is None:
            return False
        before, kept_bytes = self.stats.removed, self._ring.size_bytes
        self._give_up(max(kept_bytes - size_bytes, 0))
        if self.stats.removed > before:
            self._say("recording shorter than its limit: the disk is full", kept_bytes)
        return self.stats.removed > before

    def _say(self, what: str, kept_bytes: int) -> None:
        """Say once that the disk and not the limit decides how much is kept."""
        if what not in self._is_said:
            self._is_said.add(what)
            extra = {"path": str(self.path), "kept_bytes": kept_bytes, "limit_bytes": self._limits.max_bytes}
            log.warning(what, extra=extra)

    def _init_of(self, sets: ParameterSets) -> tuple[str, bytes]:
        """The init of these parameter sets with its id; made once for many pieces."""
        made = self._made_init
        if made is None or made[0] != sets:
            init = boxes.init(sets)
            made = self._made_init = (sets, names.init_id(init), init)
        return made[1:]

    def _write(self, piece: Piece, init: tuple[str, bytes]) -> Segment:
        self._open()
        segment = self._next(piece, init[0])
        self._enter(segment.hour)
        folder = self.path / segment.hour
        if segment.init not in self._inits:
            _put(folder / names.init_file(segment.init), init[1])
            self._inits.add(segment.init)
        data = boxes.segment(segment.number, piece.runs(segment.start_ms - piece.start_ms))
        _put(folder / segment.file, data)
        before = self._current[-1] if self._current else None
        self._last = segment
        self._current.append(segment)
        self._lines.append(entry(segment, before))
        self._ring.add(segment.hour, segment, segment.end_ms / 1000, len(data))
        self.stats.segments += 1
        self.stats.segment_bytes += len(data)
        return segment

    def _next(self, piece: Piece, init: str) -> Segment:
        """Never before the end of the last one, whatever the clock says: two segments of one time cannot be played."""
        last = self._last
        if last is None:
            return Segment(0, 0, piece.start_ms, piece.duration_ms, init)
        start_ms = max(piece.start_ms, last.end_ms)
        goes_on = start_ms == last.end_ms and init == last.init and bool(self._current)
        return Segment(last.number + 1, last.stretch + (not goes_on), start_ms, piece.duration_ms, init)

    def _open(self) -> None:
        if self._lock is not None:
            return
        if self._may_make_root:
            self._may_make_root = False
            self._root.mkdir(parents=True, exist_ok=True)
        for folder in (self.path.parent, self.path):
            folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        self._take_lock()
        try:
            self._read()
            self._look_for_room()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        """Take over what is there."""
        self._ring.clear()
        self._last = None
        self._current, self._lines, self._inits = [], [], set()
        hours = sorted(entry.name for entry in os.scandir(self.path) if names.is_hour(entry.name))
        unfinished = []
        for number, hour in enumerate(hours):
            found = self._scan(hour, cleans=True)
            if not found:
                continue
            self._last = found[-1][0]
            self._ring.add_hour(hour, found[0][0].start_ms / 1000, sum(size for _, size in found))
            is_recent = number >= len(hours) - 2
            if is_recent or not (self.path / hour / names.PLAYLIST).exists():  # the others were complete
                unfinished.append(hour)
        if self._last is not None:
            self._aging.begin(self._last.end_ms / 1000, self._clock())
        for hour in unfinished:
            self._with_room(partial(self._finish, hour))

    def _finish(self, hour: str) -> None:
        """Write the playlist of an hour that a run before this one left."""
        found = [each for each, _ in self._scan(hour)]
        if found:
            self._put_index(hour, playlist(found, is_complete=True))

    def _look_for_room(self) -> None:
        disk = os.statvfs(self.path)
        fits_bytes = self._ring.size_bytes + disk.f_bavail * disk.f_frsize
        if self._limits.max_bytes is not None and fits_bytes < self._limits.max_bytes:
            self._say("recording will be shorter than its limit: the disk is too small", fits_bytes)

    def _take_lock(self) -> None:
        lock = os.open(self.path / names.LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise RecordingError(f"{self.path}: another process records this channel there") from None
        self._lock = lock

    def _scan(self, hour: str, *, cleans: bool = False) -> list[tuple[Segment, int]]:
        """The segments of an hour with their sizes, in order; `cleans` removes what a crash left half."""
        found: dict[Segment, int] = {}
        inits: set[str] = set()
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path / hour) as entries:
            for each in entries:
                segment, init = names.read_segment(each.name), names.read_init(each.name)
                if segment is not None:
                    found[segment] = each.stat(follow_symlinks=False).st_size
                elif init is not None:
                    inits.add(init)
                elif cleans and each.name.endswith(names.PART_SUFFIX):
                    Path(each.path).unlink(missing_ok=True)
        return [(segment, found[segment]) for segment in sorted(found) if segment.init in inits]

    def _enter(self, hour: str) -> None:
        """Make ready to write into this hour."""
        if self._current and self._current[-1].hour == hour:
            return
        if self._current:
            self._index(is_complete=True)
        self._current, self._lines, self._inits = [], [], set()
        folder = self.path / hour
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        self._current = [segment for segment, _ in self._scan(hour)]  # of a run before this one
        self._lines = [entry(each, before) for before, each in pairwise((None, *self._current)) if each]

    def _index(self, *, is_complete: bool = False) -> None:
        if not self._current:
            return
        lines = header(self._current[0], max(each.duration_ms for each in self._current), is_complete=is_complete)
        text = "\n".join([*lines, *chain.from_iterable(self._lines), *(["#EXT-X-ENDLIST"] if is_complete else [])])
        self._put_index(self._current[-1].hour, text + "\n")

    def _put_index(self, hour: str, text: str) -> None:
        _put(self.path / hour / names.PLAYLIST, text.encode(), is_synced=False)

    def _remove(self, segments: list[Segment]) -> None:
        for segment in segments:
            (self.path / segment.hour / segment.file).unlink(missing_ok=True)
            self.stats.removed += 1
        if not segments:
            return
        if self._current and segments[0].hour == self._current[-1].hour:
            del self._current[: len(segments)], self._lines[: len(segments)]
            if self._current:
                self._lines[0] = entry(self._current[0], None)
            return
        self._since_oldest += len(segments)
        left = self._ring.left()
        if left and self._since_oldest >= INDEX_OLDEST_EVERY:
            self._since_oldest = 0
            self._put_index(segments[0].hour, playlist(left, is_complete=True))

    def _remove_hour(self, hour: str) -> None:
        folder = self.path / hour
        if self._current and self._current[-1].hour == hour:
            return
        with contextlib.suppress(OSError):  # what others put there stays
            for each in folder.iterdir():
                if each.name == names.PLAYLIST or names.read_init(each.name):
                    each.unlink(missing_ok=True)
            folder.rmdir()

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = _WORDS.get(error.errno or 0, (error.strerror or "unknown reason").lower())
            raise RecordingError(f"{self.path}: {reason}") from None


def _put(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a whole file or none."""
    part = path.with_name(f".{path.name}{names.PART_SUFFIX}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if is_synced:
                os.fdatasync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
