import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from app.exits import CommandError, Exit
from app.processes import Child, Ending, ParentLink, PartEndedError, Report, flatten, since_start_ms

ROOT = Path(__file__).parent.parent.parent


class Order(msgspec.Struct):
    """What these tests send to their children."""

    do: str


def script(tmp_path: Path, body: str) -> tuple[str, ...]:
    """Return the command of a child that speaks the protocol of the socketpair."""
    path = tmp_path / "child.py"
    head = """
        import json, os, signal, socket, sys, time
        sys.path.insert(0, ROOT)
        link = socket.socket(fileno=int(sys.argv[-1]))
        lines = link.makefile("rb")
        order = json.loads(lines.readline())
        def say(**report): link.sendall(json.dumps(report).encode() + b"\\n")
    """
    path.write_text(f"ROOT = {str(ROOT)!r}\n" + textwrap.dedent(head) + textwrap.dedent(body))
    return (sys.executable, str(path))


async def test_a_child_gets_its_order_and_says_that_it_is_ready(tmp_path: Path) -> None:
    child = Child("part", script(tmp_path, "say(ready={'got': order['do']}); time.sleep(30)"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        child.configure(Order("shine"))
        assert await child.ready() == {"got": "shine"}
        assert child.is_alive
        running.cancel()
    assert not child.is_alive


async def test_counters_and_notices_arrive(tmp_path: Path) -> None:
    body = "say(stats={'allocations': 3.0}); say(notice='port 3478 is taken'); say(ready={}); time.sleep(30)"
    child = Child("part", script(tmp_path, body))
    notices: list[str] = []
    child.on_notice = notices.append
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        child.configure(Order("count"))
        await child.ready()
        running.cancel()
    assert (child.stats, notices) == ({"allocations": 3.0}, ["port 3478 is taken"])


async def test_half_a_line_is_skipped(tmp_path: Path) -> None:
    body = """
        link.sendall(b'{"stats":{"allo')
        link.sendall(b'\\n')
        say(stats={"allocations": 1.0}); say(ready={}); time.sleep(30)
    """
    child = Child("part", script(tmp_path, textwrap.dedent(body)))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        child.configure(Order("stutter"))
        await child.ready()
        assert child.silent_s < 1
        running.cancel()
    assert child.stats == {"allocations": 1.0}


async def test_a_child_that_ends_before_it_is_ready_fails_who_waits_for_it(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "sys.exit(7)"))
    child.configure(Order("end"))
    with pytest.raises(PartEndedError):
        await child.run()
    with pytest.raises(PartEndedError, match="relay ended by itself"):
        await child.ready()


async def test_the_first_part_that_ends_is_the_reason(tmp_path: Path) -> None:
    ending = Ending()
    first = Child("first", script(tmp_path, "sys.exit(1)"))
    first.configure(Order("end"))
    await ending.follow(first)
    ending.fail(PartEndedError("second ended by itself"))
    assert ending.event.is_set()
    with pytest.raises(PartEndedError, match="first ended by itself"):
        async with ending.by_signal():
            pass


async def test_a_signal_ends_without_a_reason() -> None:
    ending = Ending()
    async with ending.by_signal():
        os.kill(os.getpid(), signal.SIGTERM)
        await ending.event.wait()
        assert not await ending.comes_after(asyncio.Event().wait())
    assert ending.reason is None


async def test_what_comes_before_the_end_is_told() -> None:
    assert await Ending().comes_after(asyncio.sleep(0))


async def test_what_comes_with_the_end_does_not_count() -> None:
    ending = Ending()
    ending.event.set()
    assert not await ending.comes_after(asyncio.sleep(0))


def test_numbers_of_nested_counters_become_dotted_names() -> None:
    class Inner(msgspec.Struct):
        frames: int = 3
        name: str = "x264"

    class Outer(msgspec.Struct):
        inner: Inner
        ends: dict[str, int]

    assert flatten(Outer(Inner(), {"left": 2}), "feed") == {"feed.inner.frames": 3.0, "feed.ends.left": 2.0}


def test_the_age_of_this_process_is_known() -> None:
    assert 0 < since_start_ms() < 24 * 3600 * 1000


async def test_a_child_that_ends_by_itself_is_told_by_name(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "sys.exit(7)"))
    child.configure(Order("end"))
    with pytest.raises(PartEndedError, match=r"relay ended by itself \(exit code 7\)") as caught:
        await child.run()
    assert caught.value.code is Exit.PART_ENDED


async def test_a_killed_child_is_told_by_its_signal(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    child.configure(Order("die"))
    with pytest.raises(PartEndedError, match=r"relay ended by itself \(signal SIGKILL\)"):
        await child.run()


async def test_a_child_that_cannot_work_says_why(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "say(refused={'message': 'TURN_PORT: 1 is taken', 'exit_code': 2})"))
    child.configure(Order("start"))
    with pytest.raises(CommandError, match="TURN_PORT: 1 is taken") as caught:
        await child.run()
    assert caught.value.code is Exit.USAGE


@pytest.mark.slow
async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(ready={}); time.sleep(60)"
    child = Child("part", script(tmp_path, body))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        child.configure(Order("stay"))
        await child.ready()
        started = asyncio.get_running_loop().time()
        running.cancel()
    assert not child.is_alive
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_parent_that_fails_before_its_loop_leaves_no_child(tmp_path: Path) -> None:
    child = Child("part", script(tmp_path, "time.sleep(60)"))
    child.abandon()
    assert not child.is_alive


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    body = """
        from app.processes import ParentLink, Report, run_for_parent
        lines.close()
        parent = ParentLink(link.detach())
        async def work(stopping):
            parent.report(Report(ready={}))
            await stopping.wait()
        sys.exit(run_for_parent(parent, work))
    """
    command = script(tmp_path, textwrap.dedent(body))
    parent = f"""
        import asyncio, sys
        sys.path.insert(0, {str(ROOT)!r})
        from app.processes import Child
        import msgspec
        class Order(msgspec.Struct):
            do: str = "wait"
        async def main():
            child = Child("part", {command!r})
            async with asyncio.TaskGroup() as group:
                group.create_task(child.run())
                child.configure(Order())
                await child.ready()
                print(child.pid, flush=True)
        asyncio.run(main())
    """
    program = [sys.executable, "-c", textwrap.dedent(parent)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        descriptor = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    readable, _, _ = select.select([descriptor], [], [], 5)  # a pidfd is readable once its process has ended
    os.close(descriptor)
    assert readable, "the child outlives its parent"


def test_a_child_whose_parent_is_gone_before_its_order_leaves_at_once() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    link = ParentLink(theirs.detach())
    with pytest.raises(SystemExit) as caught:
        link.configuration()
    link.close()
    assert caught.value.code == 0


def test_a_report_that_nobody_reads_is_lost_and_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    link = ParentLink(theirs.detach())
    for _ in range(10_000):
        link.report(Report(stats={"allocations": 1.0}))
    ours.close()
    link.report(Report(stats={"allocations": 1.0}))
    link.close()
