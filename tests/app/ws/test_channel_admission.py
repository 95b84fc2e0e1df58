"""Which websockets are opened, by which credential, and what the others are told."""

import asyncio
import json
import logging
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from channels.auth import sigv4
from channels.auth.sigv4 import Credentials
from channels.channel import Channel
from channels.names import Role
from channels.service import ServiceClient
from tests.app.ws.rig import gone, open_as, refusal, upgrade_only, viewer
from tests.signaling_service import Service


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
    assert ("X-Amz-ClientId is missing" in found[2]["Message"]) is (not client_id)


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


async def test_what_we_close_is_audited_with_its_reason_and_what_a_client_closes_is_not(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="heliograph.audit"):
        await (await viewer(service, channel, "v2")).websocket.close()
        at_viewer = await viewer(service, channel, "v1")
        service.hub.cut(channel.arn, 1011, "for a reason")
        await at_viewer.end()
        await gone(service)
    (line,) = [vars(record) for record in caplog.records if record.message == "closed"]
    assert (line["client_id"], line["subject"], line["channel"]) == ("v1", "tester", str(channel.arn))
    assert (line["close_code"], line["reason"], "code" in line) == (1011, "for a reason", False)


async def test_a_connection_that_ends_for_its_frames_is_audited(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="heliograph.audit"):
        at_viewer = await viewer(service, channel)
        await at_viewer.websocket.send("x" * 100_000)
        await at_viewer.end()
        await gone(service)
    (line,) = [vars(record) for record in caplog.records if record.message == "closed"]
    assert line["close_code"] == 1009
    assert "100000 bytes" in line["reason"]


async def test_a_refused_signature_is_audited_with_the_key_that_it_names(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    key = service.access_key()
    url = service.url("/viewer", channel, "v1")
    with caplog.at_level(logging.INFO, logger="heliograph.audit"):
        await refusal(sigv4.presign(url, Credentials(key.id, "wrong" * 8), "us-west-2", time.time()), None)
    (line,) = [vars(record) for record in caplog.records if record.message == "connect refused"]
    assert (line["access_key_id"], line["code"]) == (key.id, "InvalidSignatureException")


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
