"""A thread for blocking work that the event loop waits for."""

import asyncio
import threading
from collections.abc import Callable


async def in_thread(
    name: str, work: Callable[[threading.Event], None], stop: threading.Event, wake: Callable[[], None]
) -> None:
    """Run `work` in a thread of its own until it returns; on cancellation `stop` it and wait for its end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def body() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001  carried over to the task that waits
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    is_cancelled = False
    while not ended.done():
        try:
            await asyncio.wait((ended,))
        except asyncio.CancelledError:  # however often: the thread calls into this loop, so it must not outlive us
            is_cancelled = True
            stop.set()
            wake()
    thread.join()
    ended.result()
    if is_cancelled:
        raise asyncio.CancelledError
