"""What the server at the address of a single one really is: that, a Sentinel, or a node of a Cluster."""

import redis

from channels.redis.commands import Commands


async def of_server(commands: Commands) -> str:
    """Return `standalone`, `sentinel` or `cluster`; empty where the server does not tell.

    Raises: RedisUnavailableError.
    """
    try:
        found = await commands.command("INFO", "server")
    except redis.ResponseError:
        return ""  # not allowed
    return str(found.get("redis_mode", ""))
