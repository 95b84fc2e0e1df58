"""The signaling wire as clients of KVS really write and read it, frame by frame, over a real websocket."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from channels.channel import Channel
from channels.signaling.limits import Limits
from tests.app.ws.rig import PAYLOAD, Opened, gone, master, refusal, viewer
from tests.channels.signaling.rig import Clock
from tests.signaling_service import Service, signaling_service

ACCOUNT = "000000000000"
C_SDK_FRAME_LIMIT = 18_750
OTHER = "b3RoZXI="


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service(clock: Clock) -> AsyncIterator[Service]:
    """A service whose hub lives in the seconds of `clock`."""
    async with signaling_service(Limits(lifetime_jitter_s=0.0), now=clock) as running:
        yield running


def move(service: Service, clock: Clock, by_s: float) -> None:
    clock.now += by_s
    service.hub.clock_moved(by_s)


async def settled(service: Service) -> None:
    """Wait until what was sent has been worked off: a frame comes back after the ones before it."""
    async with asyncio.timeout(15):
        while service.hub.is_busy:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def silent(service: Service, *clients: Opened) -> None:
    """Assert that nothing waits at these clients: a malformed frame is answered after all that came before."""
    for client in clients:
        await client.websocket.send("no JSON")
        assert (await client.hear())["statusResponse"]["errorType"] == "InvalidArgumentException"


async def test_the_frames_of_the_c_sdk_pass_and_their_turn_password_goes_nowhere(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel, "ConsumerViewer")
    with caplog.at_level(logging.DEBUG):
        for action in ("SDP_OFFER", "ICE_CANDIDATE"):
            await at_viewer.websocket.send(
                f'{{\n\t"action": "{action}",\n\t"RecipientClientId": "ConsumerViewer",'
                f'\r\n\t"MessagePayload":\t"{PAYLOAD}",'
                '\n\t"IceServerList": [\n\t\t{\n\t\t\t"Password": "hunter2-turn",\n\t\t\t"Ttl": 299,'
                '\n\t\t\t"Uris": ["turns:192.0.2.1:443?transport=udp"],\n\t\t\t"Username": "hunter-user"\n\t\t}]\n}'
            )
            assert await at_master.websocket.recv() == (
                f'{{"messagePayload":"{PAYLOAD}","messageType":"{action}","senderClientId":"ConsumerViewer"}}'
            )
        broken = '{"action":"SDP_OFFER","IceServerList":[{"Password":"hunter2-turn"}],"CorrelationId":"1"}'
        await at_viewer.websocket.send(broken)
        assert (await at_viewer.hear())["statusResponse"]["correlationId"] == "1"

    logged = " ".join(str(vars(record)) for record in caplog.records if not record.name.startswith("websockets.client"))
    assert "hunter" not in logged
    assert PAYLOAD not in logged


async def test_a_sender_in_the_frame_and_unknown_keys_are_ignored(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.say("SDP_OFFER", senderClientId="somebody", extra="x")
    assert (await at_master.hear())["senderClientId"] == "v1"
    await at_viewer.say("SDP_OFFER", senderClientId="")
    assert (await at_master.hear())["senderClientId"] == "v1"


@pytest.mark.parametrize("recipient", ["v2", "v1", "ProducerMaster", "MASTER", "", "nobody", "two words"])
async def test_whatever_a_viewer_names_its_message_reaches_the_master_only(
    service: Service, channel: Channel, recipient: str
) -> None:
    at_master = await master(service, channel)
    at_viewer, at_other = await viewer(service, channel), await viewer(service, channel, "v2")
    await at_viewer.say("SDP_OFFER", recipientClientId=recipient)
    assert (await at_master.hear())["senderClientId"] == "v1"
    await silent(service, at_viewer, at_other)


async def test_success_is_silent_and_a_failure_has_the_form_of_aws(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_master.say("SDP_ANSWER", recipientClientId="v1", correlationId="good")
    assert "senderClientId" not in await at_viewer.hear(), "to a viewer there is one sender alone"
    await at_master.say("SDP_ANSWER", recipientClientId="v9")
    await at_master.say("SDP_ANSWER", recipientClientId="v9", correlationId="bad")

    status = await at_master.hear()
    assert set(status) == {"messagePayload", "messageType", "statusResponse"}
    assert (status["messagePayload"], status["messageType"]) == ("", "STATUS_RESPONSE")
    description = status["statusResponse"].pop("description")
    assert 0 < len(description) <= 1024
    assert status["statusResponse"] == {
        "correlationId": "bad",
        "errorType": "ResourceNotFoundException",
        "statusCode": "404",
    }
    await silent(service, at_master)


async def test_a_newer_offer_takes_the_place_of_the_one_that_waits(
    service: Service, channel: Channel, clock: Clock
) -> None:
    at_viewer = await viewer(service, channel)
    await at_viewer.say("SDP_OFFER")
    await at_viewer.say("ICE_CANDIDATE", "MQ==")
    await at_viewer.say("SDP_OFFER", OTHER)
    await at_viewer.say("ICE_CANDIDATE", "Mg==")
    await silent(service, at_viewer)
    await settled(service)
    at_master = await master(service, channel)

    heard = [(await at_master.hear())["messagePayload"] for _ in range(3)]
    assert heard == ["MQ==", OTHER, "Mg=="]
    await silent(service, at_master)


async def test_nothing_comes_after_its_time_to_live(service: Service, channel: Channel, clock: Clock) -> None:
    at_viewer = await viewer(service, channel)
    await at_viewer.say("SDP_OFFER", correlationId="late")
    await silent(service, at_viewer)
    await settled(service)
    move(service, clock, 59.0)
    await silent(service, at_viewer)
    move(service, clock, 1.0)
    status = (await at_viewer.hear())["statusResponse"]
    assert (status["correlationId"], status["statusCode"]) == ("late", "503")
    assert "the master did not come within the 60 s" in status["description"]
    await silent(service, await master(service, channel))


async def test_no_frame_is_too_long_for_the_c_sdk(service: Service, channel: Channel) -> None:
    client_id = "v" * 256
    at_master, at_viewer = await master(service, channel), await viewer(service, channel, client_id)
    for action in ("SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE"):
        await at_viewer.say(action, "A" * service.hub.limits.payload_characters)
        frame = await at_master.websocket.recv()
        assert len(frame) < C_SDK_FRAME_LIMIT
    await at_viewer.say("SDP_OFFER", "A" * 60_000, correlationId="c" * 256)
    status = await at_viewer.hear()
    assert len(json.dumps(status)) < C_SDK_FRAME_LIMIT
    assert status["statusResponse"]["statusCode"] == "400"
    assert "the limit payload_characters is 16000" in status["statusResponse"]["description"]
    await at_viewer.say("SDP_OFFER")
    await at_master.hear()


@pytest.mark.parametrize(
    ("action", "burst", "words"),
    [
        ("SDP_OFFER", 5, "offers_per_second is 5 for one connection; try again in 0.20 s"),
        ("SDP_ANSWER", 5, "answers_per_second is 5 for one connection; try again in 0.20 s"),
        ("ICE_CANDIDATE", 30, "candidates_per_second is 20 for one connection; try again in 0.05 s"),
    ],
)
async def test_a_message_over_its_rate_is_refused_by_limit_value_and_time(
    service: Service, channel: Channel, clock: Clock, action: str, burst: int, words: str
) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    for number in range(burst + 2):
        await at_viewer.say(action, correlationId=f"c{number}" if number <= burst else "")
    for _ in range(burst):
        await at_master.hear()
    assert await at_viewer.hear() == {
        "messagePayload": "",
        "messageType": "STATUS_RESPONSE",
        "statusResponse": {
            "correlationId": f"c{burst}",
            "errorType": "ClientLimitExceededException",
            "statusCode": "400",
            "description": words,
        },
    }
    await silent(service, at_viewer, at_master)
    move(service, clock, 1.0)
    await at_viewer.say(action)
    await at_master.hear()


async def test_keep_alives_and_frames_that_are_no_messages_harm_nobody(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    at_other = await viewer(service, channel, "v2")
    for frame in ("", "", "null", "[]", "{}", "\x00", "\ud7ff"):
        await at_viewer.websocket.send(frame)
    for _ in range(5):
        assert (await at_viewer.hear())["statusResponse"]["statusCode"] == "400"
    await at_viewer.say("SDP_OFFER")
    assert (await at_master.hear())["messageType"] == "SDP_OFFER"
    await at_viewer.websocket.send(b"\x82binary")
    assert (await at_viewer.end())[0] == 1003
    await silent(service, at_master, at_other)


async def test_a_silent_client_is_pinged() -> None:
    async with signaling_service(ping_s=0.05) as service:
        made = await service.control.create(ACCOUNT, "demo")
        reader, writer = await asyncio.open_connection(*service.address.split(":"))
        path = service.url("/master", made, token=service.token()).split(service.address)[1]
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {service.address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        )
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(15):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(1)) == b"\x89", "FIN and the opcode of a ping (RFC 6455, 5.5.2)"
        writer.close()


@pytest.mark.parametrize("offered", [["wss"], ["wss", "other"], ["other"]])
async def test_a_subprotocol_is_never_one_that_was_not_offered(
    service: Service, channel: Channel, offered: list[Any]
) -> None:
    at_master = await master(service, channel, subprotocols=offered)
    response = at_master.websocket.response
    assert response is not None
    assert response.headers.get("Sec-WebSocket-Protocol") in (None, *offered)
    assert "Sec-WebSocket-Extensions" not in response.headers


async def test_a_connection_lives_for_one_hour(service: Service, channel: Channel, clock: Clock) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    for _ in range(6):
        await silent(service, at_viewer, at_master)
        move(service, clock, 599.0)
    await silent(service, at_viewer, at_master)
    move(service, clock, 6.0)

    ends = [await client.end() for client in (at_master, at_viewer)]
    assert ends == [(1001, "the lifetime of a connection is over")] * 2
    await gone(service)


async def test_an_idle_connection_is_closed_after_ten_minutes(service: Service, channel: Channel, clock: Clock) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    move(service, clock, 300.0)
    await silent(service, at_viewer)
    move(service, clock, 300.0)

    assert await at_master.end() == (1001, "idle for 600 s")
    await silent(service, at_viewer)


async def test_a_drain_says_1001_and_nothing_before_it(service: Service, channel: Channel) -> None:
    clients = [await master(service, channel), await viewer(service, channel)]
    await service.hub.drain(0.01)

    for client in clients:
        assert [frame async for frame in client.websocket] == [], "GO_AWAY freezes a stock C SDK"
        assert await client.end() == (1001, "this node is going away")


async def test_go_away_comes_a_minute_before_the_end_where_it_is_switched_on() -> None:
    clock = Clock()
    limits = Limits(lifetime_jitter_s=0.0, idle_s=None).with_control_messages()
    async with signaling_service(limits, now=clock) as service:
        at_master = await master(service, await service.control.create(ACCOUNT, "demo"))
        move(service, clock, 3540.0)
        assert await at_master.websocket.recv() == '{"messagePayload":"","messageType":"GO_AWAY"}'
        move(service, clock, 60.0)
        assert (await at_master.end())[0] == 1001


async def test_two_masters_that_fight_are_held_to_three_connects_and_named(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await master(service, channel)
        status, code, body = await refusal(service.url("/master", channel), service.token())

    assert (status, code) == (400, "ClientLimitExceededException")
    assert (body["limit"]["name"], body["limit"]["value"]) == ("master_connects_per_second", 3)
    assert 0 < body["limit"]["retryAfterSeconds"] <= 1
    (named,) = [vars(record) for record in caplog.records if "compete" in record.message]
    assert (named["channel"], named["sources"]) == (str(channel.arn), ["127.0.0.1"])
    (refused,) = [vars(record) for record in caplog.records if record.message == "connect refused"]
    assert (refused["limit"], refused["limit_value"]) == ("master_connects_per_second", "3")
    assert float(refused["retry_after_s"]) > 0


async def test_of_twenty_parallel_viewers_ten_come_in_and_the_next_when_one_leaves(
    service: Service, channel: Channel
) -> None:
    async def come(number: int) -> Opened | int:
        try:
            return await viewer(service, channel, f"v{number}")
        except InvalidStatus as refused:
            return refused.response.status_code

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(come(number)) for number in range(20)]
    outcomes = [task.result() for task in tasks]
    inside = [outcome for outcome in outcomes if isinstance(outcome, Opened)]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Opened)] == [400] * 10
    assert len(inside) == 10
    await inside[0].websocket.close()
    async with asyncio.timeout(15):
        while service.hub.stats.viewers > 9:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    await viewer(service, channel, "late")
