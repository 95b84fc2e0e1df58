import asyncio
import secrets
import socket
import time
from pathlib import Path

import msgspec
import pytest

from app.settings import Settings, SettingsError
from app.wiring.orders import Minted, Revoked, TurnOrder
from app.wiring.turn import TurnServer, relay_settings, with_port_443
from channels import ice
from channels.names import ChannelArn
from media.turn import stun
from tests.certificates import made
from tests.media.relay.loopback import Client
from tests.media.turn.world import code_of
from tests.ports import free_port

ARN = ChannelArn("aws", "us-west-2", "000000000000", "demo", 1)


def test_the_relay_gets_its_settings() -> None:
    settings = relay_settings(Settings(turn_min_port=50000, turn_max_port=50001, allow_peer_cidrs=("10.0.0.0/8",)))
    assert (settings.min_port, settings.max_port, settings.allow_peer_cidrs) == (50000, 50001, ("10.0.0.0/8",))
    assert settings.advertised_address is None
    both = relay_settings(Settings(turn_advertised_address=("203.0.113.7", "2001:db8::7"), turn_host="::"))
    assert (both.advertised_address, both.advertised_address_v6, both.host) == ("203.0.113.7", "2001:db8::7", "::")
    ports = relay_settings(Settings(turn_more_ports=("443/udp", "5349"), turn_tcp=False))
    assert (ports.more_ports, ports.has_tcp) == (((443, "udp"), (5349, "both")), False)
    assert relay_settings(Settings(turn_mobility=True)).has_mobility
    assert relay_settings(Settings(turn_tcp_relays=True)).has_tcp_relays
    drained = relay_settings(Settings(turn_drain_s=9.0, turn_alternate_server="[2001:db8::8]:3478"))
    assert (drained.drain_s, drained.alternate_server) == (9.0, ("2001:db8::8", 3478))


def test_a_relaxed_profile_lifts_the_limits_of_the_relay_too() -> None:
    like_aws = relay_settings(Settings())
    assert (like_aws.bitrate_bps, like_aws.allocations_per_channel) == (5_000_000, 50)
    relaxed = relay_settings(Settings(limits_profile="relaxed"))
    assert (relaxed.bitrate_bps, relaxed.allocations_per_channel, relaxed.allocations_per_source) == (0, 400, 0)
    own = relay_settings(Settings(limits_profile="relaxed", turn_bitrate_bps=1_000, turn_allocations_per_channel=7))
    assert (own.bitrate_bps, own.allocations_per_channel) == (1_000, 7)


async def test_an_address_of_no_use_is_told_by_the_name_of_its_setting() -> None:
    order = TurnOrder(Settings(turn_port=0, turn_advertised_address=("8.8.8.8",)), ("s" * 32,))
    with pytest.raises(SettingsError, match=r"^TURN_ADVERTISED_ADDRESS: 8\.8\.8\.8 is not of this machine"):
        await TurnServer(order).run(lambda uris: None, asyncio.Event())


async def test_a_taken_port_moves_only_where_it_may() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", free_port()))
        settings = Settings(turn_port=other.getsockname()[1])
        with pytest.raises(SettingsError, match=f"TURN_PORT: {settings.turn_port} on 127.0.0.1 is taken"):
            await TurnServer(TurnOrder(settings, ("s" * 64,))).run(print, asyncio.Event())
        server = TurnServer(TurnOrder(settings, ("s" * 64,), may_move=True))
        stopping = asyncio.Event()
        uris: list[tuple[str, ...]] = []

        def ready(served: tuple[str, ...]) -> None:
            uris.append(served)
            stopping.set()

        await server.run(ready, stopping)
    assert str(settings.turn_port) not in uris[0][0]
    assert server.moved.startswith(f"TURN_PORT: {settings.turn_port} is taken, using ")


async def test_the_relay_knows_the_credentials_that_the_api_mints() -> None:
    secret = secrets.token_hex(32)
    username, password = ice.mint(secret.encode(), ARN, "tablet", time.time())
    keys = TurnServer(TurnOrder(Settings(turn_port=0), ("older" * 8, secret)))._key_for(username)
    assert keys is not None
    assert password in keys.passwords
    assert keys.expires_at == pytest.approx(time.monotonic() + ice.DEFAULT_TTL_S, abs=60)
    assert TurnServer(TurnOrder(Settings(), (secret,)))._key_for("somebody") is None


async def test_counters_are_flat() -> None:
    counters = TurnServer(TurnOrder(Settings(turn_port=0), ("s" * 64,))).counters()
    assert counters["allocations"] == 0
    assert all(isinstance(value, float) for value in counters.values())


