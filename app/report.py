"""What a child process tells its parent, one JSON line each. Light to import; the line itself is not its business."""

import msgspec

from app.exits import Exit


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child says of itself once it works: a relay its URIs; a process that serves its id, its slot and URLs."""

    uris: tuple[str, ...] = ()
    pid: int = 0
    slot: int | None = None
    http: str = ""
    https: str | None = None
    ops: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why a child cannot work, in one sentence, and the exit code for the command."""

    message: str
    exit_code: Exit


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a child: exactly one of these is set; a notice is a sentence for the person who started it all.

    `usage` is what has changed of the numbers that it keeps by name, `news` JSON that the two alone know.
    """

    ready: Ready | None = None
    stats: dict[str, float] | None = None
    usage: dict[str, tuple[int, int, int]] | None = None
    notice: str | None = None
    news: str | None = None
    refused: Refusal | None = None
