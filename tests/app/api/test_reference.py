"""Which channel a request names; the operations' own tests show it over HTTP."""

from collections.abc import AsyncIterator

import pytest

from app.api import shapes
from app.api.reference import permitted, referred
from app.wire import Caller
from channels.auth.grant import Statement
from channels.errors import (
    AccessDeniedException,
    ClientLimitExceededException,
    InvalidArgumentException,
    NotAuthorizedException,
    ResourceNotFoundException,
)
from channels.quotas import Quotas
from tests.app.api.rig import ANY, UNKNOWN, Service, grant

NAMED = Statement(("kinesisvideo:DescribeSignalingChannel",), ("*",), sid="named")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service(Quotas.aws())
    yield made
    await made.close()


async def stays() -> None:
    raise AssertionError("nobody asks whether the caller is there")


def caller(*statements: Statement) -> Caller:
    return Caller(grant(*statements), "r", "kvs.test", "http", {}, stays)


async def test_an_arn_is_permitted_counted_and_noted_for_the_audit_log(service: Service) -> None:
    who = caller(NAMED)
    assert str(permitted(service.control, who, "DescribeSignalingChannel", UNKNOWN)) == UNKNOWN
    assert who.event == {"channel": UNKNOWN, "sid": "named"}
    for _ in range(9):
        permitted(service.control, who, "DescribeSignalingChannel", UNKNOWN)
    with pytest.raises(ClientLimitExceededException):
        permitted(service.control, who, "DescribeSignalingChannel", UNKNOWN)


async def test_the_error_of_a_denial_is_that_of_the_service(service: Service) -> None:
    with pytest.raises(AccessDeniedException):
        permitted(service.control, caller(), "DescribeSignalingChannel", UNKNOWN)
    with pytest.raises(NotAuthorizedException):
        permitted(service.control, caller(), "GetIceServerConfig", UNKNOWN, NotAuthorizedException)
    with pytest.raises(InvalidArgumentException):
        permitted(service.control, caller(ANY), "DescribeSignalingChannel", "demo")


async def test_a_channel_is_found_by_name_by_arn_or_by_both(service: Service) -> None:
    arn = await service.create()
    for reference in (
        shapes.ChannelReference(channel_name="demo"),
        shapes.ChannelReference(channel_arn=arn),
        shapes.ChannelReference("demo", arn),
    ):
        found = await referred(service.control, caller(NAMED), "DescribeSignalingChannel", reference)
        assert str(found.arn) == arn
    for reference in (shapes.ChannelReference(), shapes.ChannelReference("other", arn)):
        with pytest.raises(InvalidArgumentException):
            await referred(service.control, caller(NAMED), "DescribeSignalingChannel", reference)
    with pytest.raises(ResourceNotFoundException):
        await referred(service.control, caller(NAMED), "DescribeSignalingChannel", shapes.ChannelReference("nobody"))
