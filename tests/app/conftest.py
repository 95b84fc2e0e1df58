"""Fixtures of the tests of the doors, and of those that configure the log of this process."""

import io
import logging
from collections.abc import Iterator

import pytest

from app import logs
from app.authenticate import Authenticator
from app.serving import WebSockets
from channels.auth.failures import Failures
from channels.auth.signature import SignatureVerifier
from channels.auth.ticket import Tickets
from channels.auth.token import TokenVerifier
from channels.embedded.tickets import EmbeddedTickets
from tests.app.door import KEY, SETTINGS, Clock, Keys

LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets", "aioice", "aiortc")


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


@pytest.fixture
def untouched() -> Iterator[None]:
    """Put the logging of this process back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    states = [(logging.getLogger(name), logging.getLogger(name).level) for name in LIBRARIES]
    filters = [(logger, logger.filters[:], logger.handlers[:], logger.propagate) for logger, _ in states]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, before in states:
        logger.setLevel(before)
    for logger, before_filters, before_handlers, propagate in filters:
        logger.filters[:], logger.handlers[:], logger.propagate = before_filters, before_handlers, propagate
    audit = logging.getLogger(logs.AUDIT)
    audit.setLevel(logging.NOTSET)
    for handler in audit.handlers[:]:
        audit.removeHandler(handler)
        handler.close()


@pytest.fixture
def stream(untouched: None) -> io.StringIO:
    return io.StringIO()
