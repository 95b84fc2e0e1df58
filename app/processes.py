"""Parent and child processes over one inherited socketpair: secrets and news down, readiness and counters up. This is
the parent's side; the child's is `app.parent`.

The parent starts a child, hands it one JSON line, later a line for each piece of news, and ends it on its own end; a
child that ends by itself ends the parent. A child whose parent is gone, even by SIGKILL, reads end-of-file and ends.
Nothing is ever restarted silently.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from app.exits import CommandError, Exit
from app.report import Ready, Report
from app.setting import PREFIX

log = logging.getLogger(__name__)

READY_S = 30.0
STOP_S = 1.0
LINE_BYTES = 1 << 20
USAGES = 16_384  # names under which a child's numbers are kept
UNREAD_BYTES = 1 << 22  # what a child, or its parent, may leave unread of what it is told
MENTIONED_BYTES = 1 << 20  # from which on it is told only what it must know
_GONE_S = 2.0
_STEP_S = 1.0  # of the time that a child has to start
_SAME_S = 0.3  # `timeout` and process managers tell a process twice: by its own id, and with its group


class PartEndedError(CommandError):
    """A child process ended by itself; `what` names the part, and what to do is told to who started it.

    `is_in_order`: with exit code 0, as when somebody told it to.
    """

    def __init__(self, what: str, remedy: str = "", *, is_in_order: bool = False) -> None:
        super().__init__(what + remedy, Exit.PART_ENDED)
        self.what = what
        self.is_in_order = is_in_order


_REPORTS = msgspec.json.Decoder(Report)
_ENCODER = msgspec.json.Encoder()


class Child:
    """One child process `heliograph NAME --inherited-fd N`, running from the moment it is made.

    Make it early: it loads its code while the parent loads its own. Then `configure` it once and keep `run` in a
    TaskGroup until the end. `command` replaces the program, which then gets `--inherited-fd N` as its last words; it
    inherits `descriptors`. Settings come to it by its configuration alone. `ready_s` is how long it may take to say
    that it works, `stop_s` to end in order.
    """

    def __init__(self, name: str, command: Sequence[str] = (), descriptors: Sequence[int] = ()) -> None:
        self.name = name
        self.stats: dict[str, float] = {}
        self.usage: dict[str, tuple[int, int, int]] = {}  # what was told last comes last
        self.on_notice: Callable[[str], None] = lambda _: None
        self.on_news: Callable[[str], None] = lambda _: None
        self._socket, theirs = socket.socketpair()
        with theirs:
            # -P keeps a folder named `app` in the current directory from being taken for ours.
            program = command or (sys.executable, "-P", "-m", "app", name)
            # Its own session: a Ctrl-C in the terminal reaches the parent alone, which then ends the child in order.
            try:
                self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                    [*program, "--inherited-fd", str(theirs.fileno())],
                    pass_fds=[theirs.fileno(), *descriptors],
                    env={key: value for key, value in os.environ.items() if not key.startswith(PREFIX)},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                self._socket.close()
                raise
        self._ready: asyncio.Future[Ready] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._untold = bytearray()
        self.ready_s = READY_S
        self.stop_s = STOP_S
        self.stop_signal = signal.SIGTERM
        self._is_stopping = False
        self._is_hurried = False
        self._heard_at = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def has_left(self) -> bool:
        """Whether it ended in order, as when somebody told it to."""
        return self._process.poll() == 0

    @property
    def is_ready(self) -> bool:
        """Whether it said that it works."""
        return self._ready is not None and self._ready.done() and self._ready.exception() is None

    @property
    def silent_s(self) -> float:
        """Seconds since its last report; it sends one each second once it works."""
        return time.monotonic() - self._heard_at

    def configure(self, order: msgspec.Struct) -> None:
        """Send the one line that the child waits for; it may hold secrets."""
        self._ready = asyncio.get_running_loop().create_future()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # run() tells that the child is gone
            self._socket.sendall(_ENCODER.encode(order) + b"\n")

    def tell(self, news: msgspec.Struct) -> bool:
        """Send one more line, which a child that is still starting takes once it works. Never blocks.

        False: it is gone, or left more than 4 MiB unread and is ended, as it would never hear what it has to heed.
        """
        if not self.is_alive:
            return False
        self._say(news)
        if self._unread() > UNREAD_BYTES:
            log.error("a part does not read what it is told", extra={"part": self.name})
            self._process.kill()
            return False
        return True

    def mention(self, news: msgspec.Struct) -> bool:
        """Send a line as `tell` does, but only while the child reads: one that has 1 MiB to read misses it (False)."""
        if not self.is_alive or self._unread() > MENTIONED_BYTES:
            return False
        self._say(news)
        return True

    def _say(self, news: msgspec.Struct) -> None:
        line = _ENCODER.encode(news) + b"\n"
        if self._writer is None:
            self._untold += line
        else:
            self._writer.write(line)

    def _unread(self) -> int:
        return len(self._untold) if self._writer is None else self._writer.transport.get_write_buffer_size()

    async def ready(self) -> Ready:
        """Wait, while it is followed, until the child works and return what it said of itself.

        Raises: what `run` raises when it ends before.
        """
        assert self._ready is not None, "configure comes first"  # noqa: S101  # order of our own calls
        return await asyncio.shield(self._ready)

    async def run(self) -> None:
        """Follow the child until it ends; when cancelled, end it: SIGTERM, then SIGKILL after `stop_s`.

        Raises: CommandError when it said why it cannot work, PartEndedError when it just ended, or was killed since it
        did not say within `ready_s` that it works; so does `ready` then.
        """
        try:
            await self._run()
        except CommandError as error:
            if self._ready is not None and not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # somebody may wait for it, but nobody has to
            raise

    async def _run(self) -> None:
        try:
            self._socket.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=self._socket, limit=LINE_BYTES)
            self._writer = writer
            writer.write(bytes(self._untold))
            self._untold.clear()
            try:
                await self._follow(reader)
                await self._is_gone(STOP_S)
            finally:
                await self.stop()  # before the end of the line, at which a child leaves at once
                writer.close()
        finally:
            await self.stop()
        if self._is_hurried:
            return
        how = _end_in_words(self._process.returncode)
        what, remedy = f"{self.name} ended by itself ({how})", "; the log above may say why; start again"
        raise PartEndedError(what, remedy, is_in_order=self.has_left)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # the second, when we were telling it news
            await self._until_ready(reader)
            while line := await reader.readline():
                self._take(line)

    async def _until_ready(self, reader: asyncio.StreamReader) -> None:
        """Heed what it says until it works, or is gone.

        A time in which we were stopped ourselves counts as one step: what it said meanwhile is still to be read.
        """
        left_s, now, line = self.ready_s, asyncio.get_running_loop().time, None
        while not self.is_ready and line != b"":
            if left_s <= 0:
                self._process.kill()  # who hangs at its start would not end in order
                raise PartEndedError(f"{self.name} was not ready in {self.ready_s:g} s")
            began, line = now(), None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _STEP_S)):
                    line = await reader.readline()
            if line:
                self._take(line)
            left_s -= min(now() - began, _STEP_S)

    def _take(self, line: bytes) -> None:
        try:
            report = _REPORTS.decode(line)
        except msgspec.DecodeError:  # we were stopped for so long that the child lost part of a line
            return
        self._heard_at = time.monotonic()
        if report.stats is not None:
            self.stats = report.stats
        for name, numbers in (report.usage or {}).items():
            self.usage.pop(name, None)
            self.usage[name] = numbers
            if len(self.usage) > USAGES:
                del self.usage[next(iter(self.usage))]
        if report.notice is not None:
            self.on_notice(report.notice)
        if report.news is not None:
            self.on_news(report.news)
        if report.refused is not None:
            raise CommandError(report.refused.message, report.refused.exit_code)
        if report.ready is not None and self._ready is not None and not self._ready.done():
            self._ready.set_result(report.ready)

    async def stop(self) -> None:
        """End the child and wait for it; safe to call twice."""
        if self.is_alive and not self._is_stopping:
            self._is_stopping = True
            self._process.send_signal(self.stop_signal)
        if not await self._is_gone(self.stop_s):
            self._process.kill()
            await self._is_gone(_GONE_S)

    def hurry(self) -> None:
        """End the child at once, whatever it still does."""
        self._is_hurried = True
        if self.is_alive:
            self._process.kill()

    async def _is_gone(self, limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    def abandon(self) -> None:
        """End the child at once, without an event loop: for a parent that fails before it runs one."""
        self._socket.close()
        if self.is_alive:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
            return
        self._process.kill()
        self._process.wait()


def since_start_ms() -> float:
    """Milliseconds since this process began, its interpreter's start included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1000


