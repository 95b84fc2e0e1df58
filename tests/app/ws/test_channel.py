"""What passes between websockets, over a real server and a plain websocket client."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from app.ws.channel import ChannelSockets, _Heard
from app.ws.queued import SocketConnection
from channels.channel import Channel
from channels.names import Role
from channels.signaling.members import Connect
from tests.app.ws.rig import PAYLOAD, master, viewer
from tests.signaling_service import Service


async def test_offer_answer_and_candidates_pass_byte_for_byte(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.say("SDP_OFFER", recipientClientId="other")
    await at_viewer.say("ICE_CANDIDATE", "YQ==")

    assert await at_master.hear() == {"messagePayload": PAYLOAD, "messageType": "SDP_OFFER", "senderClientId": "v1"}
    assert (await at_master.hear())["messageType"] == "ICE_CANDIDATE"
    await at_master.say("SDP_ANSWER", recipientClientId="v1")
    assert await at_viewer.hear() == {"messagePayload": PAYLOAD, "messageType": "SDP_ANSWER"}


async def test_the_wire_form_of_the_c_sdk_is_served(service: Service, channel: Channel) -> None:
    """Its subprotocol, no User-Agent, Pascal keys, white space, its own id as recipient, the live TURN password."""
    at_master = await master(service, channel, subprotocols=["wss"], user_agent_header=None)
    at_viewer = await viewer(service, channel, "ConsumerViewer", subprotocols=["wss"], user_agent_header=None)
    await at_viewer.websocket.send(
        '{\n\t"action": "SDP_OFFER",\n\t"RecipientClientId": "ConsumerViewer",\n\t"MessagePayload": "' + PAYLOAD + '",'
        '\n\t"CorrelationId": "1",\n\t"IceServerList": [{"Password": "hunter2", "Ttl": 300}]\n}\n'
    )

    heard = await at_master.hear()

    assert heard == {"messagePayload": PAYLOAD, "messageType": "SDP_OFFER", "senderClientId": "ConsumerViewer"}
    assert at_master.websocket.subprotocol in (None, "wss")


async def test_viewer_first_and_master_later_works(service: Service, channel: Channel) -> None:
    at_viewer = await viewer(service, channel)
    await at_viewer.say("SDP_OFFER")
    await at_viewer.say("ICE_CANDIDATE", "YQ==")
    at_master = await master(service, channel)

    assert [(await at_master.hear())["messageType"] for _ in range(2)] == ["SDP_OFFER", "ICE_CANDIDATE"]


async def test_bad_frames_are_answered_and_the_connection_stays(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    bad = (
        "no JSON",
        '{"action":"NO","messagePayload":""}',
        '{"action":"SDP_OFFER","messagePayload":"%"}',
        json.dumps({"action": "SDP_OFFER", "messagePayload": "A" * 20_000}),
        "[" * 60_000,
    )
    for frame in bad:
        await at_viewer.websocket.send(frame)
        status = await at_viewer.hear()
        assert status["messagePayload"] == ""
        assert status["messageType"] == "STATUS_RESPONSE"
        assert status["statusResponse"]["errorType"] == "InvalidArgumentException"
    await at_viewer.websocket.send("")
    await at_viewer.say("SDP_OFFER")

    assert (await at_master.hear())["messageType"] == "SDP_OFFER"


async def test_an_absent_viewer_is_answered_with_404_only_when_asked(service: Service, channel: Channel) -> None:
    at_master = await master(service, channel)
    await at_master.say("SDP_ANSWER", recipientClientId="v9")
    await at_master.say("SDP_ANSWER", recipientClientId="v9", correlationId="c")

    status = (await at_master.hear())["statusResponse"]
    assert (status["correlationId"], status["statusCode"]) == ("c", "404")


async def test_fragments_make_one_message(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.websocket.send(['{"action":"SDP_OFFER",', '"messagePayload":"YQ=="}'])

    assert (await at_master.hear())["messagePayload"] == "YQ=="


async def test_a_ping_between_two_fragments_is_answered_before_the_message_is_whole(
    service: Service, channel: Channel
) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)

    async def halves() -> AsyncIterator[str]:
        yield '{"action":"SDP_OFFER",'
        async with asyncio.timeout(15):
            await (await at_viewer.websocket.ping(b"between"))
        yield '"messagePayload":"YQ=="}'

    await at_viewer.websocket.send(halves())
    assert (await at_master.hear())["messagePayload"] == "YQ=="


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02no", 1002),  # not masked
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x83\x80\0\0\0\0", 1002),  # no such opcode
        (b"\x09\x80\0\0\0\0", 1002),  # a fragmented ping
        (b"\x80\x80\0\0\0\0", 1002),  # goes on with nothing
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x81\xff\0\0\0\0\0\x01\0\x01" + bytes(100), 1009),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # 1005 must not be sent
    ],
)
async def test_a_bad_frame_ends_its_connection_with_the_code_of_the_rfc(
    frame: bytes, code: int, service: Service, channel: Channel
) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    at_viewer.websocket.transport.write(frame)

    assert (await at_viewer.end())[0] == code
    assert at_master.websocket.close_code is None


async def test_a_client_ping_gets_a_pong(service: Service, channel: Channel) -> None:
    at_master = await master(service, channel)

    async with asyncio.timeout(15):
        await (await at_master.websocket.ping(b"c-sdk"))


class Flood:
    """A websocket whose frames are all there already, as after one big read from the socket."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    async def receive(self) -> dict[str, object]:
        self.left -= 1
        if self.left < 0:
            return {"type": "websocket.disconnect", "code": 1005}
        return {"type": "websocket.receive", "text": "x"}


async def test_a_flood_of_frames_lets_others_have_their_turn(service: Service, channel: Channel) -> None:
    flood = Flood(10_000)
    connection = SocketConnection(flood, 1 << 20)  # type: ignore[arg-type]
    member = await service.hub.connect(Connect(channel, Role.VIEWER, "v1"), connection)
    sockets = ChannelSockets(service.hub, service.control, None, time.time)  # type: ignore[arg-type]
    heard = _Heard(service.hub, member, {})
    seen: list[int] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(sockets._read(flood, heard, connection))  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
            seen.append(flood.left)

    await service.hub.disconnect(member)
    assert seen[0] > 9_900
    assert len(set(seen)) > 1
