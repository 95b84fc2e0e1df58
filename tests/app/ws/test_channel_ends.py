"""When and with which code a websocket is closed, and that nothing is left of it."""

import asyncio
import time

import pytest
from websockets.asyncio.client import connect

from app.serving import WebSockets
from channels.auth import sigv4
from channels.auth.sigv4 import Credentials
from channels.channel import Channel
from channels.signaling.limits import Limits
from tests.app.ws.rig import Opened, gone, master, raw_viewer, refusal, viewer
from tests.channels.signaling.rig import Clock
from tests.signaling_service import Service, signaling_service


async def test_a_connection_ends_with_the_key_that_its_session_came_from(service: Service, channel: Channel) -> None:
    key = service.access_key()
    triple = service.session(key)
    credentials = Credentials(triple.access_key_id, triple.secret_access_key, triple.session_token)
    url = sigv4.presign(service.url("/viewer", channel, "v1"), credentials, "us-west-2", time.time())
    async with connect(url, proxy=None) as websocket:
        service.hub.close_credentials(frozenset((key.id,)))
        assert (await Opened(websocket).end())[0] == 1008


async def test_a_second_master_closes_the_first(service: Service, channel: Channel) -> None:
    first = await master(service, channel)
    await master(service, channel)

    assert await first.end() == (1000, "replaced by a newer master")
    assert service.hub.stats.masters == 1


async def test_a_second_connection_of_a_viewer_id_closes_the_first(service: Service, channel: Channel) -> None:
    first = await viewer(service, channel)
    await viewer(service, channel)

    assert await first.end() == (1000, "replaced by a newer connection of this client id")


async def test_a_binary_frame_ends_only_its_own_connection(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    at_other = await viewer(service, channel, "v2")
    await at_viewer.websocket.send(b"\x00\x01")

    assert (await at_viewer.end())[0] == 1003
    await at_other.say("SDP_OFFER")
    assert (await at_master.hear())["senderClientId"] == "v2"


async def test_an_oversized_frame_ends_only_its_own_connection(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.websocket.send("x" * 100_000)

    assert (await at_viewer.end())[0] == 1009
    assert at_master.websocket.close_code is None
    await (await at_master.websocket.ping())


async def test_a_deleted_channel_closes_its_sockets_and_refuses_new_ones(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await service.control.delete(channel.arn, "000000000000")

    assert await at_master.end() == await at_viewer.end() == (1001, "the channel was deleted")
    assert (await refusal(service.url("/master", channel), service.token()))[0] == 404


async def test_a_drain_closes_with_1001_and_refuses_with_503(service: Service, channel: Channel) -> None:
    at_master = await master(service, channel)
    await service.hub.drain(0.0)

    assert await at_master.end() == (1001, "this node is going away")
    assert (await refusal(service.url("/master", channel), service.token()))[0] == 503


@pytest.mark.parametrize("left_s", [60.0, -29.0])
async def test_a_connection_ends_with_its_token_and_the_grace(websocket: WebSockets, left_s: float) -> None:
    now, wall = Clock(), Clock(1_700_000_000.0)
    async with signaling_service(now=now, wall=wall, websocket=websocket) as service:
        made = await service.control.create("000000000000", "demo")
        headers = {"Authorization": f"Bearer {service.token(lifetime_s=left_s)}"}
        opened = Opened(await connect(service.url("/master", made), additional_headers=headers, proxy=None))
        now.now += left_s + 29.9
        service.hub.expire()
        assert service.hub.stats.masters == 1, "the grace is 30 s"
        now.now += 0.2
        service.hub.expire()

        assert await opened.end() == (1001, "the credential has expired")


async def test_a_peer_that_does_not_read_delays_nobody_and_is_closed(websocket: WebSockets) -> None:
    async with signaling_service(Limits.relaxed(), websocket=websocket) as service:
        made = await service.control.create("000000000000", "demo")
        at_master, at_quick = await master(service, made), await viewer(service, made, "quick")
        stuck = await raw_viewer(service, made, "stuck")
        payload = "A" * 16_000
        for _ in range(1000):
            await at_master.say("ICE_CANDIDATE", payload, recipientClientId="stuck")
            if service.hub.stats.slow_closed:
                break
        await at_master.say("ICE_CANDIDATE", "YQ==", recipientClientId="quick")
        assert (await at_quick.hear())["messagePayload"] == "YQ=="
        assert service.hub.stats.slow_closed == 1
        async with asyncio.timeout(15):
            while await service.presence.count(str(made.arn)) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        stuck.close()


async def test_a_peer_that_answers_no_ping_is_closed(websocket: WebSockets) -> None:
    for ping_s in (0.05, 0.5, 5.0):  # a machine that stalls as long as the limit makes a peer of us that answers late
        async with signaling_service(ping_s=ping_s, websocket=websocket) as service:
            made = await service.control.create("000000000000", "demo")
            at_master = await master(service, made)
            mute = await raw_viewer(service, made, "mute")
            async with asyncio.timeout(30):
                while service.hub.stats.viewers:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            mute.close()
            if is_in := at_master.websocket.close_code is None:
                break
    assert is_in, "who answers stays"


async def test_nothing_is_left_after_clients_close_or_vanish(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.say("SDP_OFFER")
    await at_master.hear()
    await at_master.websocket.close()
    at_viewer.websocket.transport.abort()
    (await raw_viewer(service, channel, "v2")).close()

    await gone(service)

    assert len(service.hub._members) == len(service.hub._timetable) == 0
