"""Whether a Redis keeps what it acknowledged: an append-only file, and no key that gives way to another."""

from typing import Final

import redis

from channels.redis.commands import Commands
from channels.redis.mode import of_each_server

_WANTED: Final = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
UNKNOWN: Final = "it does not tell its"
_WHY: Final = {
    "appendonly": "what was acknowledged is lost when it ends",
    "maxmemory-policy": "it drops channels and keys when its memory is full",
}


async def troubles(commands: Commands) -> list[str]:
    """Return what is wrong with the server as a catalog, a sentence each that says what to set; empty when it is fit.

    Asks INFO, which says what is in force and which managed servers answer, else CONFIG.

    Raises: RedisUnavailableError.
    """
    found, sentences = await _found(commands), []
    for name, wanted in _WANTED.items():
        if name not in found:
            sentences.append(f"{UNKNOWN} {name}: see that it is `{wanted}`")
        elif found[name] != wanted:
            sentences.append(f"its {name} is `{found[name]}`, so {_WHY[name]}: set `{name} {wanted}`")
    return sentences


async def eviction(commands: Commands) -> str:
    """Return the policy by which the server drops keys when its memory is full; empty when it drops none, or does not
    tell. Raises: RedisUnavailableError.
    """
    policy = (await _found(commands)).get("maxmemory-policy", "")
    return "" if policy == _WANTED["maxmemory-policy"] else policy


async def _found(commands: Commands) -> dict[str, str]:
    found = await _from_info(commands)
    return found if found.keys() == _WANTED.keys() else found | await _from_config(commands)


async def _from_info(commands: Commands) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for section in ("persistence", "memory"):
            for each in of_each_server(await commands.command("INFO", section)):
                if not int(each.get("aof_enabled", 1)):
                    found["appendonly"] = "no"
                elif "aof_enabled" in each:
                    found.setdefault("appendonly", "yes")
                if "maxmemory_policy" in each and found.get("maxmemory-policy") in (None, "noeviction"):
                    found["maxmemory-policy"] = str(each["maxmemory_policy"])
    except redis.ResponseError:
        pass  # not allowed
    return found


async def _from_config(commands: Commands) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, wanted in _WANTED.items():
        try:
            for each in of_each_server(await commands.command("CONFIG GET", name)):
                if found.get(name) in (None, wanted):
                    found |= {_text(key): _text(value) for key, value in each.items()}
        except redis.ResponseError:
            pass  # not allowed
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
