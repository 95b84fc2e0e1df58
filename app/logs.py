"""Log lines: JSON or text on stderr, one per event, in UTC, and no secret in any of them."""

import contextlib
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, Literal, TextIO
from urllib.parse import unquote_plus

import msgspec

Form = Literal["auto", "json", "text"]

# What a query may show; every other value becomes ***.
SHOWN_PARAMETERS: Final = frozenset(
    ("x-amz-channelarn", "x-amz-clientid", "x-amz-date", "x-amz-expires", "x-amz-signedheaders")
)
AUDIT: Final = "heliograph.audit"
_log: Final = logging.getLogger(__name__)
HIDDEN: Final = "***"
_SERVER_LOGGERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
# Whatever the level: below these the libraries write whole headers, frames (SDP) and candidates' addresses.
_LEAST_LEVELS: Final = {"websockets": logging.INFO, "aioice": logging.WARNING, "aiortc": logging.WARNING}
# What the HTTP server says of its peers without naming them, some as an error with a traceback.
_FAULTS_OF_PEERS: Final = frozenset(
    ("Invalid UTF-8 sequence received from client.", "Invalid HTTP request received.")  # app.serving tells the second
)
_OWN_FIELDS: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
_NAME_LIMIT: Final = 64
_PLAIN: Final = frozenset((str, bool, int, float, type(None)))

_QUERY = re.compile(r"\?(\S+)")
_ENDS = re.compile(r"([&?#\"'<>])")  # of a value; more of the query may follow, whatever URLs should look like
_PUNCTUATION: Final = ".,:;)]}"
_CREDENTIALS = re.compile(r"(\bbearer(?:\s+|\.))[^\s\"',]{8,}", re.IGNORECASE)
_SIGNATURE = re.compile(r"(\baws4-hmac-sha256\s+)[^\r\n\"']+", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w=-]{8,}(?:\.[\w=-]*){0,4}", re.ASCII)


def redact(text: str) -> str:
    """Return `text` with the values of every query string hidden but for the allow-list, and without tokens."""
    if not _is_suspect(text):
        return text
    text = _QUERY.sub(_hide_values, text)
    text = _CREDENTIALS.sub(rf"\1{HIDDEN}", text)
    text = _SIGNATURE.sub(rf"\1{HIDDEN}", text)
    return _JWT.sub(HIDDEN, text)


def _is_suspect(text: str) -> bool:
    """A quick look, since nearly every text is harmless."""
    if "?" in text or "eyJ" in text:
        return True
    lower = text.lower()
    return "bearer" in lower or "aws4-" in lower


def _hide_values(match: re.Match[str]) -> str:
    parts = _ENDS.split(match[1])
    parts[::2] = [_hide_value(part) for part in parts[::2]]
    return "?" + "".join(parts)


def _hide_value(part: str) -> str:
    """A name without value, or too long, may be a value in the wrong place."""
    name, equals, _ = part.partition("=")
    if not equals or len(name) > _NAME_LIMIT:
        return HIDDEN if part.strip(_PUNCTUATION) else part
    return part if unquote_plus(name).lower() in SHOWN_PARAMETERS else f"{name}={HIDDEN}"


class RedactingFilter(logging.Filter):
    """Hides secrets in the message, and keeps the arguments where it can: some formatters read them one by one.

    With `least_level` it drops what is below: the HTTP server writes whole headers and frames when debugged. Faults
    of peers are dropped, too, so that nobody fills the log from outside.
    """

    def __init__(self, least_level: int = logging.NOTSET) -> None:
        super().__init__()
        self._least_level = least_level

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; False when it must not be written at all."""
        if record.levelno < self._least_level or record.msg in _FAULTS_OF_PEERS:
            return False
        if not record.args:
            record.msg = redact(str(record.msg))
            return True
        shown = redact(record.getMessage())
        kept = record.args
        if isinstance(kept, Mapping):
            record.args = {name: _redact_argument(value) for name, value in kept.items()}
        else:
            record.args = tuple(_redact_argument(value) for value in kept)
        if record.getMessage() != shown:  # a secret spans text and argument: `?token=%s`
            record.msg, record.args = shown, ()
        return True


def _redact_argument(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    return redact(str(value))


def _clean(value: object) -> object:
    """What JSON can carry of a field's value, without secrets at any depth."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_text(str(name)): _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    return _text(str(value))


