"""What the servers at an address really are: one alone, a Sentinel or a node of a Cluster, and of which version."""

import re
from typing import Any, Final

import redis

from channels.redis.commands import Commands

Version = tuple[int, int]
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


async def of_server(commands: Commands) -> str:
    """Return `standalone`, `sentinel` or `cluster`; empty where the server does not tell.

    Raises: RedisUnavailableError.
    """
    try:
        found = await commands.command("INFO", "server")
    except redis.ResponseError:
        return ""  # not allowed
    return str(found.get("redis_mode", ""))


async def oldest(commands: Commands) -> Version | None:
    """Return the version of Redis that the server has, the lowest of those of a Cluster; None where none tells.

    Valkey tells that of the Redis whose commands it has. Raises: RedisUnavailableError.
    """
    try:
        answer = await commands.command("INFO", "server")
    except redis.ResponseError:
        return None  # not allowed
    texts = (str(each.get("redis_version", "")) for each in of_each_server(answer))
    found = [match for match in map(_VERSION.match, texts) if match]
    return min(((int(match[1]), int(match[2])) for match in found), default=None)


def of_each_server(answer: dict[Any, Any]) -> list[dict[Any, Any]]:
    """What redis-py makes of the answer to INFO or CONFIG: of a Cluster one for each server that was asked."""
    return list(answer.values()) if answer and all(isinstance(each, dict) for each in answer.values()) else [answer]
