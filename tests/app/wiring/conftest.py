"""Fixtures of the tests of what is wired to a real Redis."""

import msgspec
import pytest

from app.settings import Settings
from app.wiring import redis_start, shared_keys
from app.wiring.redis_start import RedisPlaces, places
from channels.redis import blocking, commands
from tests.redis_link import PATIENT_S


def patient_places(settings: Settings) -> RedisPlaces | None:
    """As `places`, but a machine that stalls is no Redis that is away."""
    found = places(settings)
    if found is None:
        return None
    return msgspec.structs.replace(found, catalog=msgspec.structs.replace(found.catalog, limit_s=PATIENT_S))


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for Redis as long as a machine stalls, and no test fails for a connection that was left open."""
    for module in (redis_start, shared_keys):
        monkeypatch.setattr(module, "places", patient_places)
    monkeypatch.setattr(shared_keys, "_COMMAND_WAIT_S", PATIENT_S)
    for each in (blocking, commands):
        monkeypatch.setattr(each, "_CLOSE_S", PATIENT_S)
