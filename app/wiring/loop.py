"""The event loop of an API process: how its logs look and on what its work runs."""

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Final

import uvloop

from app import logs
from app.settings import Settings, SettingsError

_COLLECT_AFTER: Final = 10_000  # new objects; nearly all go without the collector, which looks for cycles only
# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BYTES: Final = 128 * 1024
_SPARE_BYTES: Final = 1024 * 1024


def run(settings: Settings, work: Coroutine[object, object, None]) -> None:
    """Run `work` to its end, on an event loop of its own.

    Raises: SettingsError when the audit log cannot be written.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.audit_log:
        try:
            logs.audit_to(Path(settings.audit_log).expanduser())
        except OSError as error:
            work.close()
            raise SettingsError(f"AUDIT_LOG: {settings.audit_log} cannot be written: {error.strerror}") from None
    _give_memory_back()
    with _collecting_rarely(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _give_memory_back() -> None:
    """Keep large blocks apart from small ones: glibc stops doing so once it has freed one.

    The loop takes 256 KiB for each TLS connection and touches little of it. Among small blocks its pages are those
    that others have touched: an idle TLS connection then costs 49 KiB in place of 27.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if choose is not None:
        choose(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        choose(_M_TRIM_THRESHOLD, _SPARE_BYTES)


@contextlib.contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Leave alone what is loaded by now, and look for cycles less often: a connect costs 5 % less."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
