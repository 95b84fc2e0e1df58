"""Commands and scripts have their answer, or one error within the time limit, and never the answer of another."""

import asyncio
import re
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from channels.redis.commands import Commands, RedisUnavailableError
from tests.redis_link import PATIENT_S, hurried, patient_settings, quick_settings
from tests.redis_server import RedisServer, Sentinel

PAIR = "return {KEYS[1], ARGV[1]}"


async def test_answers_are_bytes(redis_server: RedisServer, redis_prefix: str) -> None:
    commands = Commands(patient_settings(redis_server.url))

    assert await commands.command("SET", redis_prefix, "value")
    assert await commands.call(lambda client: client.get(redis_prefix)) == b"value"
    with pytest.raises(ResponseError, match="wrong number"):
        await commands.command("GET")
    await commands.aclose()


async def test_a_hundred_at_once_share_the_connections(redis_server: RedisServer, redis_prefix: str) -> None:
    commands = Commands(patient_settings(redis_server.url, client_name=redis_prefix))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(commands.command("ECHO", number)) for number in range(100)]

    assert [task.result() for task in tasks] == [b"%d" % number for number in range(100)]
    listed = await commands.command("CLIENT", "LIST")
    assert 1 <= str(listed).count(redis_prefix) <= 32
    await commands.aclose()


async def test_scripts_are_known_again_after_the_server_forgot_them(redis_server: RedisServer) -> None:
    commands = Commands(patient_settings(redis_server.url))
    script, broken = commands.script(PAIR), commands.script("return redis.call('GET')")
    calls = [([f"k{n}"], [n]) for n in range(3)]
    answers = [[b"k0", b"0"], [b"k1", b"1"], [b"k2", b"2"]]

    redis_server.command("SCRIPT", "FLUSH")
    assert await script(["k"], ["a"]) == [b"k", b"a"]
    assert await script.many(calls) == answers
    redis_server.command("SCRIPT", "FLUSH")
    assert await script.many(calls) == answers
    assert await script.many([]) == []
    with pytest.raises(ResponseError, match=r"[Ww]rong number"):
        await broken.many([((), ())])
    await commands.aclose()


@pytest.mark.parametrize("has_pipe", [True, False])
async def test_no_script_costs_a_trip_more_at_a_server_that_nobody_has_used(
    redis_server: RedisServer, has_pipe: bool
) -> None:
    commands = Commands(patient_settings(redis_server.url))
    commands.pipe = commands.pipe if has_pipe else None
    one, many = commands.script(PAIR), commands.script("return {KEYS[1], ARGV[1], 'many'}")
    calls = [([f"k{n}"], [n]) for n in range(3)]

    redis_server.command("SCRIPT", "FLUSH")
    began = unknown_scripts(redis_server)
    for _ in range(2):
        assert await one(["k"], ["a"]) == [b"k", b"a"]
        assert await many.many(calls) == [[b"k%d" % n, b"%d" % n, b"many"] for n in range(3)]
    assert unknown_scripts(redis_server) == began
    redis_server.command("SCRIPT", "FLUSH")
    assert await one(["k"], ["a"]) == [b"k", b"a"]
    assert unknown_scripts(redis_server) == began + 1
    await commands.aclose()


def unknown_scripts(server: RedisServer) -> int:
    """How often it was asked for a script that it did not know."""
    found = re.search(rb"errorstat_NOSCRIPT:count=(\d+)", server.command("INFO", "errorstats") or b"")  # type: ignore[arg-type]
    return int(found[1]) if found else 0


