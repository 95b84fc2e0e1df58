"""Reads what masters have recorded under a folder: which channels, when, and the files. Blocks; writes nothing.

Every name is checked and every step opened without following links, so nothing outside of the folder is ever read,
whatever lies in it.
"""

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from media.recording import names
from media.recording.names import HOUR_MS, Segment

FILE_LIMIT = 64 * 1024 * 1024
_JOIN_MS = 100
_HOURS_KNOWN = 4_096
_LINKS = (errno.ELOOP, errno.EMLINK, errno.ENXIO)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Stretch(msgspec.Struct, frozen=True):
    """A time without a break in which there is a recording, in epoch ms; `end` is not part of it."""

    start: int
    end: int


class Blob(msgspec.Struct, frozen=True):
    """A recorded file: what it holds between two bytes, its whole size, and when it was written (ns)."""

    data: bytes
    size: int
    written_ns: int


class Library:
    """The recordings under one folder; safe for threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hours: OrderedDict[tuple[str, str, str], tuple[int, tuple[Stretch, ...]]] = OrderedDict()

    def channels(self, account: str) -> list[str]:
        """Names of the channels that have a folder, sorted, without those whose name was too long for one."""
        try:
            with self._folder(account) as folder:
                found = (names.read_channel(name) for name in os.listdir(folder))  # noqa: PTH208 - of a descriptor
                return sorted(name for name in found if name is not None)
        except OSError:
            return []

    def stretches(self, account: str, channel: str) -> list[Stretch] | None:
        """When there is something, oldest first; None where the channel has no folder."""
        joined: list[Stretch] = []
        hours = self._hour_names(account, channel)
        for hour in hours or ():
            for stretch in self._of_hour(account, channel, hour):
                _join(joined, stretch)
        return None if hours is None else joined

    def segments(self, account: str, channel: str, start_ms: int, end_ms: int) -> list[Segment]:
        """The segments of which a part lies between two times (epoch ms), oldest first."""
        first, last = names.hour_name(max(0, start_ms - HOUR_MS)), names.hour_name(end_ms)
        found: list[Segment] = []
        for hour in self._hour_names(account, channel) or ():
            if first <= hour <= last:
                with contextlib.suppress(OSError), self._folder(account, channel, hour) as folder:
                    found += _segments(folder)
        return [each for each in sorted(found) if each.end_ms > start_ms and each.start_ms < end_ms]

    def newest_ms(self, account: str, channel: str) -> int | None:
        """The end of what is there (epoch ms); None where there is nothing."""
        for hour in reversed(self._hour_names(account, channel) or ()):
            stretches = self._of_hour(account, channel, hour)
            if stretches:
                return stretches[-1].end
        return None

    def read(self, account: str, channel: str, hour: str, file: str, span: slice = slice(None)) -> Blob | None:
        """A segment or an init, or the bytes of it that `span` takes; None where there is none.

        Raises: OSError: the disk fails.
        """
        if not names.is_hour(hour) or (names.read_segment(file) is None and names.read_init(file) is None):
            return None
        try:
            with self._folder(account, channel, hour) as folder:
                descriptor = os.open(file, _FILE, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in _LINKS:
                return None
            raise
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_LIMIT:
                return None
            start, end, _ = span.indices(found.st_size)
            opened.seek(start)
            return Blob(_exactly(opened.fileno(), max(0, end - start)), found.st_size, found.st_mtime_ns)

    def _of_hour(self, account: str, channel: str, hour: str) -> tuple[Stretch, ...]:
        """Those of an hour; remembered until its folder changes."""
        key = (account, channel, hour)
        try:
            with self._folder(account, channel, hour) as folder:
                changed_ns = os.fstat(folder).st_mtime_ns
                known = self._hours.get(key)
                if known is not None and known[0] == changed_ns:
                    return known[1]
                joined: list[Stretch] = []
                for segment in sorted(_segments(folder)):
                    _join(joined, Stretch(segment.start_ms, segment.end_ms))
        except OSError:
            return ()
        self._hours[key] = (changed_ns, tuple(joined))
        if len(self._hours) > _HOURS_KNOWN:
            with contextlib.suppress(KeyError):  # another thread was quicker
                self._hours.popitem(last=False)
        return tuple(joined)

    def _hour_names(self, account: str, channel: str) -> list[str] | None:
        try:
            with self._folder(account, channel) as folder:
                return sorted(name for name in os.listdir(folder) if names.is_hour(name))  # noqa: PTH208
        except OSError:
            return None

    @contextlib.contextmanager
    def _folder(self, account: str, channel: str | None = None, hour: str | None = None) -> Iterator[int]:
        """A descriptor of a folder, each step opened in the one above. Raises: OSError."""
        if not names.is_account(account):
            raise FileNotFoundError(account)
        steps = [account]
        if channel is not None:
            steps.append(names.channel_folder(channel))
        if hour is not None:
            steps.append(hour)
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the root alone may be a link
        try:
            for step in steps:
                below = os.open(step, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)


def _segments(folder: int) -> list[Segment]:
    found = (names.read_segment(name) for name in os.listdir(folder))
    return [segment for segment in found if segment is not None]


def _join(joined: list[Stretch], stretch: Stretch) -> None:
    if joined and stretch.start - joined[-1].end <= _JOIN_MS:
        stretch = Stretch(joined.pop().start, stretch.end)
    joined.append(stretch)


def _exactly(descriptor: int, count: int) -> bytes:
    """Read `count` bytes, fewer only at the end of the file."""
    parts = []
    while count and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
