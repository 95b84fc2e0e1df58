"""DescribeRelayUsage: numbers of the channel that was asked for, for who may describe it."""

from collections.abc import AsyncIterator

import pytest

from channels import ice
from channels.auth.grant import Statement
from channels.names import ChannelArn
from channels.quotas import Quotas
from tests.app.api.rig import UNKNOWN, Service, grant

PATH = "/v1/relay-usage"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    yield made
    await made.close()


async def create(service: Service, name: str = "door") -> str:
    return str((await service.ok("/createSignalingChannel", {"ChannelName": name}))["ChannelARN"])


async def test_the_numbers_are_those_of_the_channel(service: Service) -> None:
    arn, other = await create(service), await create(service, "other")
    service.usage[ice.channel_digest(ChannelArn.parse(arn))] = (2, 1_000, 70_000)
    assert await service.ok(PATH, {"channelArn": arn}) == {
        "allocations": 2,
        "bytesToPeers": 1_000,
        "bytesToClients": 70_000,
    }
    assert await service.ok(PATH, {"channelArn": other}) == {"allocations": 0, "bytesToPeers": 0, "bytesToClients": 0}


async def test_who_may_describe_the_channel_may_ask(service: Service) -> None:
    arn = await create(service)
    service.grant = grant(Statement(("kinesisvideo:DescribeSignalingChannel",), (arn,)))
    await service.ok(PATH, {"channelArn": arn})
    service.grant = grant(Statement(("kinesisvideo:GetIceServerConfig",), ("*",)))
    assert await service.code(PATH, {"channelArn": arn}) == "AccessDeniedException 401"


async def test_a_channel_of_nobody_or_of_another_account_is_not_found(service: Service) -> None:
    arn = await create(service)
    assert await service.code(PATH, {"channelArn": UNKNOWN}) == "ResourceNotFoundException 404"
    service.grant = grant(Statement(("*",), ("*",)), account="111111111111")
    assert await service.code(PATH, {"channelArn": arn}) == "ResourceNotFoundException 404"


async def test_calls_are_counted_per_channel() -> None:
    service = Service(Quotas.aws())
    arn = await create(service)
    for _ in range(10):
        await service.ok(PATH, {"channelArn": arn})
    assert await service.code(PATH, {"channelArn": arn}) == "ClientLimitExceededException 400"
    await service.close()
