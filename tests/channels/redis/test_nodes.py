import functools
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from channels.redis.clock import RedisClock
from channels.redis.link import Link
from channels.redis.nodes import Nodes, NodeSettings
from tests.channels.redis.rig import lapse, links
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

# However the machine stalls, no node lapses, and two renewals without one, a silence, do not occur by themselves.
SETTINGS = NodeSettings(lease_s=30.0, renew_s=60.0)
Pair = tuple[Nodes, Nodes]


@pytest.fixture
async def nodes(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[Pair]:
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 2) as (here, there):
        yield node(here, "a", SETTINGS), node(there, "b", SETTINGS)


def node(link: Link, name: str, settings: NodeSettings) -> Nodes:
    return Nodes(link, name, settings, RedisClock(time.monotonic))


async def test_a_node_that_is_unknown_or_renews_is_not_dead(nodes: Pair) -> None:
    a, b = nodes
    assert not a.is_held
    await a.renew()
    await b.renew()
    await a.renew()

    assert a.dead == b.dead == " "
    assert a.is_held


async def test_a_node_that_lapsed_is_dead_until_it_renews_and_learns_it(
    nodes: Pair, redis_server: RedisServer, redis_prefix: str
) -> None:
    a, b = nodes
    told: list[str] = []
    a.on_lapse.append(lambda: told.append("a"))
    await a.renew()
    lapse(redis_server, redis_prefix, "a")
    await b.renew()
    assert b.dead == " a "
    assert told == []

    await a.renew()
    await b.renew()

    assert b.dead == " "
    assert told == ["a"]


async def test_it_is_not_held_once_nobody_knows_whether_it_was_renewed(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    now = 100.0
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 1) as (link,):
        a = Nodes(link, "a", SETTINGS, RedisClock(lambda: now))
        await a.renew()
        now = 129.9
        assert a.is_held
        now = 130.0
        assert not a.is_held


async def test_a_lapse_is_learned_also_where_the_answer_to_the_renewal_after_it_was_lost(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    now, told = 100.0, []
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 1) as (link,):
        a = Nodes(link, "a", SETTINGS, RedisClock(lambda: now))
        a.on_lapse.append(lambda: told.append(now))
        await a.renew()
        now = 129.0
        await a.renew()
        assert told == []
        now = 129.0 + SETTINGS.lease_s  # in Redis it is renewed, and nobody here knows for how long it was not
        await a.renew()
        await a.renew()
    assert told == [159.0]


async def test_one_waits_no_longer_than_the_lease_of_another(nodes: Pair) -> None:
    a, b = nodes
    assert await b.renew() == SETTINGS.renew_s

    assert 0.0 < await a.renew() <= SETTINGS.lease_s + 0.01


async def test_a_node_that_stops_is_dead_at_once(nodes: Pair) -> None:
    a, b = nodes
    await b.renew()
    await b.end()
    await a.renew()

    assert a.dead == " b "
    assert not b.is_held


async def test_a_dead_node_is_forgotten_once_its_leases_are_over(
    nodes: Pair, redis_server: RedisServer, redis_prefix: str
) -> None:
    a, b = nodes
    await b.renew()
    lapse(redis_server, redis_prefix, "b", ago_s=SETTINGS.remember_s - 5.0)
    await a.renew()
    assert a.dead == " b "

    lapse(redis_server, redis_prefix, "b", ago_s=SETTINGS.remember_s)
    await a.renew()

    assert a.dead == " "


async def test_a_node_that_redis_forgot_is_alive_and_learns_it(
    nodes: Pair, redis_server: RedisServer, redis_prefix: str
) -> None:
    a, b = nodes
    told: list[str] = []
    for each, name in ((a, "a"), (b, "b")):
        each.on_lapse.append(functools.partial(told.append, name))
        await each.renew()
    redis_server.command("DEL", f"{redis_prefix}:{{nodes}}:leases")

    await b.renew()
    await a.renew()

    assert (a.dead, b.dead) == (" ", " ")
    assert told == ["b", "a"]


@pytest.mark.parametrize(("amnesty_s", "is_new", "left_s"), [(6.0, False, 6.0), (60.0, True, 10.0)])
async def test_after_a_silence_of_all_nobody_is_dead_until_all_could_come_back(
    redis_server: RedisServer, redis_prefix: str, amnesty_s: float, is_new: bool, left_s: float
) -> None:
    settings = msgspec.structs.replace(SETTINGS, renew_s=10.0, amnesty_s=amnesty_s)
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 2) as made:
        a, b = node(made[0], "a", settings), node(made[1], "b", settings)
        await b.renew()
        if not is_new:
            await a.renew()
            lapse(redis_server, redis_prefix, "a")
        lapse(redis_server, redis_prefix, "b")

        delay_s = await a.renew()
        assert a.dead == " "
        assert delay_s == pytest.approx(left_s, abs=0.02)
        left_ms = redis_server.command("PTTL", f"{redis_prefix}:{{nodes}}:amnesty")
        assert isinstance(left_ms, int)
        assert 0 < left_ms <= left_s * 1000
        await a.renew()
        assert a.dead == " "
        redis_server.command("DEL", f"{redis_prefix}:{{nodes}}:amnesty")  # the time of Redis cannot be moved
        await a.renew()

        assert a.dead == " b "
