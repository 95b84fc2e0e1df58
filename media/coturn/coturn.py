"""Runs coturn in the place of our own relay: checks its version, starts it, asks whether it answers, stops it."""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from media.coturn import coturn_config
from media.coturn.coturn_config import CoturnRules, Version, parse_version, shown
from media.turn import stun
from media.turn_check.client import TurnClient
from media.turn_check.dialog import Dialog
from media.turn_check.link import UdpLink
from media.turn_check.verdict import LinkError

log = logging.getLogger(__name__)

CONFIGURATION = "turnserver.conf"
_VERSION_S = 10.0
_TRY_S = 0.05
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""Of util-linux: has the kernel end coturn when this process is gone, however that came."""


class CoturnError(Exception):
    """coturn cannot be used, or is gone; the sentence says why. `has_worked`: it was ready before."""

    def __init__(self, message: str, *, has_worked: bool = False) -> None:
        super().__init__(message)
        self.has_worked = has_worked


class CoturnSettings(msgspec.Struct, frozen=True):
    """The program and how to treat it. `accepts_old` takes versions that are refused otherwise. Waits in seconds."""

    program: str = "turnserver"
    accepts_old: bool = False
    ready_s: float = 15.0
    look_s: float = 2.0
    answer_s: float = 3.0
    silent_times: int = 5
    stop_s: float = 5.0


Stamp = tuple[tuple[int, int] | None, ...]


class Coturn:
    """One coturn process, from `run` to its end; its log goes to our stderr."""

    def __init__(self, settings: CoturnSettings, rules: CoturnRules) -> None:
        self.version: Version | None = None
        self.reloads = 0
        self.pid = 0
        self._settings = settings
        self._rules = rules
        self._silent = 0

    async def run(self, ready: Callable[[], None], stopping: asyncio.Event) -> None:
        """Serve until `stopping`; `ready` is called once it answers.

        Raises: CoturnError when it cannot be used or ends by itself; ValueError for a text that cannot be configured.
        """
        program = found_program(self._settings.program)
        self.version = await version_of(program)
        self._judge(self.version)
        path = self._write(coturn_config.render(self._rules, self.version))
        process = await self._start(program, path)
        self.pid = process.pid
        try:
            await self._become_ready(process)
            log.info("coturn ready", extra={"version": shown(self.version), "pid": process.pid})
            ready()
            async with asyncio.TaskGroup() as group:
                ended, stop = group.create_task(process.wait()), group.create_task(stopping.wait())
                trouble = await self._trouble(process, (ended, stop))
                ended.cancel()
                stop.cancel()
        finally:
            await self._stop(process)
            path.unlink(missing_ok=True)  # it holds the secret
        if trouble:
            raise CoturnError(trouble, has_worked=True)

    def _judge(self, version: Version) -> None:
        reason = coturn_config.refusal(version)
        if reason is None:
            return
        if not self._settings.accepts_old:
            raise CoturnError(f"{reason}; install a newer one, or accept it with TURN_COTURN_ACCEPT_OLD")
        log.warning("old coturn accepted", extra={"reason": reason})

    def _write(self, text: str) -> Path:
        path = Path(self._rules.folder) / CONFIGURATION
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        return path

    async def _start(self, program: str, path: Path) -> asyncio.subprocess.Process:
        leash = _ENDS_WITH_US if shutil.which(_ENDS_WITH_US[0]) else ()
        secret = self._rules.redis.password if self._rules.redis else ""
        output = _masking(secret) if secret else os.dup(sys.stderr.fileno())
        try:
            return await asyncio.create_subprocess_exec(
                *leash, program, "-c", str(path), stdin=asyncio.subprocess.DEVNULL, stdout=output
            )
        finally:
            os.close(output)

    async def _become_ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self._settings.ready_s):
                while not await self._answers(_TRY_S):
                    if process.returncode is not None:
                        raise CoturnError(f"coturn did not start ({_end(process)}); its log above may say why")
                    await asyncio.sleep(_TRY_S)
        except TimeoutError:
            raise CoturnError(
                f"coturn did not answer within {self._settings.ready_s:g} s; its log above may say why"
            ) from None

    async def _trouble(
        self, process: asyncio.subprocess.Process, ends: tuple[asyncio.Task[int], asyncio.Task[Literal[True]]]
    ) -> str:
        """Look after it until it is in trouble; empty when we are to stop."""
        seen = used = self._stamp()
        ended, stop = ends
        while True:
            await asyncio.wait(ends, timeout=self._settings.look_s, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return ""
            if ended.done():
                return f"coturn ended by itself ({_end(process)}); its log above may say why"
            before, seen = seen, self._stamp()
            if seen not in (used, before):
                continue  # two files change in two steps
            if seen != used:
                used = seen
                self._tell_of_certificate(process)
            self._silent = 0 if await self._answers(self._settings.answer_s) else self._silent + 1
            if self._silent >= self._settings.silent_times:
                return f"coturn does not answer any more, {self._silent} times in a row"

    def _tell_of_certificate(self, process: asyncio.subprocess.Process) -> None:
        self.reloads += 1
        process.send_signal(signal.SIGUSR2)
        log.info("coturn told of a new certificate", extra={"pid": process.pid})

    async def _answers(self, limit_s: float) -> bool:
        try:
            link = UdpLink(self._rules.listener_hosts[0], self._rules.port)
        except LinkError:
            return False
        dialog = Dialog(link, TurnClient(None, lambda: secrets.token_bytes(12)), limit_s)
        try:
            return (await dialog.ask_once(stun.BINDING)).code == 0
        except LinkError:
            return False
        finally:
            dialog.leave()

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._settings.stop_s):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _stamp(self) -> Stamp:
        return tuple(map(_stamp_of, self._rules.certificate or ()))


def _masking(secret: str) -> int:
    """Return where coturn may write: it tells the password of its Redis, which comes out as ***."""
    reading, writing = os.pipe()

    def copy() -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                sys.stderr.write(line.replace(secret, "***"))
                sys.stderr.flush()

    threading.Thread(target=copy, name="coturn-log", daemon=True).start()
    return writing


def found_program(program: str) -> str:
    """Return the path of the program. Raises: CoturnError."""
    path = shutil.which(str(Path(program).expanduser()))
    if path is None:
        raise CoturnError(f"{program} is not there: install coturn, or name its program with TURN_COTURN_PROGRAM")
    return path


async def version_of(program: str) -> Version:
    """Ask a program for its version. Raises: CoturnError."""
    process = await asyncio.create_subprocess_exec(
        program,
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_VERSION_S):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        told = b""
    version = parse_version(told.decode(errors="replace"))
    if version is None:
        raise CoturnError(f"{program} does not tell its version: it is no coturn")
    return version


def _end(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    if code is None:
        return "still there"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _stamp_of(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
