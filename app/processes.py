"""Parent and child processes over one inherited socketpair: secrets down, readiness and counters up.

The parent starts a child, hands it one JSON line, and ends it on its own end; a child that ends by itself ends the
parent. A child whose parent is gone, even by SIGKILL, reads end-of-file and ends. Nothing is ever restarted silently.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path

import msgspec

from app.exits import CommandError, Exit, cause

READY_S = 30.0
STOP_S = 1.0
LINE_BYTES = 1 << 20
_ORPHAN_GRACE_S = 1.0
_GONE_S = 2.0


class PartEndedError(CommandError):
    """A child process ended by itself; the sentence names the part."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.PART_ENDED)


class Refusal(msgspec.Struct, frozen=True):
    """Why a child cannot work, in one sentence, and the exit code for the command."""

    message: str
    exit_code: Exit


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a child: exactly one of these is set; a notice is a sentence for the person who started it all."""

    ready: dict[str, object] | None = None
    stats: dict[str, float] | None = None
    notice: str | None = None
    refused: Refusal | None = None


_REPORTS = msgspec.json.Decoder(Report)
_ENCODER = msgspec.json.Encoder()


class Child:
    """One child process `heliograph NAME --inherited-fd N`, running from the moment it is made.

    Make it early: it loads its code while the parent loads its own. Then `configure` it once and keep `run` in a
    TaskGroup until the end. `command` replaces the program, which then gets `--inherited-fd N` as its last words.
    """

    def __init__(self, name: str, command: Sequence[str] = ()) -> None:
        self.name = name
        self.stats: dict[str, float] = {}
        self.on_notice: Callable[[str], None] = lambda _: None
        self._socket, theirs = socket.socketpair()
        with theirs:
            # -P keeps a folder named `app` in the current directory from being taken for ours.
            program = command or (sys.executable, "-P", "-m", "app", name)
            # Its own session: a Ctrl-C in the terminal reaches the parent alone, which then ends the child in order.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [*program, "--inherited-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._ready: asyncio.Future[dict[str, object]] | None = None
        self._is_stopping = False
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
    def silent_s(self) -> float:
        """Seconds since its last report; it sends one each second once it works."""
        return time.monotonic() - self._heard_at

    def configure(self, order: msgspec.Struct) -> None:
        """Send the one line that the child waits for; it may hold secrets."""
        self._ready = asyncio.get_running_loop().create_future()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # run() tells that the child is gone
            self._socket.sendall(_ENCODER.encode(order) + b"\n")

    async def ready(self) -> dict[str, object]:
        """Wait until the child works and return what it said of itself.

        Raises: PartEndedError after 30 s of silence; what `run` raises when it ends before.
        """
        assert self._ready is not None, "configure comes first"  # noqa: S101  # order of our own calls
        try:
            async with asyncio.timeout(READY_S):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise PartEndedError(f"{self.name} was not ready in {READY_S:.0f} s") from None

    async def run(self) -> None:
        """Follow the child until it ends; when cancelled, end it: SIGTERM, then SIGKILL after a second.

        Raises: CommandError when it said why it cannot work, PartEndedError when it just ended; so does `ready` then.
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
            try:
                await self._follow(reader)
                await self._is_gone(STOP_S)
            finally:
                writer.close()
        finally:
            await self.stop()
        how = _end_in_words(self._process.returncode)
        raise PartEndedError(f"{self.name} ended by itself ({how}); the log above may say why; start again")

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionResetError):
            while line := await reader.readline():
                try:
                    report = _REPORTS.decode(line)
                except msgspec.DecodeError:  # we were stopped for so long that the child lost part of a line
                    continue
                self._take(report)

    def _take(self, report: Report) -> None:
        self._heard_at = time.monotonic()
        if report.stats is not None:
            self.stats = report.stats
        if report.notice is not None:
            self.on_notice(report.notice)
        if report.refused is not None:
            raise CommandError(report.refused.message, report.refused.exit_code)
        if report.ready is not None and self._ready is not None and not self._ready.done():
            self._ready.set_result(report.ready)

    async def stop(self) -> None:
        """End the child and wait for it; safe to call twice."""
        if self.is_alive and not self._is_stopping:
            self._is_stopping = True
            self._process.terminate()
        if not await self._is_gone(STOP_S):
            self._process.kill()
            await self._is_gone(_GONE_S)

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


class ParentLink:
    """The child's end of the socketpair: configuration in, reports out, end-of-file when the parent is gone."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._is_ending = threading.Event()

    def configuration(self) -> bytes:
        """Wait for the parent's line; leaves with exit code 0 when the parent is gone."""
        line = self._lines.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise SystemExit(0)
        return line

    def close(self) -> None:
        """Close this end."""
        self._lines.close()
        self._socket.close()

    def report(self, report: Report) -> None:
        """Send one line; a parent that does not read loses it."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self._socket.send(_ENCODER.encode(report) + b"\n", socket.MSG_DONTWAIT)

    def watch(self, stop: Callable[[], None]) -> None:
        """Call `stop` on the running loop when the parent is gone; leave hard when that takes over a second."""
        loop = asyncio.get_running_loop()

        def wait_for_end() -> None:
            while self._lines.readline(LINE_BYTES):
                pass
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
                loop.call_soon_threadsafe(stop)
            time.sleep(_ORPHAN_GRACE_S)
            os._exit(0)

        threading.Thread(target=wait_for_end, name="parent-watch", daemon=True).start()


class Ending:
    """When and why everything ends: by a signal, or by a part that ended; then `reason` holds its error."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason: CommandError | None = None

    async def follow(self, child: Child) -> None:
        """Run a child; its end is the end of everything."""
        try:
            await child.run()
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
    async def by_signal(self) -> AsyncIterator[None]:
        """End on SIGINT and SIGTERM while the block runs; after it, raise the reason if there is one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.event.set)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        if self.reason is not None:
            raise self.reason


async def report_stats(link: ParentLink, read: Callable[[], dict[str, float]], every_s: float = 1.0) -> None:
    """Send the counters of this child once a second, for ever."""
    while True:
        link.report(Report(stats=read()))
        await asyncio.sleep(every_s)


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


Work = Callable[[asyncio.Event], Coroutine[object, object, None]]


def run_for_parent(link: ParentLink, work: Work) -> Exit:
    """Run a child's work until its parent, SIGTERM or itself ends it; a reason to fail goes to the parent."""

    async def watched() -> None:
        ending = Ending()
        link.watch(ending.event.set)
        async with ending.by_signal():
            await work(ending.event)

    try:
        asyncio.run(watched())
    except (CommandError, ExceptionGroup) as error:
        reason = cause(error)
        if not isinstance(reason, CommandError):
            raise
        link.report(Report(refused=Refusal(str(reason), reason.code)))
        return reason.code
    return Exit.OK
