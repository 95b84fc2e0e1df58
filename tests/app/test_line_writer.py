import os
from collections.abc import Iterator

import pytest

from app.line_writer import LineWriter

FIRST = b"f" * 200_000
"""More than a pipe holds."""


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read(self, count: int) -> bytes:
        found = b""
        while len(found) < count and (part := os.read(self.reading, count - len(found))):
            found += part
        return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)
    os.close(pipe.writing)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_reader_that_stops_loses_lines_and_holds_nobody_up(pipe: Pipe, is_blocking: bool) -> None:
    os.set_blocking(pipe.writing, is_blocking)
    with LineWriter(pipe.writing, FIRST) as writer:
        for line in (b"a", b"b", b"c"):
            writer.put(line)
        assert (writer.stats.written, writer.stats.lost) == (0, 2)
        assert pipe.read(len(FIRST) + 3) == FIRST + b"\nc\n"
    assert (writer.stats.written, writer.stats.lost) == (2, 2)


def test_what_waits_is_written_before_the_end(pipe: Pipe) -> None:
    with LineWriter(pipe.writing, b"first") as writer:
        writer.put(b"last")
    assert pipe.read(11) == b"first\nlast\n"


def test_a_reader_that_has_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with LineWriter(writing, b"first") as writer:
        writer._thread.join(15)
        writer.put(b"second")
    os.close(writing)
    assert (writer.stats.written, writer.stats.lost) == (0, 2)
