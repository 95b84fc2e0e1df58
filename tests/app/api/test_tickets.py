"""A ticket is given for exactly the connect that would be let in; else comes the error that the socket would give."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import websockets

from channels.channel import Channel
from channels.signaling.limits import Limits
from tests.signaling_service import ACCOUNT, Service, signaling_service

PATH = "/v1/connect-ticket"
REFUSALS = (
    # changes to a good body, token, status, code, words
    ({"channelArn": "nonsense"}, {}, 400, "InvalidArgumentException", "ChannelARN must look like"),
    ({"channelArn": 7}, {}, 400, "InvalidArgumentException", "channelArn: expected str, got int"),
    ({"channelArn": None}, {}, 400, "InvalidArgumentException", "channelArn"),
    ({"role": "ADMIN"}, {}, 400, "InvalidArgumentException", "role: invalid enum value 'ADMIN'"),
    ({"role": None}, {}, 400, "InvalidArgumentException", "role"),
    ({"clientId": "a b"}, {}, 400, "InvalidArgumentException", "ClientId must be 1 to 256 characters"),
    ({"clientId": "aws_x"}, {}, 400, "InvalidArgumentException", "must not begin with AWS_"),
    ({"clientId": ""}, {}, 400, "InvalidArgumentException", "clientId"),
    ({"clientId": "x" * 257}, {}, 400, "InvalidArgumentException", "clientId"),
    ({"clientId": None}, {}, 400, "InvalidArgumentException", "clientId is missing"),
    ({}, {"actions": ("ConnectAsMaster",)}, 401, "AccessDeniedException", "may not kinesisvideo:ConnectAsViewer"),
    ({"role": "MASTER"}, {"actions": ("ConnectAsViewer",)}, 401, "AccessDeniedException", "ConnectAsMaster"),
    ({}, {"channels": ("gate",)}, 401, "AccessDeniedException", "no statement allows it"),
    ({}, {"client_id": "v-2"}, 401, "AccessDeniedException", "client id of its token"),
)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service(Limits(viewers_per_channel=1)) as service:
        yield service


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create(ACCOUNT, "door")


def body(channel: Channel, **changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"channelArn": str(channel.arn), "role": "VIEWER", "clientId": "v-1"}
    return {name: value for name, value in (good | changes).items() if value is not None}


async def ask(service: Service, content: dict[str, Any], token: dict[str, Any] | None = None) -> httpx.Response:
    token = dict(token or {})
    text = service.token(*token.pop("actions", ()), **token)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service.application), base_url="http://test") as client:
        return await client.post(PATH, json=content, headers={"Authorization": f"Bearer {text}"})


@pytest.mark.parametrize("role", ["VIEWER", "MASTER"])
async def test_ticket_opens_the_socket_it_was_asked_for_once(service: Service, channel: Channel, role: str) -> None:
    response = await ask(service, body(channel, role=role))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert answer["expiresInSeconds"] == 30
    url = service.url(f"/{role.lower()}", None, ticket=answer["ticket"])
    async with websockets.connect(url):
        pass
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url).__aenter__()
    assert refused.value.response.status_code == 403


async def test_a_master_needs_no_client_id_and_one_it_sends_is_ignored(service: Service, channel: Channel) -> None:
    for client_id in (None, "ProducerMaster", "a b"):
        response = await ask(service, body(channel, role="MASTER", clientId=client_id))
        assert response.status_code == 200
        async with websockets.connect(service.url("/master", channel, "other", ticket=response.json()["ticket"])):
            pass


async def test_a_token_that_binds_a_client_id_need_not_repeat_it(service: Service, channel: Channel) -> None:
    response = await ask(service, body(channel, clientId=None), {"client_id": "v-9"})
    async with websockets.connect(service.url("/viewer", channel, "v-9", ticket=response.json()["ticket"])):
        assert await service.presence.count(str(channel.arn)) == 1


@pytest.mark.parametrize(("changes", "token", "status", "code", "words"), REFUSALS)
async def test_a_connect_that_would_be_refused_gets_no_ticket(
    service: Service,
    channel: Channel,
    changes: dict[str, Any],
    token: dict[str, Any],
    status: int,
    code: str,
    words: str,
) -> None:
    response = await ask(service, body(channel, **changes), token)
    assert response.status_code == status
    assert response.json()["__type"] == response.headers["x-amzn-ErrorType"] == code
    assert words in response.json()["message"]
    assert (await ask(service, body(channel))).status_code == 200


async def test_an_unknown_channel_is_404_and_a_foreign_one_too(service: Service, channel: Channel) -> None:
    arn = str(channel.arn)
    for text in (arn.replace("door", "gate"), arn[:-1], arn.replace(ACCOUNT, "111111111111")):
        response = await ask(service, body(channel, channelArn=text))
        assert response.status_code == 404
        assert response.json()["__type"] == "ResourceNotFoundException"


async def test_a_full_channel_is_told_with_its_limit_as_the_socket_would(service: Service, channel: Channel) -> None:
    token = service.token()
    async with websockets.connect(service.url("/viewer", channel, "v-0", token=token)):
        response = await ask(service, body(channel))
        assert response.status_code == 400
        answer = response.json()
        assert answer["__type"] == "ClientLimitExceededException"
        assert answer["limit"]["name"] == "viewers_per_channel"
        assert answer["limit"]["value"] == 1
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(service.url("/viewer", channel, "v-1", token=token)).__aenter__()
        told = json.loads(refused.value.response.body or b"")
        assert told["limit"] == answer["limit"]
        assert told["__type"] == answer["__type"]
        # who is in may come again: its newer connection takes the place
        assert (await ask(service, body(channel, clientId="v-0"))).status_code == 200


async def test_asking_takes_no_place(service: Service, channel: Channel) -> None:
    for number in range(5):
        assert (await ask(service, body(channel, clientId=f"v-{number}"))).status_code == 200
    assert await service.presence.count(str(channel.arn)) == 0


async def test_the_audit_log_names_the_channel_and_the_statement_and_no_ticket(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    ticket = (await ask(service, body(channel))).json()["ticket"]
    (record,) = [record for record in caplog.records if record.name == "heliograph.audit"]
    assert (record.__dict__["channel"], record.__dict__["sid"]) == (str(channel.arn), "token")
    assert ticket not in str(record.__dict__)
