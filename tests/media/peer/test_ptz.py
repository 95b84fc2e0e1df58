import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from media.peer.commands import Move
from media.peer.ptz import REPLACED, Ptz, PtzError

pytestmark = pytest.mark.slow
NOTES = "import sys,pathlib; pathlib.Path(sys.argv[1]).open('a').write('|'.join(sys.argv[2:]) + '\\n')"


def noting(path: Path, more: str = "") -> Ptz:
    return Ptz((sys.executable, "-c", NOTES + more, str(path)), limit_s=10)


async def test_the_program_gets_the_move_as_arguments(tmp_path: Path) -> None:
    ptz = noting(tmp_path / "moves")
    await ptz.move(Move(pan=0.5, tilt=-1))
    await ptz.move(Move(preset=7))
    assert (tmp_path / "moves").read_text().splitlines() == ["move|0.500|-1.000|0.000", "preset|7"]


async def test_of_moves_that_come_meanwhile_only_the_newest_is_carried_out(tmp_path: Path) -> None:
    ptz = noting(tmp_path / "moves")
    async with asyncio.TaskGroup() as group:
        moves = [group.create_task(outcome(ptz, Move(pan=pan))) for pan in (0.1, 0.2, 0.3, 0.0)]
    assert [task.result() for task in moves] == ["", REPLACED, REPLACED, ""]
    assert (tmp_path / "moves").read_text().splitlines() == ["move|0.100|0.000|0.000", "move|0.000|0.000|0.000"]


class Slow(Ptz):
    """A program that ends when the test says so."""

    def __init__(self) -> None:
        super().__init__(())
        self.begun: list[tuple[str, ...]] = []
        self.ends = asyncio.Semaphore(0)

    async def _run(self, words: tuple[str, ...]) -> None:
        self.begun.append(words)
        await self.ends.acquire()


async def turns() -> None:
    """All that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_move_that_waits_is_told_at_once_that_a_newer_one_took_its_place() -> None:
    ptz = Slow()
    async with asyncio.TaskGroup() as group:
        moves = [group.create_task(outcome(ptz, Move(preset=number))) for number in range(3)]
        assert await moves[1] == REPLACED
        assert ptz.begun == [("preset", "0")]
        ptz.ends.release()
        ptz.ends.release()
    assert ptz.begun == [("preset", "0"), ("preset", "2")]


@pytest.mark.parametrize("has_its_turn", [False, True])
async def test_a_viewer_that_leaves_keeps_the_turn_from_nobody(has_its_turn: bool) -> None:
    ptz = Slow()
    async with asyncio.TaskGroup() as group:
        group.create_task(ptz.move(Move(preset=0)))
        leaver = group.create_task(ptz.move(Move(preset=1)))
        await turns()
        if has_its_turn:
            ptz.ends.release()
            await asyncio.sleep(0)  # the first has ended, and the leaver does not know yet
            assert (ptz._next, ptz.begun) == (None, [("preset", "0")])
        leaver.cancel()
        last = group.create_task(ptz.move(Move(preset=2)))
        await turns()
        ptz.ends.release()
        ptz.ends.release()
        await last
    assert ptz.begun == [("preset", "0"), ("preset", "2")]
    assert not ptz._is_running


async def outcome(ptz: Ptz, move: Move) -> str:
    try:
        await ptz.move(move)
    except PtzError as error:
        return str(error)
    return ""


async def test_a_program_that_fails_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        said = await outcome(Ptz((sys.executable, "-c", "raise SystemExit('no camera')")), Move())
    assert said == "the command ended with 1"
    assert getattr(caplog.records[-1], "stderr", "") == "no camera"
    assert "does not start" in await outcome(Ptz(("/nowhere/ptz",)), Move())


async def test_a_program_of_another_user_that_hangs_costs_its_move_and_not_the_viewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(group: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    said = await outcome(Ptz((sys.executable, "-c", "import time; time.sleep(0.5)"), limit_s=0.05), Move())
    assert said == "the command took longer than 0.05 s"


async def test_a_program_that_hangs_is_ended_with_its_children() -> None:
    hangs = "import subprocess,sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    said = await outcome(Ptz((sys.executable, "-c", hangs), limit_s=0.5), Move())
    assert said == "the command took longer than 0.5 s"
