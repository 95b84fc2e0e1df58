"""The websockets over a real server and a plain websocket client, in the wire forms of stock clients."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from app.ws.channel import ChannelSockets, SocketConnection
from channels.auth import sigv4
from channels.auth.sigv4 import Credentials
from channels.channel import Channel
from channels.names import Role
from channels.service import ServiceClient
from channels.signaling.limits import Limits
from channels.signaling.members import Connect
from tests.app.ws.rig import PAYLOAD, Opened, gone, master, open_as, refusal, viewer
from tests.signaling_service import Service, signaling_service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service() as running:
        yield running


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create("000000000000", "demo")


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


async def test_without_an_offered_subprotocol_none_is_answered(service: Service, channel: Channel) -> None:
    at_viewer = await viewer(service, channel)

    assert at_viewer.websocket.response is not None
    assert "Sec-WebSocket-Protocol" not in at_viewer.websocket.response.headers


async def test_a_token_as_subprotocol_is_never_echoed(service: Service, channel: Channel) -> None:
    offered = ["kvs-signaling", f"bearer.{service.token()}"]
    async with connect(service.url("/viewer", channel, "v1"), subprotocols=offered, proxy=None) as websocket:  # type: ignore[arg-type]
        assert websocket.subprotocol == "kvs-signaling"


async def test_a_token_in_the_query_opens(service: Service, channel: Channel) -> None:
    async with connect(service.url("/viewer", channel, "v1", token=service.token()), proxy=None):
        assert service.hub.stats.viewers == 1


async def test_a_ticket_opens_once_and_only_what_it_is_for(service: Service, channel: Channel) -> None:
    async def ticket() -> str:
        client = ServiceClient(service.http, service.token())
        body = {"channelArn": str(channel.arn), "role": "VIEWER", "clientId": "v1"}
        return str((await client.call("/v1/connect-ticket", body))["ticket"])

    text = await ticket()
    async with connect(service.url("/viewer", None, ticket=text), proxy=None):
        assert service.hub.stats.viewers == 1
    assert (await refusal(service.url("/viewer", None, ticket=text), None))[:2] == (403, "UnrecognizedClientException")
    for url in (
        service.url("/viewer", channel, "v2", ticket=await ticket()),
        service.url("/master", channel, ticket=await ticket()),
    ):
        assert (await refusal(url, None))[:2] == (403, "AccessDeniedException")


async def test_a_page_of_another_origin_opens_nothing_with_a_ticket_and_does_not_use_it_up(
    service: Service, channel: Channel
) -> None:
    body = {"channelArn": str(channel.arn), "role": "MASTER"}
    ticket = (await ServiceClient(service.http, service.token()).call("/v1/connect-ticket", body))["ticket"]
    url = service.url("/master", None, ticket=ticket)
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, origin=Origin("https://evil.example.org"), proxy=None)
    assert refused.value.response.status_code == 403
    told = json.loads(refused.value.response.body or b"{}")
    assert told["__type"] == "AccessDeniedException"
    assert "allowed_origins" in told["Message"]
    async with connect(url, origin=Origin(service.http), proxy=None):
        pass


async def test_an_access_key_opens_and_its_connection_does_not_end_with_time(
    service: Service, channel: Channel
) -> None:
    key = service.access_key()
    url = service.url("/viewer", channel, "v1")
    presigned = sigv4.presign(url, Credentials(key.id, key.secret), "us-west-2", time.time())
    async with connect(presigned, proxy=None, origin=Origin("https://anywhere.example.org")):
        assert service.hub.stats.viewers == 1


async def test_a_connection_ends_with_the_key_that_its_session_came_from(service: Service, channel: Channel) -> None:
    key = service.access_key()
    triple = service.session(key)
    credentials = Credentials(triple.access_key_id, triple.secret_access_key, triple.session_token)
    url = sigv4.presign(service.url("/viewer", channel, "v1"), credentials, "us-west-2", time.time())
    async with connect(url, proxy=None) as websocket:
        service.hub.close_credentials(frozenset((key.id,)))
        assert (await Opened(websocket).end())[0] == 1008


async def test_the_role_comes_from_the_endpoint(service: Service, channel: Channel) -> None:
    await open_as(service, Role.MASTER, channel, "MASTER")
    await open_as(service, Role.VIEWER, channel, "MASTER")

    assert (service.hub.stats.masters, service.hub.stats.viewers) == (1, 1)


@pytest.mark.parametrize("client_id", [None, "", "AWS_me", "aws_me", "a b", "x" * 257])
async def test_a_viewer_without_a_valid_client_id_is_refused(
    service: Service, channel: Channel, client_id: str | None
) -> None:
    found = await refusal(service.url("/viewer", channel, client_id), service.token())

    assert found[:2] == (400, "InvalidArgumentException")


@pytest.mark.parametrize("arn", [None, "", "demo", "arn:aws:kinesisvideo:us-west-2:1:channel/demo/1", "x" * 2000])
async def test_a_missing_or_malformed_arn_is_refused(service: Service, arn: str | None) -> None:
    found = await refusal(service.url("/master", arn), service.token())

    assert found[:2] == (400, "InvalidArgumentException")


async def test_refusals_before_the_upgrade_have_the_codes_of_aws(service: Service, channel: Channel) -> None:
    unknown = str(channel.arn)[:-1] + ("1" if str(channel.arn)[-1] != "1" else "2")
    url = service.url("/viewer", channel, "v1")
    for found, wanted in (
        (await refusal(service.url("/master", unknown), service.token()), (404, "ResourceNotFoundException")),
        (await refusal(url, service.token("kvs:ConnectAsMaster")), (403, "AccessDeniedException")),
        (await refusal(url, service.token(channels=("other",))), (403, "AccessDeniedException")),
        (await refusal(url, service.token(client_id="v2")), (403, "AccessDeniedException")),
        (await refusal(url, None), (403, "MissingAuthenticationTokenException")),
        (await refusal(url, "not.a.token"), (403, "UnrecognizedClientException")),
        (await refusal(url, service.token(lifetime_s=-60)), (403, "ExpiredTokenException")),
        (await refusal(url + "&token=" + service.token(), service.token()), (400, "InvalidArgumentException")),
    ):
        assert found[:2] == wanted
    assert len(service.presence) == 0


async def test_the_eleventh_viewer_is_refused_by_name_until_one_leaves(service: Service, channel: Channel) -> None:
    inside = [await viewer(service, channel, f"v{number}") for number in range(10)]

    status, code, body = await refusal(service.url("/viewer", channel, "late"), service.token())
    assert (status, code) == (400, "ClientLimitExceededException")
    assert body["limit"] == {"name": "viewers_per_channel", "value": 10.0}

    await inside[0].websocket.close()
    await asyncio.sleep(0)
    await viewer(service, channel, "late")


async def test_twenty_parallel_connects_admit_exactly_ten(service: Service, channel: Channel) -> None:
    async def come(number: int) -> bool:
        try:
            await viewer(service, channel, f"v{number}")
        except InvalidStatus:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(come(number)) for number in range(20)]

    assert sum(task.result() for task in tasks) == 10


async def test_a_second_master_closes_the_first(service: Service, channel: Channel) -> None:
    first = await master(service, channel)
    await master(service, channel)

    assert await first.end() == (1000, "replaced by a newer master")
    assert service.hub.stats.masters == 1


async def test_a_second_connection_of_a_viewer_id_closes_the_first(service: Service, channel: Channel) -> None:
    first = await viewer(service, channel)
    await viewer(service, channel)

    assert await first.end() == (1000, "replaced by a newer connection of this client id")


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


async def test_fragments_make_one_message(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.websocket.send(['{"action":"SDP_OFFER",', '"messagePayload":"YQ=="}'])

    assert (await at_master.hear())["messagePayload"] == "YQ=="


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


async def test_a_connection_ends_with_its_token(service: Service, channel: Channel) -> None:
    headers = {"Authorization": f"Bearer {service.token(lifetime_s=-29.0)}"}  # inside the leeway, 1 s of grace left
    websocket = await connect(service.url("/master", channel), additional_headers=headers, proxy=None)

    assert await Opened(websocket).end() == (1001, "the credential has expired")


async def test_a_peer_that_does_not_read_delays_nobody_and_is_closed() -> None:
    async with signaling_service(Limits.relaxed()) as service:
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
        async with asyncio.timeout(5):
            while await service.presence.count(str(made.arn)) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        stuck.close()


async def raw_viewer(service: Service, channel: Channel, client_id: str) -> socket.socket:
    """A viewer that upgrades and then reads nothing more, with a small receive buffer."""
    stuck = await upgrade_only(service, service.url("/viewer", channel, client_id))
    assert b"101" in await asyncio.get_running_loop().sock_recv(stuck, 4096)
    return stuck


async def upgrade_only(service: Service, url: str) -> socket.socket:
    """A client that asks for an upgrade and reads nothing."""
    host, port = service.address.split(":")
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, (host, int(port)))
    await loop.sock_sendall(
        stuck,
        (
            f"GET {url.split(service.address)[1]} HTTP/1.1\r\nHost: {service.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {service.token()}\r\n\r\n"
        ).encode(),
    )
    return stuck


class ClosedByServer:
    """A websocket that the server has closed by itself: it refuses what is sent."""

    async def send_text(self, text: str) -> None:
        raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")


async def test_a_socket_that_the_server_closed_by_itself_ends_its_writer() -> None:
    connection = SocketConnection(ClosedByServer(), 100)  # type: ignore[arg-type]
    connection.send(b"{}")

    async with asyncio.timeout(5):
        await connection.write()


def test_a_socket_takes_what_fits_and_nothing_after_its_close() -> None:
    connection = SocketConnection(ClosedByServer(), 10)  # type: ignore[arg-type]

    assert connection.send(b"12345678")
    assert not connection.send(b"123")
    assert connection.send(b"12")
    connection.close(1000, "first")
    connection.close(1001, "second")
    assert not connection.send(b"")
    assert connection.is_ending


async def test_a_peer_that_answers_no_ping_is_closed() -> None:
    async with signaling_service(ping_s=0.05) as service:
        made = await service.control.create("000000000000", "demo")
        at_master = await master(service, made)
        mute = await raw_viewer(service, made, "mute")
        async with asyncio.timeout(5):
            while service.hub.stats.viewers:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert at_master.websocket.close_code is None
        mute.close()


async def test_nothing_is_left_after_clients_close_or_vanish(service: Service, channel: Channel) -> None:
    at_master, at_viewer = await master(service, channel), await viewer(service, channel)
    await at_viewer.say("SDP_OFFER")
    await at_master.hear()
    await at_master.websocket.close()
    at_viewer.websocket.transport.abort()
    (await raw_viewer(service, channel, "v2")).close()

    await gone(service)

    assert len(service.hub._members) == len(service.hub._timetable) == 0


async def test_each_connect_and_refusal_is_audited_without_secrets(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    token = service.token()
    with caplog.at_level(logging.INFO, logger="heliograph.audit"):
        async with connect(service.url("/viewer", channel, "v1", token=token), proxy=None):
            pass
        await refusal(service.url("/viewer", channel, "AWS_", token=token), None)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    lines = [record for record in caplog.records if record.name == "heliograph.audit"]
    assert [line.message for line in lines] == ["connected", "connect refused"]
    for line in lines:
        assert line.operation == "ConnectAsViewer"  # type: ignore[attr-defined]
        assert line.subject == "tester"  # type: ignore[attr-defined]
        assert token not in str(vars(line))


async def test_a_fault_of_ours_is_answered_without_details(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(service.hub._gates, "take", broken)
    status, code, body = await refusal(service.url("/master", channel), service.token())

    assert (status, code) == (500, "InternalFailureException")
    assert "secret" not in body["Message"]
    assert "connect failed" in caplog.text


async def test_a_client_ping_gets_a_pong(service: Service, channel: Channel) -> None:
    at_master = await master(service, channel)

    async with asyncio.timeout(5):
        await (await at_master.websocket.ping(b"c-sdk"))


class Flood:
    """A websocket whose frames are all there already, as after one big read from the socket."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    async def receive(self) -> dict[str, str]:
        self.left -= 1
        if self.left < 0:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": "x"}


