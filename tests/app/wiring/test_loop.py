import asyncio
import gc
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import uvloop

from app.logs import AUDIT
from app.settings import Settings, SettingsError
from app.wiring import loop


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    audit = logging.getLogger(AUDIT)
    audit.setLevel(logging.NOTSET)
    for handler in audit.handlers[:]:
        audit.removeHandler(handler)
        handler.close()


def test_work_runs_on_the_fast_loop_with_the_logs_of_the_settings(logging_as_before: None) -> None:
    seen: list[object] = []

    async def work() -> None:
        seen.extend((type(asyncio.get_running_loop()), logging.getLogger().level))

    loop.run(Settings(log_level="info"), work())
    assert seen == [uvloop.Loop, logging.INFO]


def test_the_collector_rests_while_work_runs_and_is_as_before_afterwards(logging_as_before: None) -> None:
    before, seen = gc.get_threshold(), []

    async def work() -> None:
        seen.append((gc.get_threshold()[0] > before[0], gc.get_freeze_count() > 0))

    loop.run(Settings(), work())
    assert seen == [(True, True)]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


async def note() -> None:
    logging.getLogger(AUDIT).info("called", extra={"subject": "alice"})


def test_audit_log_is_written_whatever_the_level_of_the_log(
    logging_as_before: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    loop.run(Settings(log_level="error", audit_log=str(path)), note())
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["subject"] == "alice"
    assert capsys.readouterr().err == ""


def test_audit_log_that_cannot_be_written_stops_the_start(logging_as_before: None, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"AUDIT_LOG: .* cannot be written: No such file"):
        loop.run(Settings(audit_log=str(tmp_path / "none" / "audit.jsonl")), note())


# In a process of its own: where much was made and freed before, glibc has room among the small blocks. It lets up to
# 32 MiB go there. `hblks` counts the blocks that have pages of their own.
_LARGE_BLOCK: Final = """
import ctypes
from app.wiring import loop
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
class Numbers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")]
    _fields_ += [(f"further{number}", ctypes.c_size_t) for number in range(5)]
libc.mallinfo2.restype = Numbers
loop._give_memory_back()
libc.free(libc.malloc(24 * 1024 * 1024))  # left alone, glibc would take the next one from among the small
before = libc.mallinfo2().hblks
libc.malloc(20 * 1024 * 1024)
print(libc.mallinfo2().hblks - before)
"""


def test_large_blocks_stay_apart_from_small_ones_also_after_one_was_freed() -> None:
    done = subprocess.run([sys.executable, "-c", _LARGE_BLOCK], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
