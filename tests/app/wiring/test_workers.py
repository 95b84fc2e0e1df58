"""The parent of several workers, with children of a few lines in their place."""

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.exits import CommandError, Exit
from app.processes import READY_S, Child, Ending
from app.settings import Settings
from app.wiring.orders import WorkerOrder
from app.wiring.workers import BACKOFF_S, Worker
from tests.app.children import script

ORDER = WorkerOrder(Settings(drain_s=0.0), "keys", 1, 8080, 0, 0)
RELAY = """
    say(stats={"allocations": 3}, usage={"00": [1, 2, 3]})
    for line in lines: say(notice=line.decode())
"""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Child]:
    folder = tmp_path / "relay"
    folder.mkdir()
    child = Child("turn", script(folder, RELAY))
    yield child
    child.abandon()


def worker(tmp_path: Path, relay: Child, body: str, notices: list[str]) -> Worker:
    return Worker(ORDER, relay, notices.append, script(tmp_path, body))


async def test_one_that_ends_by_itself_is_started_again_and_that_is_told(tmp_path: Path, relay: Child) -> None:
    notices: list[str] = []
    again = worker(tmp_path, relay, f"""
        starts = {str(tmp_path / 'starts')!r}
        with open(starts, "a") as file: file.write(",".join(order["turn_uris"]) + " ")
        say(ready={{"slot": 4, "pid": os.getpid()}})
        if len(open(starts).read().split()) < 3: os.kill(os.getpid(), signal.SIGKILL)
        say(notice="third")
        time.sleep(60)
    """, notices)  # fmt: skip
    again.configure(("turn:h:1",))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(again.run())
        said = await again.ready()
        assert said.slot == 4
        assert said.pid
        while "third" not in notices:  # noqa: ASYNC110  # it tells nobody else
            await asyncio.sleep(0.01)
        running.cancel()
    assert (tmp_path / "starts").read_text() == "turn:h:1 turn:h:1 turn:h:1 "
    ended = "worker 2 ended by itself (signal SIGKILL); it is started again in"
    assert notices == [f"{ended} {BACKOFF_S:g} s", f"{ended} {2 * BACKOFF_S:g} s", "third"]


async def test_one_that_never_serves_ends_all_with_its_own_reason(tmp_path: Path, relay: Child) -> None:
    first = worker(tmp_path, relay, 'say(refused={"message": "SLOT: taken", "exit_code": 2})', [])
    first.configure(())
    ending = Ending()
    async with asyncio.timeout(20):
        await ending.follow(first)
    assert isinstance(ending.reason, CommandError)
    assert (str(ending.reason), ending.reason.code) == ("SLOT: taken", Exit.USAGE)


async def test_one_that_cannot_serve_again_is_tried_again(tmp_path: Path, relay: Child) -> None:
    notices: list[str] = []
    again = worker(tmp_path, relay, f"""
        mark = {str(tmp_path / 'mark')!r}
        if os.path.exists(mark): say(refused={{"message": "Redis is away.", "exit_code": 3}}); sys.exit(3)
        open(mark, "w").close()
        say(ready={{}})
    """, notices)  # fmt: skip
    again.configure(())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(again.run())
        await again.ready()
        while len(notices) < 2:  # noqa: ASYNC110  # it tells nobody else
            await asyncio.sleep(0.01)
        running.cancel()
    ended = f"it is started again in {BACKOFF_S:g} s"
    assert notices[0] == f"worker 2 ended by itself (exit code 0); {ended}"
    assert notices[1].startswith("worker 2 cannot serve: Redis is away.; it is started again in 0.")


