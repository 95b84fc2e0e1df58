"""The load generator of `heliograph bench turn` against ours and coturn: every load arrives, whole and in order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import certificates
from tests.benchmarks._turn_servers import Generator, TurnServer, coturn, make_secret, ours
from tests.benchmarks.turn import CASES, SECURE_CASES, Case
from tests.programs import require

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]
Stage = tuple[Generator, tuple[TurnServer, ...]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require("turnserver")
    require("cc")
    if not Path("/usr/include/openssl/ssl.h").exists():
        pytest.skip("libssl-dev is not installed")
    home = tmp_path_factory.mktemp("bench")
    generator = Generator(home, make_secret(home))
    files = certificates.made(home)
    with ours(home, files) as mine, coturn(home, files) as other:
        yield generator, (mine, other)


@pytest.mark.parametrize("case", [*CASES, *SECURE_CASES], ids=lambda case: case.name)
async def test_every_load_arrives_whole_and_in_order(stage: Stage, case: Case) -> None:
    generator, servers = stage
    for server in servers:
        report = await generator.load(server, *case.words, "seconds=0.1")
        assert report.received > 0
        if case.name != "allocations":  # clients by turns get the port of one before, whose allocation coturn still has
            assert report.wrong == 0
        assert report.server_s > 0


async def test_memory_is_read_while_allocations_are_held(stage: Stage) -> None:
    generator, (mine, _) = stage
    assert (await generator.load(mine, "mode=memory", "count=300")).pss_kib < 300 * 10


async def test_load_without_a_server_says_what_the_generator_can_do(stage: Stage) -> None:
    report = await stage[0].load(None, "up=20", "burst=4", "seconds=0.1")
    assert report.received == report.sent