async def test_where_pipelines_take_no_scripts_many_are_asked_at_once(redis_server: RedisServer) -> None:
    commands = Commands(patient_settings(redis_server.url))
    commands.is_cluster = True
    script, broken = commands.script(PAIR), commands.script("return redis.call('GET')")
    assert await script.many([([f"k{n}"], [n]) for n in range(40)]) == [[b"k%d" % n, b"%d" % n] for n in range(40)]
    with pytest.raises(ResponseError, match=r"[Ww]rong number"):
        await broken.many([((), ()), ((), ())])
    await commands.aclose()


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_frozen_server_is_waited_for_so_long_and_answers_get_not_mixed_up(
    tmp_path: Path, is_connected: bool
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        commands = Commands(patient_settings(server.url))
        if is_connected:
            await commands.command("ECHO", "first")
        server.stop()

        started = time.monotonic()
        with (
            hurried(commands, limit_s=0.5),
            pytest.raises(RedisUnavailableError, match=r"^redis://127.0.0.1:\d+: no answer within 0.5 s$"),
        ):
            await commands.command("ECHO", "second")
        assert 0.45 < time.monotonic() - started < PATIENT_S

        server.cont()
        for word in (b"third", b"fourth"):
            assert await commands.command("ECHO", word) == word
        await commands.aclose()


async def test_commands_that_wait_for_a_connection_hold_up_no_script(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    commands = Commands(patient_settings(redis_server.url, client_name=redis_prefix))
    script, ending = commands.script(PAIR), asyncio.Event()
    assert await script(["a"], ["b"]) == [b"a", b"b"]
    before = redis_server.clients()[f"{redis_prefix}-scripts"]
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(commands.call(lambda _: ending.wait())) for _ in range(40)]
        await asyncio.sleep(0)
        assert await script(["a"], ["b"]) == [b"a", b"b"]
        assert await script.many([(["a"], ["b"])] * 3) == [[b"a", b"b"]] * 3
        assert not any(task.done() for task in waiting)
        ending.set()
    ending.clear()
    with hurried(commands):
        await asyncio.gather(*(_fails(commands.call(lambda _: ending.wait())) for _ in range(40)))

    assert redis_server.clients()[f"{redis_prefix}-scripts"] == before, "nothing was wrong with it"
    await commands.aclose()


async def _fails(call: Awaitable[object]) -> None:
    with pytest.raises(RedisUnavailableError):
        await call


async def test_a_server_that_cannot_is_unavailable(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        commands = Commands(patient_settings(server.url))
        await commands.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(RedisUnavailableError, match="maxmemory"):
            await commands.command("SET", "a", "b")

        server.kill()
        with pytest.raises(RedisUnavailableError):
            await commands.command("GET", "a")

        commands.is_away = True
        with pytest.raises(RedisUnavailableError, match="is away"):
            await commands.command("GET", "a")
        await commands.aclose()


async def test_connections_at_rest_are_forgotten(redis_server: RedisServer, redis_prefix: str) -> None:
    commands = Commands(patient_settings(redis_server.url, client_name=redis_prefix))
    await commands.command("PING")
    assert redis_prefix in redis_server.clients()

    await commands.forget()

    assert await commands.command("PING")
    await commands.aclose()


async def test_the_server_for_messages_is_that_of_the_address() -> None:
    commands = Commands(patient_settings("redis://h:1"))

    assert await commands.primary() == ("h", 1)


async def test_a_sentinel_that_helps_not_is_told_without_the_insides_of_the_client(redis_server: RedisServer) -> None:
    commands = Commands(quick_settings("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", limit_s=30.0))
    with pytest.raises(RedisUnavailableError, match=r"named main that is up: ConnectionError$") as told:
        await commands.command("PING")
    assert "<" not in str(told.value)
    assert not told.value.is_final
    await commands.aclose()

    commands = Commands(quick_settings(redis_server.url.replace("redis:", "redis+sentinel:") + "/main", limit_s=30.0))
    with pytest.raises(ResponseError, match=r"^a server there is no Sentinel: unknown command"):
        await commands.command("PING")
    await commands.aclose()


async def test_a_sentinel_that_knows_no_such_name_is_told_so(tmp_path: Path, redis_server: RedisServer) -> None:
    with Sentinel(tmp_path / "sentinel", redis_server) as sentinel:
        commands = Commands(quick_settings(f"{sentinel.url.replace('redis:', 'redis+sentinel:')}/other", limit_s=30.0))
        with pytest.raises(RedisUnavailableError, match=r"has a primary named other that is up$"):
            await commands.command("PING")
        await commands.aclose()


async def test_a_server_of_no_cluster_stays_none_however_often_it_is_tried(redis_server: RedisServer) -> None:
    commands = Commands(quick_settings(redis_server.url.replace("redis:", "redis+cluster:"), limit_s=30.0))

    with pytest.raises(RedisUnavailableError, match="none of a Cluster: write redis:// in the place of redis") as told:
        await commands.command("PING")
    assert told.value.is_final
    await commands.aclose()
