"""Fixtures of the tests of the doors."""

import pytest

from app.authenticate import Authenticator
from app.serving import WebSockets
from channels.auth.failures import Failures
from channels.auth.signature import SignatureVerifier
from channels.auth.ticket import Tickets
from channels.auth.token import TokenVerifier
from channels.embedded.tickets import EmbeddedTickets
from tests.app.door import KEY, SETTINGS, Clock, Keys


@pytest.fixture(params=["own", "stock"])
def websocket(request: pytest.FixtureRequest) -> WebSockets:
    """Whose websockets serve: ours, and the stock ones that take their place."""
    chosen: WebSockets = request.param
    return chosen


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets() -> Tickets:
    return Tickets()


@pytest.fixture
def authenticator(clock: Clock, tickets: Tickets) -> Authenticator:
    verifier = TokenVerifier((KEY,), SETTINGS)
    keys = Keys()
    return Authenticator(
        verifier,
        EmbeddedTickets(tickets, lambda: clock.monotonic),
        lambda: clock.wall,
        lambda: clock.monotonic,
        Failures(rate=1.0, burst=3.0),
        SignatureVerifier(keys, keys, verifier),
    )