async def test_one_that_hangs_when_it_is_started_again_is_killed_and_tried_again(
    tmp_path: Path, relay: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    is_back, life = asyncio.Event(), tmp_path / "life"
    monkeypatch.setattr("app.wiring.workers.BACKOFF_S", 0.01)
    monkeypatch.setattr("app.wiring.workers.STEADY_S", 0.0)  # the one that hangs lives longer, but does not serve
    lives = iter((("hang", 0.05), ("serve", READY_S), ("", 0.0)))

    def note(sentence: str) -> None:
        notices.append(sentence)
        what, ready_s = next(lives)
        life.write_text(what)
        monkeypatch.setattr("app.processes.READY_S", ready_s)
        if not what:
            is_back.set()

    life.write_text("first")
    again = Worker(ORDER, relay, note, script(tmp_path, f"""
        life = open({str(life)!r}).read()
        if life != "hang": say(ready={{"pid": os.getpid()}})
        if life == "serve": say(notice="serves again")
        time.sleep(600)
    """))  # fmt: skip
    again.configure(())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(again.run())
        said = await again.ready()
        os.kill(said.pid, signal.SIGKILL)
        await is_back.wait()
        running.cancel()
    assert notices == [
        "worker 2 ended by itself (signal SIGKILL); it is started again in 0.01 s",
        "worker 2 was not ready in 0.05 s; it is started again in 0.02 s",
        "serves again",
    ]


@pytest.mark.parametrize(("slot", "more_s"), [("", 0.0), ("4", 60.0)])
def test_one_that_must_have_a_slot_may_wait_for_its_last_lease(
    tmp_path: Path, relay: Child, slot: str, more_s: float
) -> None:
    order = msgspec.structs.replace(ORDER, settings=Settings(slot=slot, node_lease_s=60.0))
    waiting = Worker(order, relay, lambda _: None, script(tmp_path, "time.sleep(600)"))
    assert waiting._child.ready_s == READY_S + more_s
    waiting.abandon()


async def test_one_for_which_there_is_no_process_is_tried_again(
    tmp_path: Path, relay: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    again = worker(tmp_path, relay, f"""
        mark = {str(tmp_path / 'mark')!r}
        say(ready={{}})
        if os.path.exists(mark): say(notice="back"); time.sleep(60)
        open(mark, "w").close()
    """, notices)  # fmt: skip
    again.configure(())
    refused = [OSError(errno.EAGAIN, "no process"), OSError(errno.ENOMEM, "no memory")]

    def made(*words: Any) -> Child:
        if refused:
            raise refused.pop(0)
        return Child(*words)

    monkeypatch.setattr("app.wiring.workers.Child", made)
    monkeypatch.setattr("app.wiring.workers.BACKOFF_S", 0.01)
    again._backoff_s = 0.01
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(again.run())
        while "back" not in notices:  # noqa: ASYNC110  # it tells nobody else
            await asyncio.sleep(0.01)
        running.cancel()
    assert notices[1:3] == [
        "worker 2 cannot be started: no process; it is started again in 0.02 s",
        "worker 2 cannot be started: no memory; it is started again in 0.04 s",
    ]


async def test_it_hears_of_the_relay_and_the_relay_of_it(tmp_path: Path, relay: Child) -> None:
    notices: list[str] = []
    both = worker(tmp_path, relay, """
        say(ready={})
        say(news=json.dumps({"type": "revoked", "channels": ["00"]}))
        say(news=json.dumps({"type": "minted", "username": "name", "expires_at": 1.0}))
        for line in lines: say(notice=line.decode())
    """, notices)  # fmt: skip
    heard: list[str] = []
    relay.on_notice = heard.append
    relay.configure(ORDER)
    both.configure(())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(relay.run()), group.create_task(both.run())]
        await both.ready()
        while not relay.stats:  # noqa: ASYNC110  # it tells nobody else
            await asyncio.sleep(0.01)
        for with_numbers in (True, False):
            both.tell_of_relay(with_numbers=with_numbers)
        while len(notices) < 2 or len(heard) < 2:  # noqa: ASYNC110  # they tell nobody else
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
    assert '"stats":{"allocations":3.0},"usage":{"00":[1,2,3]}' in notices[0]
    assert "stats" not in notices[1]
    assert "usage" not in notices[1]
    assert '"revoked","channels":["00"]' in heard[0]
    assert '"minted"' in heard[1]


async def test_in_a_hurry_none_is_started_again(tmp_path: Path, relay: Child) -> None:
    quick = worker(tmp_path, relay, "say(ready={}); time.sleep(60)", [])
    quick.configure(())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(quick.run())
        await quick.ready()
        quick.hurry()


async def test_what_ends_by_hand_tells_its_workers_so(tmp_path: Path, relay: Child) -> None:
    told = tmp_path / "told"
    by_hand = worker(tmp_path, relay, f"""
        def note(number, _):
            with open({str(told)!r}, "w") as file: file.write(signal.Signals(number).name)
            sys.exit()
        for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, note)
        say(ready={{}})
        while True: time.sleep(600)
    """, [])  # fmt: skip
    by_hand.configure(())
    by_hand.quicken()  # too early: a child that loads its code knows of no signal
    assert by_hand._child.stop_signal is signal.SIGTERM
    async with asyncio.TaskGroup() as group:
        running = group.create_task(by_hand.run())
        await by_hand.ready()
        by_hand.quicken()
        running.cancel()
    assert told.read_text() == "SIGINT"
