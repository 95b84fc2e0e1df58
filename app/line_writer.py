"""Writes lines where a reader may be slow, gone or stopped, from a thread of its own: whoever puts one never waits."""

import os
import select
import threading
from types import TracebackType
from typing import Self

import msgspec

_CLOSE_LIMIT_S = 0.5


class LineWriterStats(msgspec.Struct):
    """Lines that were written, and those that nobody read in time."""

    written: int = 0
    lost: int = 0


class LineWriter:
    """Writes `first`, then of what is put meanwhile the newest line; owns no descriptor."""

    def __init__(self, descriptor: int, first: bytes) -> None:
        self.stats = LineWriterStats()
        self._descriptor = descriptor
        self._waiting: bytes | None = first
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="line-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        with self._changed:  # a few microseconds: the thread takes the first line and writes it without the lock
            self._changed.wait_for(lambda: self._waiting is None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the writer half a second for what waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_LIMIT_S)

    def put(self, line: bytes) -> None:
        """Have a line written, in the place of one that still waits; never blocks."""
        with self._changed:
            if self._is_closed or self._waiting is not None:
                self.stats.lost += 1
            if not self._is_closed:
                self._waiting = line
                self._changed.notify_all()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            try:
                self._write(line)
            except OSError:  # the reader has gone: what writes goes on without it
                with self._changed:
                    self.stats.lost += 1 + (self._waiting is not None)
                    self._waiting = None
                    self._is_closed = True
                return
            self.stats.written += 1

    def _next(self) -> bytes | None:
        """The next line; None when there is none and never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            line, self._waiting = self._waiting, None
            self._changed.notify_all()
            return line

    def _write(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever gave us the descriptor made it so
                select.select([], [self._descriptor], [])
