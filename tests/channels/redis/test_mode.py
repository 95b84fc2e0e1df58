"""What a server really is, is known whatever its URL says, unless it keeps it to itself."""

from pathlib import Path

from channels.redis import mode
from channels.redis.commands import Commands
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
        assert await asked(server.url.replace("redis://", "redis://u:p@")) == ""
