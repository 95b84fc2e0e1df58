import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest

from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.dial import Address
from channels.redis.pipe import Pipe
from channels.redis.wire import Owner, RefusedError, Wire
from tests.redis_link import PATIENT_S, hurried, patient_settings, until
from tests.redis_server import RedisServer


async def test_it_opens_when_it_is_needed_and_again_after_it_was_lost(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    settings = patient_settings(redis_server.url, client_name=redis_prefix)
    pipe = Pipe(settings, Commands(settings).primary)
    with pytest.raises(ConnectionError):
        await pipe.ask("PING")

    for _ in range(2):
        assert await pipe.is_ready()
        assert await pipe.ask("ECHO", "a") == b"a"
        redis_server.command("CLIENT", "KILL", "ID", redis_server.clients()[f"{redis_prefix}-scripts"])
        await ended(pipe)

    assert await pipe.is_ready()
    pipe.drop()
    pipe.drop()
    with pytest.raises(ConnectionError):
        await pipe.ask("PING")


async def test_a_connection_that_is_lost_while_it_opens_does_not_stay(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = patient_settings(redis_server.url)
    pipe = Pipe(settings, Commands(settings).primary)
    dial = pipe._dialer.open

    async def lose(address: Address | None, name: str, owner: Owner) -> Wire:
        wire = await dial(address, name, owner)
        wire.abort()
        await until(lambda: not wire.has_room)
        await asyncio.sleep(0)
        return wire

    with monkeypatch.context() as patch:
        patch.setattr(pipe._dialer, "open", lose)
        with pytest.raises(ConnectionError):
            await pipe.is_ready()

    assert await pipe.is_ready()
    pipe.drop()


async def ended(pipe: Pipe) -> None:
    async with asyncio.timeout(PATIENT_S):
        with contextlib.suppress(ConnectionError):
            while True:
                await pipe.ask("PING")


async def test_many_are_under_way_at_once_and_a_refusal_concerns_one(redis_server: RedisServer) -> None:
    settings = patient_settings(redis_server.url)
    pipe = Pipe(settings, Commands(settings).primary)
    ready = await asyncio.gather(*(pipe.is_ready() for _ in range(5)))
    assert sorted(ready) == [False, False, False, False, True]

    answers = await asyncio.gather(
        pipe.ask("ECHO", "a"), pipe.ask("GET"), pipe.ask("ECHO", "b"), return_exceptions=True
    )

    assert answers[::2] == [b"a", b"b"]
    assert isinstance(answers[1], RefusedError)
    pipe.drop()


async def test_many_that_leave_together_have_an_answer_or_a_refusal_each(redis_server: RedisServer) -> None:
    settings = patient_settings(redis_server.url)
    pipe = Pipe(settings, Commands(settings).primary)
    with pytest.raises(ConnectionError):
        await pipe.ask_many([("PING",)])
    assert await pipe.is_ready()
    first, refused, last = await pipe.ask_many([("ECHO", "a"), ("GET",), ("ECHO", "b")])
    assert (first, last) == (b"a", b"b")
    assert isinstance(refused, RefusedError)
    asyncio.get_running_loop().call_soon(pipe.drop)
    with pytest.raises(ConnectionError):
        await pipe.ask_many([("ECHO", "a"), ("BLPOP", "nothing", 0)])


async def test_it_is_in_the_database_of_the_address(redis_server: RedisServer, redis_prefix: str) -> None:
    settings = msgspec.structs.replace(patient_settings(redis_server.url), db=3)
    commands = Commands(settings)
    await commands.script("return redis.call('SET', KEYS[1], 'x')")([redis_prefix])

    assert redis_server.command("EXISTS", redis_prefix) == 0
    assert await commands.command("GETDEL", redis_prefix) == b"x"
    await commands.aclose()


async def test_a_caller_who_leaves_harms_nobody_and_one_who_waits_in_vain_ends_the_connection(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        commands = Commands(patient_settings(server.url))
        script = commands.script("return KEYS[1]")
        assert await script(["warm"]) == b"warm"
        opened = server.clients()
        async with asyncio.TaskGroup() as group:
            leaving, staying = group.create_task(script(["a"])), group.create_task(script(["b"]))
            await asyncio.sleep(0)
            leaving.cancel()
        assert staying.result() == b"b"
        assert server.clients() == opened

        server.stop()
        with hurried(commands), pytest.raises(RedisUnavailableError):
            await script(["c"])
        server.cont()

        assert await script(["d"]) == b"d"
        assert server.clients() != opened
        await commands.aclose()


async def test_a_server_that_does_not_let_us_in_is_away_and_no_fault_of_what_is_asked(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", password="old") as server:
        commands = Commands(patient_settings(server.url))
        script = commands.script("return KEYS[1]")
        server.command("CONFIG", "SET", "requirepass", "new")
        server.password = "new"
        with pytest.raises(RedisUnavailableError, match="WRONGPASS"):
            await script(["a"])

        server.command("CONFIG", "SET", "requirepass", "old")
        assert await script(["a"]) == b"a"
        await commands.aclose()
