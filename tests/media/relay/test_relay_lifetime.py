"""How a relay and its allocations start and end, on real sockets of this machine."""

import asyncio
import logging
import socket

import msgspec
import pytest

from media.relay.interfaces import detect
from media.relay.placement import PlacementError
from media.relay.relay import Relay
from media.turn import stun
from tests.media.relay.loopback import SETTINGS, Client, key_for, open_descriptors, serving
from tests.media.turn.world import code_of


async def test_freed_and_revoked_relays_close_their_sockets() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server, username="one") as one, Client(server, username="two") as two:
            first, second = await one.allocated(), await two.allocated()
            assert code_of(await one.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0
            running.relay.revoke(b"two")
            for host, port in (first, second):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind((host, port))
            assert code_of(await two.request(stun.REFRESH, [])) == 401
            assert running.relay.stats.allocations == 0


@pytest.mark.slow
async def test_timer_ends_an_allocation_by_itself() -> None:
    async with serving(max_lifetime_s=1) as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            host, port = await client.allocated()
            async with asyncio.timeout(60):
                while running.relay.stats.allocations:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))


async def test_stop_leaves_no_socket_behind() -> None:
    before = open_descriptors()
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
    assert open_descriptors() == before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", running.address.port))


async def test_drain_refuses_new_allocations_and_ends_with_the_last_old_one() -> None:
    async with serving(drain_s=10.0) as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as old, Client(server) as new:
            await old.allocated()
            running.stopping.set()
            await asyncio.sleep(0)
            assert code_of(await new.allocate()) == 508
            assert code_of(await old.request(stun.REFRESH, [])) == 0
            assert not running.ended.is_set()
            await old.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])
            await running.ended.wait()


async def test_draining_relay_sends_new_clients_to_its_alternate() -> None:
    async with serving(drain_s=10.0, alternate_server=("127.0.0.9", 3478)) as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as old, Client(server) as new:
            await old.allocated()
            running.stopping.set()
            await asyncio.sleep(0)
            reply = await new.allocate()
            assert code_of(reply) == 300
            assert reply.first(stun.ALTERNATE_SERVER) == stun.plain_address(b"\x7f\0\0\x09", 3478)
            assert code_of(await old.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0


async def test_drain_ends_when_its_time_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(drain_s=0.05) as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            running.stopping.set()
            await running.ended.wait()
    told = [record for record in caplog.records if record.message == "draining"]
    assert [(vars(record)["allocations"], vars(record)["limit_s"]) for record in told] == [(1, 0.05)]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_taken_port_is_told(host: str) -> None:
    if host == "0.0.0.0" and detect(socket.AF_INET) is None:
        pytest.skip("this machine has no IPv4 route")
    async with serving(host=host) as running:
        again = Relay(msgspec.structs.replace(SETTINGS, host=host, port=running.address.port), key_for)
        with pytest.raises(OSError, match="in use"):
            await again.run(lambda address: None, asyncio.Event())


async def test_relay_port_that_somebody_has_is_passed_over() -> None:
    async with serving(min_port=19400, max_port=19401) as running:
        with Client(("127.0.0.1", running.address.port)) as client, socket.socket(type=socket.SOCK_DGRAM) as somebody:
            somebody.bind(("0.0.0.0", 19400))
            assert (await client.allocated())[1] == 19401


async def test_settings_that_do_not_fit_are_named() -> None:
    relay = Relay(msgspec.structs.replace(SETTINGS, advertised_address="8.8.8.8"), key_for)
    with pytest.raises(PlacementError, match="advertised_address"):
        await relay.run(lambda address: None, asyncio.Event())
