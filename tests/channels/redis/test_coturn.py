"""Secrets where coturn takes them, and what it publishes, over reconnects; coturn itself is in the interop tests."""

import asyncio
from pathlib import Path

import pytest

from channels.redis import coturn
from channels.redis.coturn import CoturnRedis
from channels.redis.settings import RedisSettings
from tests.redis_server import RedisServer


async def test_the_secrets_are_ours_and_no_other(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="p@ss") as server:
        server.command("SADD", "turn/realm/heliograph/secret", "old")
        settings = RedisSettings.parse(f"redis://:p%40ss@127.0.0.1:{server.port}")
        await CoturnRedis(settings, "heliograph").put_secrets(["one", "two"])
        found = server.command("SMEMBERS", "turn/realm/heliograph/secret")
    assert isinstance(found, list)
    assert set(map(str, found)) == {"b'one'", "b'two'"}


async def test_what_coturn_publishes_is_heard_again_after_a_restart(tmp_path: Path) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    topic = "turn/realm/a*b/user/n/allocation/000000000000000001/status"

    async def publish(server: RedisServer) -> None:
        while not server.command("PUBLISH", topic, "deleted"):  # noqa: ASYNC110  # until somebody hears it
            await asyncio.sleep(0.01)

    with RedisServer(tmp_path) as server:
        settings = RedisSettings.parse(server.url)
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            hearing = group.create_task(CoturnRedis(settings, "a*b").listen(lambda *message: heard.put_nowait(message)))
            for _ in range(2):
                await publish(server)
                assert await heard.get() == (topic, "deleted")
                assert server.command("PUBLISH", topic.replace("a*b", "axb"), "deleted") == 0
                server.restart()
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
