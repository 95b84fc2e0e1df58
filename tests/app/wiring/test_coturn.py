import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring.coturn import CoturnServer, coturn_rules
from app.wiring.orders import Minted, Revoked, TurnOrder
from media.relay.interfaces import Interfaces
from media.turn.address import IPV4, pack
from tests.media.coturn.coturn_double import program
from tests.media.turn_check.scripted import swallowing
from tests.ports import free_port
from tests.redis_server import RedisServer

SECRET = "s" * 64
MACHINE = Interfaces(
    frozenset(map(pack, ("127.0.0.1", "10.0.0.5", "fe80::1", "::1"))), frozenset((pack("10.0.0.255"),))
)


def order(**changes: object) -> TurnOrder:
    settings = Settings(turn_engine="coturn", turn_port=free_port())
    return TurnOrder(msgspec.structs.replace(settings, **changes), (SECRET,))


def test_coturn_gets_our_settings() -> None:
    wanted = order(
        host="0.0.0.0",
        turn_advertised_address=("203.0.113.7",),
        turn_more_ports=("5349",),
        allow_peer_cidrs=("10.1.0.0/16",),
        turn_workers="3",
        turn_total_bitrate_bps=8000,
    )
    rules = coturn_rules(wanted, MACHINE, "/run/x")
    assert rules.listener_hosts == ("10.0.0.5", "127.0.0.1"), "each address by itself, so that it answers from it"
    assert rules.advertised == {IPV4: pack("203.0.113.7")}
    assert (rules.port, rules.more_ports, rules.threads) == (wanted.settings.turn_port, (5349,), 3)
    assert (rules.secrets, rules.realm, rules.folder) == ((SECRET,), "heliograph", "/run/x")
    assert (rules.allocations_per_user, rules.bitrate_bps, rules.total_bitrate_bps) == (50, 5_000_000, 8000)
    assert rules.peers.refusal(pack("10.1.2.3")) is None
    assert rules.peers.refusal(pack("10.0.0.5")) == "own-address"


def test_on_loopback_only_this_machine_is_a_peer() -> None:
    rules = coturn_rules(order(limits_profile="relaxed"), MACHINE, "/run/x")
    assert rules.listener_hosts == ("127.0.0.1",)
    assert rules.peers.refusal(pack("8.8.8.8")) == "not-own-address"
    assert rules.bitrate_bps == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"turn_port": 0}, "TURN_PORT: coturn takes no free port"),
        ({"turn_more_ports": ("443/udp",)}, "TURN_MORE_PORTS: coturn serves 443 over UDP and TCP alike"),
        ({"turn_more_ports": ("443/tcp",)}, "TURN_MORE_PORTS: coturn serves 443"),
        ({"turn_advertised_address": ("8.8.8.8",)}, "TURN_ADVERTISED_ADDRESS: 8.8.8.8 is not of this machine"),
    ],
)
def test_what_coturn_cannot_do_is_a_wrong_setting(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        coturn_rules(order(**changes), MACHINE, "/run/x")
    assert coturn_rules(order(turn_tcp=False, turn_more_ports=("443/udp",)), MACHINE, "").more_ports == (443,)


async def uris_of(server: CoturnServer) -> tuple[str, ...]:
    told: list[tuple[str, ...]] = []
    stopping = asyncio.Event()

    def ready(uris: tuple[str, ...]) -> None:
        told.append(uris)
        stopping.set()

    await server.run(ready, stopping)
    return told[0]


async def test_it_tells_its_uris_when_it_is_ready(tmp_path: Path) -> None:
    wanted = order(turn_coturn_program=program(tmp_path))
    port = wanted.settings.turn_port
    uris = await uris_of(CoturnServer(wanted))
    assert uris == (f"turn:127.0.0.1:{port}?transport=udp", f"turn:127.0.0.1:{port}?transport=tcp")


async def test_why_it_cannot_be_used_has_an_exit_code(tmp_path: Path) -> None:
    old = CoturnServer(order(turn_coturn_program=program(tmp_path, "4.6.1")))
    with pytest.raises(CommandError, match=r"TURN_ENGINE: coturn 4\.6\.1 is older than 4\.10\.0") as caught:
        await uris_of(old)
    assert caught.value.code is Exit.USAGE
    with swallowing() as taken:
        server = CoturnServer(order(turn_coturn_program=program(tmp_path), turn_port=taken))
        with pytest.raises(SettingsError, match=f"TURN_PORT: {taken} on 127.0.0.1 is taken"):
            await uris_of(server)


async def test_it_counts_nothing() -> None:
    server = CoturnServer(order())
    assert (server.counters(), server.moved) == ({}, "")
    assert await server.check_self() is None, "on loopback there is nothing to find out"


async def test_it_counts_what_it_hears_by_redis_and_shares_its_secrets(tmp_path: Path) -> None:
    topic = "turn/realm/heliograph/user/1:x/allocation/000000000000000001/status"
    life = "new lifetime=600, type=TCP, local=a, remote=b, ssl=NONE, cipher=NONE"
    with RedisServer(tmp_path / "redis") as redis:
        server = CoturnServer(order(turn_coturn_program=program(tmp_path), turn_coturn_redis=redis.url))
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run(lambda _: None, stopping))
            while not server.counters():  # who is slow to subscribe begins anew, and misses what was said meanwhile
                redis.command("PUBLISH", topic, life)
                await asyncio.sleep(0.01)
            stopping.set()
        assert server.counters().keys() == {"allocations_total", "transports.tcp"}
        assert server.usage() == {}, "a name that is not ours"
        assert redis.command("SMEMBERS", "turn/realm/heliograph/secret") == [SECRET.encode()]


def test_a_redis_that_coturn_cannot_use_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="TURN_COTURN_REDIS: the database of a Redis URL is a number"):
        coturn_rules(order(turn_coturn_redis="redis://127.0.0.1/x"), MACHINE, "")


async def test_it_says_once_that_it_cannot_revoke(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    server = CoturnServer(order(turn_coturn_program=program(tmp_path)))
    revoked, stopping = msgspec.json.encode(Revoked(channels=("00",))), asyncio.Event()

    def ready(_uris: tuple[str, ...]) -> None:
        assert not caplog.records, "what was revoked before the start had its relays elsewhere"
        server.take(msgspec.json.encode(Minted("user", 1.0)))
        assert not caplog.records
        for _ in range(2):
            server.take(revoked)
        stopping.set()

    caplog.set_level(logging.WARNING)
    server.take(revoked)
    await server.run(ready, stopping)
    assert [record.message for record in caplog.records] == ["coturn ends no allocation of what was revoked"]