async def test_a_revocation_that_comes_before_the_relay_is_kept() -> None:
    secret = "s" * 64
    server, stopping = TurnServer(TurnOrder(Settings(turn_port=0), (secret,))), asyncio.Event()
    server.take(msgspec.json.encode(Revoked(channels=(ice.channel_digest(ARN).hex(),))))
    uris: asyncio.Queue[tuple[str, ...]] = asyncio.Queue(1)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(server.run(uris.put_nowait, stopping))
        port = int((await uris.get())[0].split(":")[2].partition("?")[0])
        for arn, code in ((ARN, 401), (msgspec.structs.replace(ARN, created_ms=2), 0)):
            username, password = ice.mint(secret.encode(), arn, None, time.time())
            with Client(("127.0.0.1", port), username=username) as client:
                client.key = stun.integrity_key(username, "heliograph", password)
                assert code_of(await client.allocate()) == code
        stopping.set()


async def test_names_are_known_by_their_hash_where_they_are_told() -> None:
    server = TurnServer(TurnOrder(Settings(turn_port=0), ("s" * 64,), hears_names=True))
    deaf = TurnServer(TurnOrder(Settings(turn_port=0), ("s" * 64,)))
    for each in (server, deaf):
        each.take(msgspec.json.encode(Minted("late", time.time() - 1)))
        each.take(msgspec.json.encode(Minted("ann", time.time() + 300)))
    names = server._names
    assert names is not None
    assert names.username_for(stun.userhash("ann", "heliograph")) == "ann"
    assert names.username_for(stun.userhash("late", "heliograph")) is None
    assert server.counters()["names_forgotten"] == 0
    assert (deaf._names, "names_forgotten" in deaf.counters()) == (None, False)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="0.0.0.0", turn_host="127.0.0.1"),
        Settings(turn_host="0.0.0.0", turn_udp_443=False),
        Settings(turn_host="0.0.0.0", turn_port=443),
        Settings(turn_host="0.0.0.0", turn_more_ports=("443/tcp",)),
    ],
)
def test_udp_443_is_left_alone_on_loopback_and_where_something_was_chosen(settings: Settings) -> None:
    assert with_port_443(settings) == settings


def test_udp_443_is_taken_where_it_can_be() -> None:
    settings = Settings(turn_host="0.0.0.0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        try:
            other.bind(("0.0.0.0", 443))
        except OSError:
            assert with_port_443(settings) == settings
            return
        assert with_port_443(settings) == settings, "another program has it"
    assert with_port_443(settings).turn_more_ports == ("443/udp",)


def test_workers_share_what_is_bounded_for_all() -> None:
    settings = Settings(turn_allocations_per_channel=5, turn_total_bitrate_bps=9, turn_bitrate_bps=7)
    shares = relay_settings(settings, 1, 2)
    assert (shares.worker, shares.workers) == (1, 2)
    assert (shares.allocations_per_channel, shares.total_bitrate_bps, shares.bitrate_bps) == (3, 5, 7)
    assert relay_settings(Settings(), 0, 2).total_bitrate_bps == 0


async def test_a_changed_certificate_reaches_dtls_too(tmp_path: Path) -> None:
    pair = made(tmp_path).pair
    order = TurnOrder(Settings(turn_port=0), ("s" * 64,), certificate=(str(pair.certificate), str(pair.key)))
    server, heard = TurnServer(order), []
    server._relay.reload_certificate = lambda: heard.append("again")  # type: ignore[method-assign]
    server._look_at_certificate()
    pair.certificate.unlink()
    made(tmp_path)
    for _ in range(3):
        server._look_at_certificate()
    assert server._looking is not None
    server._looking.cancel()
    assert heard == ["again"]
    assert server.counters()["certificates.loaded"] == 1


@pytest.mark.parametrize(("names", "schemes"), [(("127.0.0.1",), {"turn", "turns"}), (("turn.test",), {"turn"})])
async def test_turns_is_told_only_where_clients_can_take_the_certificate(
    names: tuple[str, ...], schemes: set[str], tmp_path: Path
) -> None:
    pair = made(tmp_path, names).pair
    order = TurnOrder(Settings(turn_port=0), ("s" * 64,), certificate=(str(pair.certificate), str(pair.key)))
    stopping, served = asyncio.Event(), []

    def ready(uris: tuple[str, ...]) -> None:
        served.extend(uris)
        stopping.set()

    await TurnServer(order).run(ready, stopping)
    assert {uri.partition(":")[0] for uri in served} == schemes
