"""Fixtures of the tests of the signaling plane."""

import pytest

from tests.channels.signaling.rig import Node, cluster


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest) -> tuple[Node, Node]:
    """Where the master is and where the viewers are: one node twice, or two nodes of one cluster."""
    made = cluster(names=("a",) if request.param == "one node" else ("a", "b"))
    return made[0], made[-1]
