"""Fixtures of the tests of the signaling websockets."""

from collections.abc import AsyncIterator

import pytest

from channels.channel import Channel
from tests.signaling_service import ACCOUNT, Service, signaling_service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service() as running:
        yield running


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create(ACCOUNT, "demo")