def _end_in_words(code: int | None) -> str:
    if code is None:
        return "still there"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Part(Protocol):
    """What runs until it is cancelled or ends by itself."""

    async def run(self) -> None:
        """Follow it. Raises: CommandError when it ended by itself."""

    def hurry(self) -> None:
        """End it at once."""


class Ending:
    """When and why everything ends: by a signal, or by a part that ended; then `reason` holds its error.

    Functions in `on_hurry` are called at a signal that comes while it ends: somebody does not want to wait.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason: CommandError | None = None
        self.is_by_hand = False  # by Ctrl-C, that is SIGINT: somebody waits
        self.on_hurry: list[Callable[[], object]] = []
        self._told_at = math.inf  # to end, by SIGTERM

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits, or a part is missing, without which nothing is whole until the next start."""
        return self.is_by_hand or self.reason is not None

    async def follow(self, child: Part) -> None:
        """Run a part; its end is the end of everything. Service managers tell each process to end: no reason then."""
        self.on_hurry.append(child.hurry)
        try:
            await child.run()
        except PartEndedError as error:
            if not (error.is_in_order and self.event.is_set()):
                self.fail(error)
        except CommandError as error:
            self.fail(error)

    def fail(self, reason: CommandError) -> None:
        """End everything for this reason; the first one counts."""
        self.reason = self.reason or reason
        self.event.set()

    async def comes_after(self, waiting: Coroutine[object, object, object]) -> bool:
        """Wait for `waiting`; False when everything ends first."""
        async with asyncio.TaskGroup() as group:
            first, end = group.create_task(waiting), group.create_task(self.event.wait())
            await asyncio.wait((first, end), return_when=asyncio.FIRST_COMPLETED)
            is_done = first.done() and not self.event.is_set()
            first.cancel()
            end.cancel()
        return is_done

    @contextlib.asynccontextmanager
    async def by_signal(self, *, is_child: bool = False) -> AsyncIterator[None]:
        """End on SIGINT and SIGTERM while the block runs; after it, raise the reason if there is one.

        A child gets SIGTERM twice when its whole group is told to end, and is in no hurry then.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGTERM, self.event.set if is_child else self._terminated)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        if self.reason is not None:
            raise self.reason

    def _terminated(self) -> None:
        now = time.monotonic()
        if self._told_at + _SAME_S <= now:
            self._interrupted()
        self._told_at = min(self._told_at, now)
        self.event.set()

    def _interrupted(self) -> None:
        if self.event.is_set():
            for hurry in self.on_hurry:
                hurry()
        else:
            self.is_by_hand = True
        self.event.set()


def flatten(stats: msgspec.Struct, prefix: str = "") -> dict[str, float]:
    """Return the numbers of a Struct by dotted name; nested Structs and dicts are walked, all else is left out."""
    flat: dict[str, float] = {}
    _walk(msgspec.to_builtins(stats, str_keys=True), prefix, flat)
    return flat


def _walk(value: object, name: str, flat: dict[str, float]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _walk(inner, f"{name}.{key}" if name else str(key), flat)
    elif isinstance(value, int | float):
        flat[name] = float(value)
