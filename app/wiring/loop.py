"""The event loop of an API process: how its logs look and on what its work runs."""

import asyncio
from collections.abc import Coroutine

import uvloop

from app import logs
from app.settings import Settings


def run(settings: Settings, work: Coroutine[object, object, None]) -> None:
    """Run `work` to its end, on an event loop of its own."""
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
