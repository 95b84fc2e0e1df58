"""SendAlexaOfferToMaster over a real server: it blocks until the master answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from channels.channel import Channel
from channels.quotas import Quotas
from tests.app.api import rig
from tests.signaling_service import Service, signaling_service

ACCOUNT = "000000000000"
PATH = "/v1/send-alexa-offer-to-master"
OFFER, ANSWER = "b2ZmZXI=", "YW5zd2Vy"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service() as running:
        yield running


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create(ACCOUNT, "demo")


async def send(service: Service, channel: Channel, token: str | None = None, **change: Any) -> httpx.Response:
    body = {"ChannelARN": str(channel.arn), "SenderClientId": "echo", "MessagePayload": OFFER, **change}
    headers = {"Authorization": f"Bearer {token or service.token()}"}
    async with httpx.AsyncClient(base_url=service.http, headers=headers, trust_env=False, verify=False) as client:
        return await client.post(PATH, json=body)


async def refused(service: Service, channel: Channel, token: str | None = None, **change: Any) -> tuple[int, str]:
    answer = await send(service, channel, token, **change)
    assert answer.json()["message"]
    return answer.status_code, answer.json()["__type"]


async def come(service: Service) -> None:
    async with asyncio.timeout(15):
        while not service.hub.stats.viewers:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def gone(service: Service) -> None:
    async with asyncio.timeout(15):
        while service.hub.stats.viewers:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_the_masters_answer_is_the_answer_of_the_call(service: Service, channel: Channel) -> None:
    headers = {"Authorization": f"Bearer {service.token()}"}
    async with connect(service.url("/master", channel), additional_headers=headers, proxy=None) as master:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(send(service, channel))
            offer = json.loads(await master.recv())
            assert offer == {"messagePayload": OFFER, "messageType": "SDP_OFFER", "senderClientId": "echo"}
            answer = {"action": "SDP_ANSWER", "messagePayload": ANSWER, "recipientClientId": "echo"}
            await master.send(json.dumps(answer))
        assert (call.result().status_code, call.result().json()) == (200, {"Answer": ANSWER})
        await gone(service)


async def test_a_caller_that_hangs_up_gives_its_place_back(service: Service, channel: Channel) -> None:
    async with asyncio.TaskGroup() as group:
        call = group.create_task(send(service, channel))
        await come(service)
        call.cancel()
    await gone(service)


async def test_a_drain_answers_the_call(service: Service, channel: Channel) -> None:
    async with asyncio.TaskGroup() as group:
        call = group.create_task(refused(service, channel))
        await come(service)
        await service.hub.drain(0.0)
    assert call.result() == (503, "ServiceUnavailableException")


@pytest.mark.parametrize(
    "change",
    [
        {"ChannelARN": "demo"},
        {"SenderClientId": None},
        {"SenderClientId": "two words"},
        {"SenderClientId": "aws_echo"},
        {"SenderClientId": "echo\n"},
        {"SenderClientId": "e" * 257},
        {"MessagePayload": None},
        {"MessagePayload": ""},
        {"MessagePayload": "v=0"},
        {"MessagePayload": "A"},
        {"MessagePayload": "QUJD\n"},
        {"MessagePayload": "A" * 10_004},
    ],
)
async def test_wrong_fields_are_refused(service: Service, channel: Channel, change: dict[str, Any]) -> None:
    assert await refused(service, channel, **change) == (400, "InvalidArgumentException")


async def test_who_may_not_ask_is_not_authorized(service: Service, channel: Channel) -> None:
    unknown = str(channel.arn)[:-1] + ("1" if str(channel.arn)[-1] != "1" else "2")
    denied = (401, "NotAuthorizedException")
    assert await refused(service, channel, ChannelARN=unknown) == (404, "ResourceNotFoundException")
    assert await refused(service, channel, service.token("kvs:ConnectAsViewer")) == denied
    assert await refused(service, channel, service.token(channels=("other",))) == denied
    assert await refused(service, channel, service.token(client_id="viewer-1")) == denied


async def test_the_aws_profile_holds_a_channel_to_five_calls_per_second() -> None:
    control = rig.Service(Quotas.aws())
    body = {"ChannelARN": rig.UNKNOWN, "SenderClientId": "echo", "MessagePayload": OFFER}
    for _ in range(10):
        assert await control.code(PATH, body) == "ResourceNotFoundException 404"
    answer = (await control.post(PATH, body)).json()
    assert (answer["__type"], answer["limit"]["value"]) == ("ClientLimitExceededException", 5)
    assert answer["limit"]["retryAfterSeconds"] > 0
    await control.close()