def _text(text: str) -> str:
    """Without secrets, and without what UTF-8 cannot carry (lone surrogates)."""
    return redact(text if text.isascii() else text.encode("utf-8", "backslashreplace").decode())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What an event carries beside its name: `extra` of the call."""
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


_encode = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """One JSON object per event: ts (UTC), level, event, logger, the event's own fields, error with traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (-1, "")  # the last one that was written, and how

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "ts": self._time(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS and name not in line:
                line[name] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _harmless(line) or _encode({name: _clean(value) for name, value in line.items()}).decode()

    def _time(self, created: float) -> str:
        second, text = self._second
        if second != int(created):
            second = int(created)
            text = datetime.fromtimestamp(second, UTC).isoformat()[:-6]
            self._second = (second, text)
        return f"{text}.{int(created * 1000) % 1000:03d}+00:00"


def _harmless(line: dict[str, Any]) -> str:
    """The line as it is, when one look shows that there is nothing to hide or to mend in it; else nothing."""
    if not _PLAIN.issuperset(map(type, line.values())):
        return ""
    try:
        text = _encode(line).decode()
    except UnicodeEncodeError:  # lone surrogates
        return ""
    return "" if _is_suspect(text) else text


class TextFormatter(logging.Formatter):
    """One line per event for people: time (UTC), level, event, fields; a traceback follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        cleaned = ((name, _clean(value)) for name, value in _fields(record).items())
        fields = "".join(f" {name}={_field(value)}" for name, value in cleaned if value != "")
        text = f"{time} {record.levelname.lower():<7} {_printable(record.getMessage())}{fields}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return _text(text)


def _printable(value: object) -> str:
    """A caller's text must not make lines of its own."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _field(value: object) -> str:
    """A caller's text must not look like further fields."""
    text = str(value)
    return repr(text) if isinstance(value, str) and any(mark in text for mark in " ='\"") else _printable(value)


def configure(level: str, form: Form = "json", stream: TextIO | None = None) -> None:
    """Log events of `level` and above to `stream` (stderr), in place of whatever was configured before.

    `auto`, which a command may replace by its own choice, is JSON.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    handler.setLevel(level.upper())  # the audit log may have events below
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    _leave_out_places()
    guard_libraries()


def _leave_out_places() -> None:
    """Let no record look for its line of code, its thread and its process, which no line shows.

    Source: Python's logging HOWTO, "Optimization".
    """
    logging._srcfile = None  # as the HOWTO has it
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class _Mark(logging.Filter):
    """Gives every line a further field."""

    def __init__(self, field: str, value: object) -> None:
        super().__init__()
        self.field = field
        self._value = value

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it, but not in the place of the event's own."""
        vars(record).setdefault(self.field, self._value)
        return True


def mark(field: str, value: object) -> None:
    """Give every line from now on a field of this name, in the place of what it had before; None: no more."""
    for handler in (*logging.getLogger().handlers, *logging.getLogger(AUDIT).handlers):
        for old in handler.filters[:]:
            if isinstance(old, _Mark) and old.field == field:
                handler.removeFilter(old)
        if value is not None:
            handler.addFilter(_Mark(field, value))


def guard_libraries() -> None:
    """Hide secrets in what the HTTP server logs, whatever handler writes it, and keep libraries' debug lines out."""
    for name in _SERVER_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(found, RedactingFilter) for found in logger.filters):
            logger.addFilter(RedactingFilter(least_level=logging.INFO))
    for name, least_level in _LEAST_LEVELS.items():
        logging.getLogger(name).setLevel(max(least_level, logging.getLogger().level))


class _AuditFile(logging.handlers.WatchedFileHandler):
    """Appends to a file; one that is not there, or not any more, is made for its owner alone.

    Where that fails the log says why, once, and again when it goes on; whoever notes something never hears of it.
    """

    _failed = 0  # lines since the last one that was written

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, also after somebody moved the file away."""
        failed = self._failed
        try:
            super().emit(record)
        except OSError:  # of opening it anew, which the library does not expect to fail
            self.handleError(record)
        if failed and self._failed == failed:
            self._failed = 0
            _log.warning("the audit file is written again", extra={"failed_lines": failed})

    def close(self) -> None:
        """Let go of the file, whether or not it takes the last lines: that was told."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """Tell of a disk that is full or a folder that is gone."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._failed += 1
        if self._failed == 1:
            _log.warning(
                "the audit file cannot be written", extra={"file": self.baseFilename, "reason": error.strerror}
            )

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def audit_to(path: Path) -> None:
    """Append the audit log to this file as well, in JSON, whatever the level of the log.

    Raises: OSError when the file cannot be opened.
    """
    handler = _AuditFile(path)
    handler.setFormatter(JsonFormatter())
    audit = logging.getLogger(AUDIT)
    for old in audit.handlers[:]:
        audit.removeHandler(old)
        old.close()
    audit.addHandler(handler)
    audit.setLevel(logging.INFO)
