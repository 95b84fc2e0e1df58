"""Fixtures of the tests of the signaling websockets."""

from collections.abc import AsyncIterator

import pytest

from channels.channel import Channel
from tests.signaling_service import ACCOUNT, Service, signaling_service


@pytest.fixture(params=["own", "stock"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """The service over our own websockets, and over the stock ones that take their place."""
    async with signaling_service(websocket=request.param) as running:
        yield running


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create(ACCOUNT, "demo")
