import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from media.coturn.coturn import Coturn, CoturnError, CoturnSettings, found_program, version_of
from tests.media.coturn.coturn_double import program
from tests.media.coturn.test_coturn_config import RULES
from tests.ports import free_port
from tests.running import ends_within

QUICK = CoturnSettings(look_s=0.05, answer_s=10.0, silent_times=2, stop_s=0.2, ready_s=15.0)


class Running:
    """A coturn of ours, for a test."""

    def __init__(self, coturn: Coturn, folder: Path) -> None:
        self.coturn = coturn
        self.folder = folder
        self.stopping = asyncio.Event()
        self.is_ready = asyncio.Event()


def coturn(folder: Path, path: str, certificate: tuple[str, str] | None = None, **changes: object) -> Coturn:
    rules = msgspec.structs.replace(
        RULES, listener_hosts=("127.0.0.1",), port=free_port(), folder=str(folder), certificate=certificate
    )
    return Coturn(msgspec.structs.replace(QUICK, program=path, **changes), rules)


async def trouble_of(made: Coturn, ready: asyncio.Event | None = None) -> CoturnError:
    with pytest.raises(CoturnError) as caught:
        await made.run((ready or asyncio.Event()).set, asyncio.Event())
    return caught.value


@contextlib.asynccontextmanager
async def running(made: Coturn, folder: Path) -> AsyncIterator[Running]:
    one = Running(made, folder)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(made.run(one.is_ready.set, one.stopping))
        await one.is_ready.wait()
        yield one
        one.stopping.set()


async def test_it_is_ready_when_it_answers_and_ends_when_told(tmp_path: Path) -> None:
    async with running(coturn(tmp_path, program(tmp_path)), tmp_path) as one:
        assert one.coturn.version == (4, 10, 0)
        written = tmp_path / "turnserver.conf"
        assert written.stat().st_mode & 0o777 == 0o600
        assert "static-auth-secret=new" in written.read_text()
        pid = one.coturn.pid
    assert ends_within(pid, 30)
    assert not written.exists(), "it holds the secret"


async def test_an_old_version_is_refused_with_the_reason_or_accepted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = program(tmp_path, "4.6.1")
    error = await trouble_of(coturn(tmp_path, old))
    assert "4.6.1 is older than 4.10.0" in str(error)
    assert "TURN_COTURN_ACCEPT_OLD" in str(error)
    assert not error.has_worked
    async with running(coturn(tmp_path, old, accepts_old=True), tmp_path):
        (warned,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "CVE-2026-27624" in warned.__dict__["reason"]


async def test_its_end_is_ours(tmp_path: Path) -> None:
    made, is_ready = coturn(tmp_path, program(tmp_path)), asyncio.Event()

    async def end() -> None:
        await is_ready.wait()
        os.kill(made.pid, signal.SIGKILL)

    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        error = await trouble_of(made, is_ready)
    assert str(error).startswith("coturn ended by itself (signal SIGKILL)")
    assert error.has_worked


@pytest.mark.slow
async def test_one_that_answers_no_more_is_ended(tmp_path: Path) -> None:
    error = await trouble_of(coturn(tmp_path, program(tmp_path, answers=2, ignores_term=True), answer_s=0.2))
    assert str(error) == "coturn does not answer any more, 2 times in a row"
    assert error.has_worked


@pytest.mark.slow
async def test_one_that_does_not_start_is_told(tmp_path: Path) -> None:
    error = await trouble_of(coturn(tmp_path, program(tmp_path, fails=True)))
    assert str(error).startswith("coturn did not start (exit code 3)")
    assert not error.has_worked
    silent = await trouble_of(coturn(tmp_path, program(tmp_path, answers=0), answer_s=0.2, ready_s=0.3))
    assert str(silent).startswith("coturn did not answer within 0.3 s")


def replace(path: str, text: str) -> None:
    draft = Path(path + ".new")
    draft.write_text(text)
    draft.replace(path)


async def test_a_new_certificate_is_told_once_its_files_settled(tmp_path: Path) -> None:
    pair = (str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    for path in pair:
        replace(path, "one")
    noted = tmp_path / "noted"
    os.mkfifo(noted)
    descriptor, is_told = os.open(noted, os.O_RDONLY | os.O_NONBLOCK), asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, is_told.set)
    try:
        async with running(coturn(tmp_path, program(tmp_path), pair), tmp_path) as one:
            for path in pair:
                replace(path, "two")
            await is_told.wait()
            assert one.coturn.reloads == 1
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_what_is_no_coturn_is_told(tmp_path: Path) -> None:
    with pytest.raises(CoturnError, match="TURN_COTURN_PROGRAM"):
        found_program(str(tmp_path / "nowhere"))
    with pytest.raises(CoturnError, match="it is no coturn"):
        await version_of(program(tmp_path, "of no use"))
