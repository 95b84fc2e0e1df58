"""The event loop of an API process: how its logs look and on what its work runs."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import uvloop

from app import logs
from app.settings import Settings, SettingsError


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
