"""Fixtures of real peer connections: they need an address that is not loopback, as aioice gathers no other."""

import pytest

from media.peer import gather


@pytest.fixture(autouse=True)
def _needs_an_address() -> None:
    if not gather.has_host_addresses():
        pytest.skip("this machine has no address besides loopback, so WebRTC gathers no host candidate")
