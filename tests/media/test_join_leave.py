"""Viewers come and go: nothing of them stays behind. The same with 1,000 of them is `heliograph bench join-leave`."""

import pytest

from media.peer import gather
from tests.benchmarks import join_leave


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not gather.has_host_addresses(), reason="this machine has no address besides loopback")
async def test_two_hundred_viewers_leave_nothing_behind() -> None:
    _, warm, end = await join_leave.measure(150, 1, print)
    assert end.descriptors == warm.descriptors
    assert end.threads == warm.threads
    assert end.resident_bytes - warm.resident_bytes < 5_000_000
