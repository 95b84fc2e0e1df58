import asyncio
import os
import signal
import textwrap
from pathlib import Path

import msgspec
import pytest

from app.exits import CommandError, Exit
from app.processes import READY_S, Child, Ending, PartEndedError, flatten, since_start_ms
from app.report import Ready
from tests.app.children import script


class Order(msgspec.Struct):
    """What these tests send to their children."""

    do: str


async def test_a_child_gets_its_order_and_says_that_it_is_ready(tmp_path: Path) -> None:
    child = Child("part", script(tmp_path, "say(ready={'uris': [order['do']]}); time.sleep(30)"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        child.configure(Order("shine"))
        assert await child.ready() == Ready(("shine",))
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
        assert child.silent_s < 30
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


@pytest.mark.parametrize(("code", "is_reason"), [(0, False), (5, True)])
async def test_a_part_that_is_told_to_end_as_we_are_is_no_reason(tmp_path: Path, code: int, is_reason: bool) -> None:
    ending, part = Ending(), Child("part", script(tmp_path, f"sys.exit({code})"))
    part.configure(Order("end"))
    ending.event.set()
    await ending.follow(part)
    assert (ending.reason is not None) is is_reason


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_child", [True, False])
async def test_a_signal_ends_without_a_reason(number: int, is_child: bool) -> None:
    ending = Ending()
    async with ending.by_signal(is_child=is_child):
        os.kill(os.getpid(), number)
        await ending.event.wait()
        assert ending.is_by_hand == (number == signal.SIGINT)
        assert not await ending.comes_after(asyncio.Event().wait())
    assert ending.reason is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_is_of_somebody_in_a_hurry(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.processes._SAME_S", 0.0)
    ending, hurried = Ending(), asyncio.Event()
    ending.on_hurry.append(hurried.set)
    async with asyncio.timeout(15), ending.by_signal():
        os.kill(os.getpid(), signal.SIGTERM)
        await ending.event.wait()
        assert not hurried.is_set()
        os.kill(os.getpid(), number)
        await hurried.wait()


@pytest.mark.parametrize("is_child", [True, False])
async def test_one_wish_that_is_told_twice_is_no_hurry(is_child: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.processes._SAME_S", 0.0 if is_child else 60.0)
    ending, hurried = Ending(), asyncio.Event()
    ending.on_hurry.append(hurried.set)
    async with asyncio.timeout(15), ending.by_signal(is_child=is_child):
        for _ in range(2):
            ending.event.clear()
            os.kill(os.getpid(), signal.SIGTERM)
            await ending.event.wait()
        assert not hurried.is_set()


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


async def test_a_child_that_never_says_that_it_works_is_killed(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"))
    child.ready_s, child.stop_s = 0.05, 300.0
    child.configure(Order("hang"))
    for wait in (child.run, child.ready):
        with pytest.raises(PartEndedError, match=r"relay was not ready in 0\.05 s"):
            await wait()
    assert not child.is_alive


async def test_a_time_in_which_we_were_stopped_is_no_time_to_start_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child("relay", script(tmp_path, "say(notice='begun'); lines.readline(); say(ready={}); time.sleep(600)"))
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    child.on_notice = lambda _: begun.set()
    child.configure(Order("work"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        await begun.wait()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 2 * READY_S)
        child.tell(Order("go on"))
        assert await child.ready() == Ready()
        running.cancel()


async def test_a_child_that_is_gone_is_told_nothing(tmp_path: Path) -> None:
    child = Child("relay", script(tmp_path, "sys.exit(7)"))
    assert child.tell(Order("early"))
    assert child.mention(Order("early"))
    child.configure(Order("end"))
    with pytest.raises(PartEndedError):
        await child.run()
    assert not child.tell(Order("late"))
    assert not child.mention(Order("late"))


async def test_a_child_that_said_that_it_works_may_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("relay", script(tmp_path, "say(ready={}); lines.readline(); say(notice='heard'); time.sleep(600)"))
    heard = asyncio.Queue[str]()
    child.on_notice = heard.put_nowait
    child.configure(Order("work"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        await child.ready()
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 2 * READY_S)
        child.tell(Order("speak"))
        assert await heard.get() == "heard"
        running.cancel()


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
    assert asyncio.get_running_loop().time() - started < 30, "it would end itself after a minute"


async def test_a_parent_that_fails_before_its_loop_leaves_no_child(tmp_path: Path) -> None:
    child = Child("part", script(tmp_path, "time.sleep(60)"))
    child.abandon()
    assert not child.is_alive


async def test_news_arrive_in_order_also_those_that_came_before_the_child_runs(tmp_path: Path) -> None:
    body = "say(ready={'uris': [json.loads(lines.readline())['do'] for _ in range(3)]}); time.sleep(30)"
    child = Child("part", script(tmp_path, body))
    child.tell(Order("first"))
    async with asyncio.TaskGroup() as group:
        child.configure(Order("listen"))
        child.tell(Order("second"))
        running = group.create_task(child.run())
        await asyncio.sleep(0)
        child.tell(Order("third"))
        assert await child.ready() == Ready(("first", "second", "third"))
        running.cancel()


@pytest.mark.slow
async def test_a_child_that_reads_no_news_is_ended(tmp_path: Path) -> None:
    child, ending = Child("relay", script(tmp_path, "say(ready={}); time.sleep(60)")), Ending()
    child.configure(Order("sleep"))
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(ending.follow(child))
        await child.ready()
        for _ in range(6):
            child.tell(Order("x" * 1_000_000))
        await ending.event.wait()
    assert str(ending.reason).startswith("relay ended by itself (signal SIGKILL)")


async def test_a_child_that_does_not_read_misses_mentions_and_nothing_else(tmp_path: Path) -> None:
    body = (
        "say(ready={}); say(notice=' '.join(json.loads(lines.readline())['do'][:5] for _ in range(3))); time.sleep(30)"
    )
    child, heard = Child("relay", script(tmp_path, body)), asyncio.Queue[str]()
    child.on_notice = heard.put_nowait
    child.configure(Order("listen"))
    assert child.mention(Order("early"))
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        running = group.create_task(child.run())
        await child.ready()
        child.tell(Order("x" * 2_000_000))
        assert not child.mention(Order("lost"))
        child.tell(Order("heard"))
        assert await heard.get() == "early xxxxx heard"
        assert child.mention(Order("late"))
        running.cancel()


async def test_a_child_may_take_its_time_unless_somebody_is_in_a_hurry(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    body = f"""
        signal.signal(signal.SIGTERM, lambda *_: open({str(told)!r}, "w").write("draining"))
        say(ready={{}})
        while True: time.sleep(1)
    """
    child, ending = Child("relay", script(tmp_path, textwrap.dedent(body))), Ending()
    child.stop_s = 60.0
    child.configure(Order("stay"))
    async with asyncio.timeout(15), ending.by_signal(), asyncio.TaskGroup() as group:
        running = group.create_task(ending.follow(child))
        await child.ready()
        os.kill(os.getpid(), signal.SIGTERM)
        await ending.event.wait()
        running.cancel()
        assert await asyncio.to_thread(told.read_text) == "draining"
        assert child.is_alive
        os.kill(os.getpid(), signal.SIGINT)
    assert not child.is_alive
    assert ending.reason is None
