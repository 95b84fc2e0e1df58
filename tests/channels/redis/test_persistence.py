"""A Redis that may lose what it acknowledged is told apart from one that does not, also where it tells little."""

from pathlib import Path

import pytest

from channels.redis.commands import Commands
from channels.redis.persistence import eviction, troubles
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

APPEND = "its appendonly is `no`, so what was acknowledged is lost when it ends: set `appendonly yes`"
EVICT = (
    "its maxmemory-policy is `allkeys-lru`, so it drops channels and keys when its memory is full: "
    "set `maxmemory-policy noeviction`"
)
SILENT = [
    "it does not tell its appendonly: see that it is `yes`",
    "it does not tell its maxmemory-policy: see that it is `noeviction`",
]


async def asked(url: str) -> list[str]:
    commands = Commands(patient_settings(url))
    try:
        return await troubles(commands)
    finally:
        await commands.aclose()


@pytest.mark.parametrize(
    ("appendonly", "policy", "found"),
    [(True, "noeviction", []), (False, "noeviction", [APPEND]), (False, "allkeys-lru", [APPEND, EVICT])],
)
async def test_what_is_wrong_is_told_with_what_to_set(
    tmp_path: Path, appendonly: bool, policy: str, found: list[str]
) -> None:
    with RedisServer(tmp_path, appendonly=appendonly, maxmemory_policy=policy) as server:
        assert await asked(server.url) == found


async def test_a_server_that_allows_only_one_of_the_commands_is_asked_by_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path, appendonly=True, maxmemory_policy="allkeys-lru") as server:
        answers = []
        for forbidden in (("-config",), ("-info",), ("-config", "-info")):
            server.command("ACL", "SETUSER", "u", "reset", "on", ">p", "~*", "&*", "+@all", *forbidden)
            answers.append(await asked(server.url.replace("redis://", "redis://u:p@")))
    assert answers == [[EVICT], [EVICT], SILENT]


async def test_whether_keys_give_way_is_told_apart_from_how_they_last(tmp_path: Path) -> None:
    policies = []
    with RedisServer(tmp_path, maxmemory_policy="volatile-ttl") as server:
        commands = Commands(patient_settings(server.url))
        policies.append(await eviction(commands))
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        policies.append(await eviction(commands))
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        server.command("ACL", "SETUSER", "default", "-config", "-info")
        policies.append(await eviction(commands))
        await commands.aclose()
    assert policies == ["volatile-ttl", "", ""]
