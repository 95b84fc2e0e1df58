"""The bus over Redis when Redis is not there: what is refused, what is counted, what is named. Else: ../test_bus.py."""

import asyncio
from pathlib import Path

import pytest

from channels.bus import BusUnavailableError
from channels.redis.bus import RedisBus
from channels.redis.link import Link
from tests.redis_link import PATIENT_S, hurried, patient_settings, quick_settings, running_link, until
from tests.redis_server import RedisServer


async def test_without_a_link_nothing_is_published_and_posts_are_named(redis_prefix: str) -> None:
    link = Link(quick_settings("redis://127.0.0.1:1", prefix=redis_prefix))
    bus = RedisBus(link)
    unheard: list[tuple[str, bytes]] = []
    bus.post("t", b"before anybody listens")
    bus.on_unheard(lambda topic, payload: unheard.append((topic, payload)))

    bus.post("t", b"x")
    with pytest.raises(BusUnavailableError, match="no link"):
        await bus.publish("t", b"y")

    assert unheard == [("t", b"x")]
    assert link.stats.posts_unsent == 2


async def test_what_is_published_to_a_frozen_redis_is_an_error_in_time(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with running_link(patient_settings(server.url)) as link:
            server.stop()
            with (
                hurried(link, limit_s=0.1, watchdog_s=PATIENT_S),
                pytest.raises(BusUnavailableError, match=r"no answer within 0.1 s"),
            ):
                await RedisBus(link).publish("t", b"x")
            server.cont()


async def test_a_frozen_redis_is_an_error_in_time_and_posts_to_it_are_in_doubt(tmp_path: Path) -> None:
    unheard: list[tuple[str, bytes]] = []
    with RedisServer(tmp_path / "redis") as server:
        async with running_link(patient_settings(server.url, waiting_limit=3)) as link:
            bus = RedisBus(link)
            bus.on_unheard(lambda topic, payload: unheard.append((topic, payload)))
            server.stop()

            for number in range(5):
                bus.post("t", b"%d" % number)
            with pytest.raises(BusUnavailableError, match="takes no more"):
                await bus.publish("t", b"y")
            with hurried(link):
                await until(lambda: link.stats.posts_in_doubt > 0)

            assert {payload for _, payload in unheard} == {b"3", b"4"} | {b"2"} & {payload for _, payload in unheard}
            assert link.stats.posts_in_doubt + len(unheard) == 5
            server.cont()


async def test_what_was_posted_last_leaves_before_the_end(redis_server: RedisServer, redis_prefix: str) -> None:
    settings = patient_settings(redis_server.url, prefix=redis_prefix)
    received: list[bytes] = []
    async with running_link(settings) as there:
        await RedisBus(there).subscribe("t", received.append)
        async with running_link(settings) as here:
            RedisBus(here).post("t", b"last words")

        await until(lambda: bool(received))


async def test_what_a_frozen_redis_got_comes_late_but_once_and_in_order(tmp_path: Path) -> None:
    received: list[bytes] = []
    with RedisServer(tmp_path / "redis") as server:
        async with (
            running_link(patient_settings(server.url)) as there,
            running_link(patient_settings(server.url)) as here,
        ):
            await RedisBus(there).subscribe("t", received.append)
            server.stop()
            RedisBus(here).post("t", b"in doubt")
            with hurried(here):
                await until(lambda: not here.is_up)
            await until(lambda: here.stats.posts_in_doubt == 1)

            server.cont()
            await here.up.wait()
            assert await RedisBus(here).publish("t", b"later") == 1

            await until(lambda: b"later" in received)
            assert received == [b"in doubt", b"later"]


async def test_what_redis_gave_to_a_node_that_unsubscribes_is_taken(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    settings = patient_settings(redis_server.url, prefix=redis_prefix)
    async with running_link(settings) as here, running_link(settings) as there:
        sender, receiver = RedisBus(here), RedisBus(there)
        for _ in range(5):
            heard: list[bytes] = []
            await receiver.subscribe("inbox", heard.append)
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(sender.publish("inbox", b"%d" % number)) for number in range(200)]
                group.create_task(receiver.unsubscribe("inbox"))
            last = await sender.publish("inbox", b"last")
            reached = sum(task.result() for task in first)
            assert (len(heard), last) == (reached, 0)
