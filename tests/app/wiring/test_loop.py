import asyncio
import logging
from collections.abc import Iterator

import pytest
import uvloop

from app.settings import Settings
from app.wiring import loop


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_work_runs_on_the_fast_loop_with_the_logs_of_the_settings(logging_as_before: None) -> None:
    seen: list[object] = []

    async def work() -> None:
        seen.extend((type(asyncio.get_running_loop()), logging.getLogger().level))

    loop.run(Settings(log_level="info"), work())
    assert seen == [uvloop.Loop, logging.INFO]
