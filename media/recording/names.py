"""Names of what is recorded: folders of accounts, channels and hours, files of segments and inits. Pure.

A segment's name says all that a playlist needs, so a folder can be read without opening a file.
"""

import hashlib
import re
from datetime import UTC, datetime

import msgspec

HOUR_MS = 3_600_000
PLAYLIST = "index.m3u8"
LOCK = ".lock"
PART_SUFFIX = ".part"
_LENGTH_LIMIT = 200  # a file system takes 255 bytes; a channel's name may have 256
_NUMBER = "0|[1-9][0-9]{0,14}"
_INSTANT = "0|[1-9][0-9]{0,12}"  # up to the year 2286
_SEGMENT = re.compile(rf"({_NUMBER})-({_NUMBER})-({_INSTANT})-([1-9][0-9]{{0,8}})-([0-9a-f]{{8}})\.m4s", re.ASCII)
_INIT = re.compile(r"init-([0-9a-f]{8})\.mp4", re.ASCII)
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}Z", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_CHANNEL = re.compile(r"[a-zA-Z0-9_.-]{1,256}", re.ASCII)


class Segment(msgspec.Struct, frozen=True, order=True):
    """One recorded piece: its number, that of its stretch without a break, when it was (epoch ms), and its init."""

    number: int
    stretch: int
    start_ms: int
    duration_ms: int
    init: str

    @property
    def end_ms(self) -> int:
        """When it ends, epoch ms."""
        return self.start_ms + self.duration_ms

    @property
    def hour(self) -> str:
        """Name of the folder it lies in."""
        return hour_name(self.start_ms)

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.number}-{self.stretch}-{self.start_ms}-{self.duration_ms}-{self.init}.m4s"


def read_segment(name: str) -> Segment | None:
    """The segment that a file of this name holds; None when it is no segment's name."""
    match = _SEGMENT.fullmatch(name)
    return Segment(int(match[1]), int(match[2]), int(match[3]), int(match[4]), match[5]) if match else None


def init_id(init: bytes) -> str:
    """What tells inits apart: 8 hexadecimal digits of their content."""
    return hashlib.sha256(init).hexdigest()[:8]


def init_file(identity: str) -> str:
    """Name of the file of an init."""
    return f"init-{identity}.mp4"


def read_init(name: str) -> str | None:
    """The id of the init that a file of this name holds; None when it is no init's name."""
    match = _INIT.fullmatch(name)
    return match[1] if match else None


def hour_name(epoch_ms: int) -> str:
    """Name of the folder of the hour (UTC) around `epoch_ms`; names sort as the hours do."""
    return datetime.fromtimestamp(epoch_ms // HOUR_MS * 3600, UTC).strftime("%Y-%m-%dT%HZ")


def is_hour(name: str) -> bool:
    """Whether a folder of this name holds an hour."""
    return _HOUR.fullmatch(name) is not None


def is_account(name: str) -> bool:
    """Whether a folder of this name is an account's."""
    return _ACCOUNT.fullmatch(name) is not None


def channel_folder(channel: str) -> str:
    """The folder of a channel: its name, but never hidden, `..` or too long; no two channels share one.

    `%` is in no channel's name. Raises: ValueError: this is no channel's name.
    """
    if not _CHANNEL.fullmatch(channel):
        raise ValueError(f"{channel!r} is no channel's name")
    folder = f"%2E{channel[1:]}" if channel.startswith(".") else channel
    if len(folder) > _LENGTH_LIMIT:
        return f"{folder[:_LENGTH_LIMIT]}%{hashlib.sha256(channel.encode()).hexdigest()[:16]}"
    return folder


def read_channel(folder: str) -> str | None:
    """The channel whose folder has this name; None when it is no channel's, or one whose name was shortened."""
    channel = f".{folder[3:]}" if folder.startswith("%2E") else folder
    return channel if _CHANNEL.fullmatch(channel) and channel_folder(channel) == folder else None
