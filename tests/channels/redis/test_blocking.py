"""Commands without awaiting: from any thread, from within an event loop, and after the end."""

import asyncio
import threading

import pytest

from channels.redis.blocking import Blocking
from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.failures import RedisRefusedError
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer


async def test_threads_and_an_event_loop_may_ask_at_once(redis_server: RedisServer, redis_prefix: str) -> None:
    server, key = Blocking(patient_settings(redis_server.url)), f"{redis_prefix}:n"
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(asyncio.to_thread(server.run, lambda commands: commands.command("INCR", key)))
        server.run(lambda commands: commands.command("INCR", key))
    assert server.run(lambda commands: commands.command("GET", key)) == b"9"
    server.close()


def test_a_refusal_is_told_from_an_absence(redis_server: RedisServer) -> None:
    for url, error in (
        (f"redis://:x@127.0.0.1:{redis_server.port}", RedisRefusedError),
        ("redis://127.0.0.1:1", RedisUnavailableError),
    ):
        server = Blocking(patient_settings(url))
        with pytest.raises(error):
            server.run(lambda commands: commands.command("PING"))
        server.close()
    server = Blocking(patient_settings(redis_server.url))
    with pytest.raises(RedisRefusedError, match="unknown command"):
        server.run(lambda commands: commands.command("NONSENSE"))
    server.close()


def test_nothing_is_left_after_the_end(redis_server: RedisServer) -> None:
    before = set(threading.enumerate())
    server = Blocking(patient_settings(redis_server.url))
    assert server.run(lambda commands: commands.command("PING"))
    server.close()
    server.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(RedisUnavailableError, match="is closed"):
        server.run(lambda commands: commands.command("PING"))


def test_whoever_waits_while_it_is_closed_waits_no_longer() -> None:
    server, asked, errors = Blocking(patient_settings("redis://127.0.0.1:1")), threading.Event(), []

    async def connect(_: Commands) -> None:
        asked.set()
        await asyncio.Event().wait()  # as for a server behind a network that swallows

    def ask() -> None:
        try:
            server.run(connect)
        except RedisUnavailableError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=ask, daemon=True)
    waiting.start()
    assert asked.wait(15)
    server.close()
    waiting.join(15)

    assert errors == ["the connection to redis://127.0.0.1:1 is closed"]
