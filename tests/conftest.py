"""Fixtures and settings that every test may use."""

import os

import pytest
from hypothesis import settings

# Shared machines stall: how long one example takes says nothing. CI repeats the same examples, so that it fails for
# the change under test; every other run looks for new ones.
settings.register_profile("heliograph", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("heliograph")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
