"""The supervised link to a real Redis that is killed, frozen, restarted and cut off, with times of milliseconds."""

import asyncio
import contextlib
import logging
import time
from pathlib import Path

import msgspec
import pytest

from channels.bus import BusUnavailableError
from channels.redis.bus import RedisBus
from channels.redis.link import Link, RedisUnavailableError
from channels.redis.settings import RedisSettings
from tests.fault_proxy import FaultProxy
from tests.ports import free_port
from tests.redis_link import quick_settings, running_link, until
from tests.redis_server import FAILOVER_LIMIT_S, RedisServer, redis_cluster, sentinel_group


def through(proxy: FaultProxy, prefix: str) -> RedisSettings:
    return quick_settings(f"redis://{proxy.host}:{proxy.port}", prefix=prefix)


STEADY = {"watchdog_s": 10.0, "limit_s": 10.0}  # whatever the machine does, only a lost connection is a fault


async def assert_messages_go(link: Link, topic: str = "node:a") -> None:
    """What the link publishes to a topic that it subscribed before, it receives."""
    bus, came = RedisBus(link), asyncio.Event()
    link._topics[f"{link.topic_prefix}{topic}".encode()] = lambda _: came.set()
    async with asyncio.timeout(15):
        while not came.is_set():
            await link.up.wait()
            with contextlib.suppress(BusUnavailableError, TimeoutError):
                assert await bus.publish(topic, b"x") == 1
                async with asyncio.timeout(0.5):
                    await came.wait()


