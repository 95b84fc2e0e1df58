"""What a server really is, is known whatever its URL says, unless it keeps it to itself."""

from pathlib import Path
from typing import Any

import pytest

from channels.redis import mode
from channels.redis.commands import Commands, Word
from channels.redis.settings import RedisSettings
from tests.redis_link import quick_settings
from tests.redis_server import RedisServer, Sentinel


async def asked(url: str) -> str:
    commands = Commands(quick_settings(url, limit_s=30.0))
    try:
        return await mode.of_server(commands)
    finally:
        await commands.aclose()


async def test_each_kind_of_server_tells_what_it_is(tmp_path: Path, redis_server: RedisServer) -> None:
    assert await asked(redis_server.url) == "standalone"
    with RedisServer(tmp_path / "node", options=("--cluster-enabled", "yes")) as node:
        assert await asked(node.url) == "cluster"
    with Sentinel(tmp_path / "sentinel", redis_server) as sentinel:
        assert await asked(sentinel.url) == "sentinel"


async def test_a_server_that_may_not_tell_is_nothing_known(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.command("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-info")
        url = server.url.replace("redis://", "redis://u:p@")
        assert await asked(url) == ""
        commands = Commands(quick_settings(url, limit_s=30.0))
        assert await mode.oldest(commands) is None
        await commands.aclose()


class Told(Commands):
    """Answers INFO with what it was given, as redis-py makes it of the answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(RedisSettings.parse("redis://h"))
        self._answer = answer

    async def command(self, *words: Word) -> Any:
        assert words == ("INFO", "server")
        return self._answer


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ({"redis_version": "6.0.16"}, (6, 0)),
        ({"redis_version": 7.2, "valkey_version": "8.0.1", "server_name": "valkey"}, (7, 2)),
        ({"redis_version": "255.255.255"}, (255, 255)),
        ({"redis_version": "unstable"}, None),
        ({}, None),
        ({"a:1": {"redis_version": "7.0.15"}, "b:1": {"redis_version": "6.2.14"}, "c:1": {}}, (6, 2)),
    ],
)
async def test_a_version_is_the_lowest_of_all_servers_and_one_that_is_none_is_unknown(
    answer: dict[str, Any], version: tuple[int, int] | None
) -> None:
    assert await mode.oldest(Told(answer)) == version


async def test_a_real_server_tells_its_version(redis_server: RedisServer) -> None:
    info = redis_server.command("INFO", "server")
    commands = Commands(quick_settings(redis_server.url, limit_s=30.0))
    found = await mode.oldest(commands)
    await commands.aclose()

    assert found is not None
    assert f"redis_version:{found[0]}.{found[1]}." in str(info)
