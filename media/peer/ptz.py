"""Moves of the camera by a configured program: an argument list, never a shell; one at a time, the newest next."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

from media.peer.commands import Move

_log = logging.getLogger(__name__)

LIMIT_S = 5.0
_STDERR_BYTES = 400
_REAP_S = 1.0
REPLACED = "a newer move took its place"


class PtzError(Exception):
    """The camera did not move; the text says why."""


class Ptz:
    """Runs `words` and then `move PAN TILT ZOOM` (-1 to 1) or `preset NUMBER`, for all viewers of a master.

    While the program runs one more move waits; a newer one takes its place, so that the last stop always comes.
    """

    def __init__(self, words: Sequence[str], limit_s: float = LIMIT_S) -> None:
        self._words = tuple(words)
        self._limit_s = limit_s
        self._is_running = False
        self._next: asyncio.Future[bool] | None = None

    async def move(self, move: Move) -> None:
        """Run the program to its end. Raises: PtzError."""
        self._tell_next(is_its_turn=False)
        if self._is_running and not await self._turn():
            raise PtzError(REPLACED)
        self._is_running = True
        try:
            await self._run(move.words())
        finally:
            self._is_running = self._tell_next(is_its_turn=True)

    async def _turn(self) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._next = turn
        try:
            return await turn
        except asyncio.CancelledError:  # its viewer is gone, at worst with the turn in hand
            if not turn.cancelled() and turn.result():
                self._is_running = self._tell_next(is_its_turn=True)
            raise

    def _tell_next(self, *, is_its_turn: bool) -> bool:
        """Let the move that waits run or give up; whether there was one whose viewer is still here."""
        turn, self._next = self._next, None
        if turn is None or turn.done():
            return False
        turn.set_result(is_its_turn)
        return True

    async def _run(self, words: tuple[str, ...]) -> None:
        null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words, *words, stdin=null, stdout=null, stderr=pipe, start_new_session=True, limit=_STDERR_BYTES
            )
        except OSError as error:
            raise PtzError(f"the command does not start: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._limit_s):
                code = await _end(process)
        except TimeoutError:
            raise PtzError(f"the command took longer than {self._limit_s:g} s") from None
        finally:
            # Its children too, also those that outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):  # by sudo it is somebody else's
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REAP_S):
                    await process.communicate()
        if code:
            raise PtzError(f"the command ended with {code}")


async def _end(process: asyncio.subprocess.Process) -> int:
    stderr = process.stderr
    assert stderr is not None  # noqa: S101  a pipe was asked for
    said = b""
    while block := await stderr.read(4096):
        said = (said + block)[-_STDERR_BYTES:]
    code = await process.wait()
    if code:
        _log.warning("ptz command failed", extra={"code": code, "stderr": said.decode("utf-8", "replace").strip()})
    return code