async def test_up_is_told_with_an_epoch(redis_server: RedisServer, redis_prefix: str) -> None:
    link = Link(quick_settings(redis_server.url, prefix=redis_prefix, limit_s=5.0))
    epochs: list[int] = []
    link.on_epoch += [lambda: epochs.append(1 // 0), lambda: epochs.append(link.epoch)]
    assert (link.is_up, link.epoch) == (False, 0)
    assert link.red_s > 0.0

    async with asyncio.TaskGroup() as group:
        running = group.create_task(link.run())
        await link.up.wait()
        assert epochs == [1]
        assert link.red_s == 0.0
        assert link.stats.lag_s > 0.0
        running.cancel()

    assert not link.is_up
    await link.aclose()


async def test_a_frozen_redis_is_noticed_by_the_watchdog_alone(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with running_link(quick_settings(server.url, limit_s=0.2)) as link:
            await RedisBus(link).subscribe("node:a", bytes)
            server.stop()
            await until(lambda: not link.is_up)
            assert link.stats.watchdog_drops >= 1
            assert link.red_s > 0.0
            await until(lambda: link.is_away)
            with pytest.raises(RedisUnavailableError, match="is away"):
                await link.command("PING")

            server.cont()
            await link.up.wait()

            assert link.epoch - 1 == link.stats.reconnects >= 1
            assert link.stats.gap_s >= 0.1
            await assert_messages_go(link)


@pytest.mark.parametrize("fault", ["pause", "half_open", "cut", "reset", "cut_after"])
async def test_a_fault_of_the_network_is_noticed_and_outlived(
    redis_proxy: FaultProxy, redis_prefix: str, fault: str
) -> None:
    async with running_link(through(redis_proxy, redis_prefix)) as link:
        await RedisBus(link).subscribe("node:a", bytes)
        before = link.epoch

        getattr(redis_proxy, fault)(*((50,) if fault == "cut_after" else ()))
        await until(lambda: not link.is_up or link.epoch > before)
        redis_proxy.pass_on()

        await until(lambda: link.epoch > before)
        await assert_messages_go(link)


async def test_a_slow_network_is_no_fault(redis_proxy: FaultProxy, redis_prefix: str) -> None:
    settings = msgspec.structs.replace(through(redis_proxy, redis_prefix), **STEADY)
    async with running_link(settings) as link:
        redis_proxy.delay(0.02)
        redis_proxy.bandwidth(10_000)
        await until(lambda: link.stats.lag_s > 0.04)
        slow_at = link._heard_at
        await until(lambda: link._heard_at > slow_at)

        assert link.epoch == 1


@pytest.mark.parametrize("end", ["publisher", "subscriber"])
async def test_a_connection_that_redis_kills_is_replaced_with_its_subscriptions(
    redis_server: RedisServer, redis_prefix: str, end: str
) -> None:
    settings = quick_settings(redis_server.url, prefix=redis_prefix, client_name=redis_prefix, **STEADY)
    async with running_link(settings) as link:
        await RedisBus(link).subscribe("node:a", bytes)

        redis_server.command("CLIENT", "KILL", "ID", redis_server.clients()[f"{redis_prefix}-{end}"])
        await until(lambda: link.epoch == 2)

        await assert_messages_go(link)
        assert link.stats.watchdog_drops == 0


async def test_a_restart_and_a_redis_that_comes_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path / "redis", password="secret") as server:
        server.kill()
        async with running_link(quick_settings(server.url), is_up=False) as link:
            await RedisBus(link).subscribe("node:a", bytes)
            await until(lambda: link.stats.failed_attempts > 2)
            assert not link.is_up

            server.start()
            await link.up.wait()
            server.restart()
            await until(lambda: link.epoch >= 2)

            await assert_messages_go(link)
    words = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert words == ["redis is away"] * len(words)
    assert len(words) < link.stats.failed_attempts + link.epoch
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["redis://{}", "redis+sentinel://{}/main", "redis+cluster://{}"])
async def test_nobody_there_is_no_end(url: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with running_link(quick_settings(url.format(address)), is_up=False) as link:
        await until(lambda: link.stats.failed_attempts > 1)

        assert not link.is_up
        with pytest.raises(RedisUnavailableError, match="is away"):
            await link.command("PING")


async def test_a_wrong_password_is_said(tmp_path: Path, redis_prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path / "redis", password="right") as server:
        async with running_link(quick_settings(server.url.replace("right", "wrong")), is_up=False) as link:
            await until(lambda: link.stats.failed_attempts > 1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(vars(record)["reason"]).startswith("WRONGPASS")


async def test_a_process_that_was_stopped_itself_blames_nobody(redis_server: RedisServer, redis_prefix: str) -> None:
    async with running_link(quick_settings(redis_server.url, prefix=redis_prefix, **STEADY)) as link:
        link._heard_at -= 2 * STEADY["watchdog_s"]  # as if it had been stopped for longer than the watchdog waits
        heard_at = time.monotonic()
        await until(lambda: link._heard_at > heard_at)

        assert link.epoch == 1


async def test_a_receiver_that_fails_costs_its_own_message_only(redis_server: RedisServer, redis_prefix: str) -> None:
    async with running_link(quick_settings(redis_server.url, prefix=redis_prefix, **STEADY)) as link:
        await RedisBus(link).subscribe("node:a", lambda payload: 1 // len(payload))
        await RedisBus(link).publish("node:a", b"")

        await assert_messages_go(link)
        assert link.epoch == 1


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_sentinels_fail_over_and_messages_go_again(tmp_path: Path) -> None:
    with sentinel_group(tmp_path) as group:
        async with running_link(msgspec.structs.replace(RedisSettings.parse(group.url), **STEADY)) as link:
            await RedisBus(link).subscribe("node:a", bytes)
            assert await link.command("SET", "key", "value")
            group.primary.kill()
            started = time.monotonic()
            await until(lambda: link.epoch == 2, limit_s=FAILOVER_LIMIT_S)
            took_s = time.monotonic() - started

            await assert_messages_go(link)
            assert await link.command("SET", "key", "again")
            print(f"messages go again {took_s:.2f} s after the primary was killed")


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_a_cluster_fails_over_and_messages_go_again(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, topics="{heliograph}") as cluster:
        settings = msgspec.structs.replace(RedisSettings.parse(cluster.url), **STEADY)
        async with running_link(settings) as link, running_link(settings) as other:
            received: list[bytes] = []
            await RedisBus(other).subscribe("node:b", received.append)
            await RedisBus(link).subscribe("node:a", bytes)
            assert await RedisBus(link).publish("node:c", b"x") == 0
            script = link.script("return KEYS[1]")
            keys = [f"key-{number}".encode() for number in range(20)]  # on all servers
            assert await script.many([([key], ()) for key in keys]) == keys

            cluster.owner.kill()
            started = time.monotonic()
            await until(lambda: link.epoch == 2 and other.epoch == 2, limit_s=FAILOVER_LIMIT_S)
            took_s = time.monotonic() - started

            await assert_messages_go(link)
            assert await RedisBus(link).publish("node:b", b"x") == 1
            await until(lambda: bool(received))
            assert [await script([key]) for key in keys] == keys
            print(f"messages go again {took_s:.2f} s after the server with their slot was killed")
