"""Fixtures and settings that every test may use."""

import gc
import os
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings, strategies

from tests import measured
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.redis_server import RedisServer

# Shared machines stall: how long one example takes says nothing. CI repeats the same examples, so that it fails for
# the change under test; every other run looks for new ones.
settings.register_profile("heliograph", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.register_profile("quick", settings.get_profile("heliograph"), max_examples=20)  # `make check`
settings.load_profile("heliograph")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=share, metavar="K/N", help="of the test files only share K out of N")
    parser.addoption("--measured", type=Path, metavar="FILE", help="write what tests measured there, as JSON")


def share(text: str) -> tuple[int, int]:
    number, count = (int(part) for part in text.split("/"))
    if not 1 <= number <= count:
        raise ValueError(text)
    return number, count


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A process per share imports its own files alone, where each worker of pytest-xdist would import them all."""
    wanted = config.getoption("share")
    if wanted is None or not collection_path.match("test_*.py"):
        return None
    number, count = wanted
    path = collection_path.relative_to(config.rootpath).as_posix()
    return True if zlib.crc32(path.encode()) % count != number - 1 else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured.summarize(terminalreporter, config.getoption("measured"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are collected and live to the end, so no collection of garbage need look at them.

    Where Hypothesis has no table of all characters yet, it makes one for seconds, which are no test's own.
    """
    strategies.text().validate()
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def row(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> measured.Row:
    """This test's row in the table of what was measured, printed when the run ends."""
    return measured.Row(request.node.name, record_property)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that do not harm it; what they write goes under their `redis_prefix`.

    A test that kills, freezes or empties it takes a `RedisServer(tmp_path / "redis")` of its own.
    """
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_prefix() -> str:
    """What the keys and topics of this test begin with."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def redis_proxy(redis_server: RedisServer) -> AsyncIterator[FaultProxy]:
    """A proxy of one's own to the server of all."""
    async with fault_proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy
