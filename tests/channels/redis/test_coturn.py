"""Secrets where coturn takes them, and what it publishes, over reconnects; coturn itself is in the interop tests."""

import asyncio
import re
from pathlib import Path

import pytest

from channels.redis import coturn
from channels.redis.coturn import CoturnRedis
from channels.redis.settings import RedisSettings
from tests.redis_link import patient_settings, quick_settings, until
from tests.redis_server import RedisServer

TOPIC = "turn/realm/r/user/n/allocation/000000000000000001/status"


async def test_the_secrets_are_ours_and_no_other(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="p@ss") as server:
        server.command("SADD", "turn/realm/heliograph/secret", "old")
        settings = patient_settings(f"redis://:p%40ss@127.0.0.1:{server.port}")
        await CoturnRedis(settings, "heliograph").put_secrets(["one", "two"])
        found = server.command("SMEMBERS", "turn/realm/heliograph/secret")
    assert isinstance(found, list)
    assert set(map(str, found)) == {"b'one'", "b'two'"}


async def test_what_coturn_publishes_is_heard_again_after_a_restart(tmp_path: Path) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    topic = "turn/realm/a*b/user/n/allocation/000000000000000001/status"

    async def is_heard(server: RedisServer) -> None:
        while heard.empty():
            server.command("PUBLISH", topic, "deleted")
            await asyncio.sleep(0.01)

    with RedisServer(tmp_path) as server:
        settings = RedisSettings.parse(server.url)
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(CoturnRedis(settings, "a*b").listen(lambda *message: heard.put_nowait(message)))
            for _ in range(2):
                await is_heard(server)
                assert server.command("PUBLISH", topic.replace("a*b", "axb"), "deleted") == 0
                server.restart()
                while not heard.empty():
                    assert heard.get_nowait() == (topic, "deleted")
            hearing.cancel()


async def test_secrets_are_put_when_redis_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coturn, "_RETRY_S", 0.01)
    with RedisServer(tmp_path) as server:
        server.kill()
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            putting = group.create_task(CoturnRedis(RedisSettings.parse(server.url), "r").put_secrets(["one"]))
            await asyncio.sleep(0)
            server.start()
            await putting
        assert server.command("SCARD", "turn/realm/r/secret") == 1


async def test_a_frozen_redis_is_given_up_and_heard_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(coturn, "_QUIET_S", 0.05)
    monkeypatch.setattr(coturn, "_RETRY_S", 0.01)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def is_heard(server: RedisServer) -> None:
        while heard.empty():  # who was given up is told nothing
            server.command("PUBLISH", TOPIC, "deleted")
            await asyncio.sleep(0.01)

    with RedisServer(tmp_path) as server:
        link = CoturnRedis(quick_settings(server.url, limit_s=0.5), "r")
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(link.listen(lambda topic, _: heard.put_nowait(topic)))
            await is_heard(server)
            caplog.clear()
            server.stop()
            await until(lambda: "coturn is not heard" in caplog.messages)
            while not heard.empty():
                heard.get_nowait()
            server.cont()
            await is_heard(server)
            hearing.cancel()


async def test_a_redis_that_has_nothing_to_say_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(coturn, "_QUIET_S", 0.01)
    heard: asyncio.Queue[str] = asyncio.Queue()
    with RedisServer(tmp_path) as server:
        link = CoturnRedis(quick_settings(server.url, limit_s=30.0), "r")
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(link.listen(lambda topic, _: heard.put_nowait(topic)))
            await until(lambda: pings(server) >= 3)
            assert server.command("PUBLISH", TOPIC, "deleted") == 1
            assert await heard.get() == TOPIC
            hearing.cancel()
    assert "coturn is not heard" not in caplog.messages


async def test_it_ends_when_it_is_told_to_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coturn, "_QUIET_S", 0.0)  # it asks all the time
    with RedisServer(tmp_path) as server:
        link = CoturnRedis(quick_settings(server.url, limit_s=30.0), "r")
        for turns in range(30):
            asked = pings(server)
            hearing = asyncio.create_task(link.listen(lambda *_: None))
            await until(lambda asked=asked: pings(server) > asked)
            for _ in range(turns):
                await asyncio.sleep(0)
            hearing.cancel()
            await asyncio.wait([hearing], timeout=30)
            assert hearing.cancelled()


def pings(server: RedisServer) -> int:
    found = re.search(r"cmdstat_ping:calls=(\d+)", str(server.command("INFO", "commandstats")))
    return int(found[1]) if found else 0
