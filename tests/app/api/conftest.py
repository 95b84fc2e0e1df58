"""Fixtures of the tests of the operations."""

from collections.abc import AsyncIterator

import pytest

from tests.app.api.rig import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    yield made
    await made.close()
