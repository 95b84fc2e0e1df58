"""What a child knows of its parent: the inherited socketpair, over which it is configured, told news, and reports."""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine

import msgspec

from app.exits import CommandError, Exit, cause
from app.processes import LINE_BYTES, UNREAD_BYTES, Ending
from app.report import Refusal, Report

_ORPHAN_GRACE_S = 1.0
_RETRY_S = 0.05
_ENCODER = msgspec.json.Encoder()

Take = Callable[[bytes], None]
"""Takes a line of the parent."""


class ParentLink:
    """The child's end of the socketpair: configuration in, reports out, end-of-file when the parent is gone."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._untold = bytearray()  # what the parent has not taken yet
        self._retry: asyncio.TimerHandle | None = None

    def configuration(self) -> bytes:
        """Wait for the parent's line; leaves with exit code 0 when the parent is gone."""
        line = self._lines.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise SystemExit(0)
        return line

    def close(self) -> None:
        """Close this end."""
        if self._retry is not None:
            self._retry.cancel()
        self._lines.close()
        self._socket.close()

    def report(self, report: Report) -> bool:
        """Send one line; a parent that does not read loses it, or gets part of it late: then the answer is False."""
        if not self._flush():
            return False
        self._untold += _ENCODER.encode(report) + b"\n"
        length = len(self._untold)
        is_sent = self._flush()
        if len(self._untold) == length:
            self._untold.clear()
        return is_sent

    def tell(self, news: msgspec.Struct) -> bool:
        """Send news that must not be lost, from the running loop: what the parent does not take now it gets later.

        A parent that leaves more than 4 MiB unread hangs, and misses it: then the answer is False.
        """
        if len(self._untold) > UNREAD_BYTES:
            return False
        self._untold += _ENCODER.encode(Report(news=_ENCODER.encode(news).decode())) + b"\n"
        if self._retry is None:
            self._flush_on(asyncio.get_running_loop())
        return True

    def _flush_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._retry = None if self._flush() else loop.call_later(_RETRY_S, self._flush_on, loop)

    def _flush(self) -> bool:
        """Send what is left; whether the parent has it all."""
        try:
            while self._untold:
                del self._untold[: self._socket.send(self._untold, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self._untold.clear()
            return False
        return True

    def watch(self, stop: Callable[[], None], take: Take | None = None) -> None:
        """Call `stop` on the running loop when the parent is gone; leave hard when that takes over a second.

        `take` gets each line that the parent sends before, there too.
        """
        loop = asyncio.get_running_loop()

        def wait_for_end() -> None:
            # Reset: the parent was killed before it had read all that we reported.
            with contextlib.suppress(ConnectionResetError):
                while (line := self._lines.readline(LINE_BYTES)).endswith(b"\n"):
                    if take is not None:
                        with contextlib.suppress(RuntimeError):
                            loop.call_soon_threadsafe(take, line)
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
                loop.call_soon_threadsafe(stop)
            time.sleep(_ORPHAN_GRACE_S)
            os._exit(0)

        threading.Thread(target=wait_for_end, name="parent-watch", daemon=True).start()


async def report_stats(link: ParentLink, read: Callable[[], dict[str, float] | None], every_s: float = 1.0) -> None:
    """Send the counters of this child once a second, for ever; a child whose own children hang keeps silent (None)."""
    while True:
        stats = read()
        if stats is not None:
            link.report(Report(stats=stats))
        await asyncio.sleep(every_s)


Work = Callable[[asyncio.Event], Coroutine[object, object, None]]


def run_for_parent(
    link: ParentLink,
    work: Work,
    take: Take | None = None,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Exit:
    """Run a child's work until its parent, SIGTERM or itself ends it; a reason to fail goes to the parent.

    `take` gets what the parent tells after the configuration, `new_loop` makes the event loop.
    """

    async def watched() -> None:
        ending = Ending()
        link.watch(ending.event.set, take)
        async with ending.by_signal(is_child=True):
            await work(ending.event)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return run_or_refuse(link, lambda: runner.run(watched()))


def run_or_refuse(link: ParentLink, run: Callable[[], None]) -> Exit:
    """Run a child's work to its end; what hinders it (CommandError) goes to the parent. The answer is the exit code."""
    try:
        run()
    except (CommandError, ExceptionGroup) as error:
        reason = cause(error)
        if not isinstance(reason, CommandError):
            raise
        return refuse(link, reason)
    return Exit.OK


def refuse(link: ParentLink, error: CommandError) -> Exit:
    """Tell the parent why this child cannot work; the answer is the child's exit code."""
    link.report(Report(refused=Refusal(str(error), error.code)))
    return error.code
