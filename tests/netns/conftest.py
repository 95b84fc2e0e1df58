"""One lab with our relay for all tests that leave it as it was, and the matrix at the end of the run."""

import socket
from collections.abc import Iterator

import pytest

from tests.netns.lab import NAT_A, NAT_B, WAN, Lab, laboratory
from tests.netns.nat import Nat
from tests.netns.serving import Served, serving
from tests.netns.table import Matrix


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Matrix(), "nat-matrix")


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[Lab]:
    with laboratory() as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """The shared lab with both NATs port-restricted and ignorant of earlier tests."""
    for nat in (NAT_A, NAT_B):
        shared_lab.set_nat(nat, Nat.PORT_RESTRICTED)
    return shared_lab


@pytest.fixture
def public_peer(lab: Lab) -> Iterator[socket.socket]:
    """A socket on the second router, which filters nothing: a host of the public network."""
    lab.filter(NAT_B, "flush ruleset")
    with lab.udp(NAT_B, WAN[NAT_B]) as peer:
        yield peer


@pytest.fixture(scope="session")
def served(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our relay in the shared lab."""
    with serving(shared_lab, tmp_path_factory.mktemp("turn")) as served:
        yield served
