import asyncio
import ctypes
import gc
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from app.logs import AUDIT
from app.settings import Settings, SettingsError
from app.wiring import loop

_BLOCK = 24 * 1024 * 1024  # more than lies free among the small ones of a test run; glibc lets up to 32 MiB go there


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


def test_large_blocks_stay_apart_from_small_ones_also_after_one_was_freed() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    loop._give_memory_back()
    libc.free(libc.malloc(_BLOCK))  # left alone, glibc would take the next one from among the small
    block = libc.malloc(_BLOCK)
    assert block % 4096 == 16  # at the front of pages of its own, behind glibc's two words
    libc.free(block)
