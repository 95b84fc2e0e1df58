"""Blocking work that the loop waits for; the cancelled case stands in the tests of the feed."""

import threading

import pytest

from media.encoders.thread import in_thread


async def test_work_runs_in_a_thread_of_that_name_and_its_end_is_awaited() -> None:
    seen: list[str] = []
    await in_thread("work", lambda _: seen.append(threading.current_thread().name), threading.Event(), lambda: None)
    assert seen == ["work"]


async def test_what_the_work_raises_comes_out() -> None:
    def work(_stop: threading.Event) -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await in_thread("work", work, threading.Event(), lambda: None)
