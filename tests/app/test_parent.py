import os
import select
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from app.parent import ParentLink
from app.report import Report
from tests.app.children import ROOT, script

LIMIT_S = 25.0  # twice within the limit of a test
_WORKING = """
        from app.parent import ParentLink, run_for_parent
        from app.report import Ready, Report
        lines.close()
        parent = ParentLink(link.detach())
        async def work(stopping):
            parent.report(Report(ready=Ready()))
            await stopping.wait()
        sys.exit(run_for_parent(parent, work))
    """


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = script(tmp_path, textwrap.dedent(_WORKING))
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
    readable, _, _ = select.select([descriptor], [], [], LIMIT_S)  # a pidfd is readable once its process has ended
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


def test_a_child_ends_when_its_parent_is_gone_with_reports_unread(tmp_path: Path) -> None:
    command = script(tmp_path, textwrap.dedent(_WORKING))
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([*command, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    ours.sendall(b"{}\n")
    assert select.select([ours], [], [], LIMIT_S)[0]
    ours.close()  # with the report in it: the child reads no end but a reset
    assert process.wait(LIMIT_S) == 0