async def test_a_flood_of_frames_lets_others_have_their_turn(service: Service, channel: Channel) -> None:
    flood = Flood(10_000)
    connection = SocketConnection(flood, 1 << 20)  # type: ignore[arg-type]
    member = await service.hub.connect(Connect(channel, Role.VIEWER, "v1"), connection)
    sockets = ChannelSockets(service.hub, service.control, None)  # type: ignore[arg-type]
    seen: list[int] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(sockets._read(flood, member))  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
            seen.append(flood.left)

    await service.hub.disconnect(member)
    assert seen[0] > 9_900
    assert len(set(seen)) > 1


async def test_a_client_that_leaves_while_it_is_decided_upon_leaves_nothing(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()
    resolve = service.control.resolve

    async def slowly(*given: Any) -> Channel:
        asked.set()
        await may_answer.wait()
        return await resolve(*given)

    monkeypatch.setattr(service.control, "resolve", slowly)
    async with asyncio.TaskGroup() as group:
        for url in (service.url("/viewer", channel, "v1"), service.url("/viewer", str(channel.arn) + "1", "v1")):
            asked.clear()
            task = group.create_task(upgrade_only(service, url))
            await asked.wait()
            (await task).close()
    await asyncio.sleep(0.05)
    may_answer.set()
    await gone(service)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
