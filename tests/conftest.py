"""Fixtures and settings that every test may use."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Shared machines stall: how long one example takes says nothing. CI repeats the same examples, so that it fails for
# the change under test; every other run looks for new ones.
settings.register_profile("heliograph", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.register_profile("quick", settings.get_profile("heliograph"), max_examples=20)  # `make check`
settings.load_profile("heliograph")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are collected and live to the end, so no collection of garbage need look at them."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
