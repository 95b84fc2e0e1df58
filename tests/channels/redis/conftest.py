"""Fixtures of the tests at a real Redis."""

import pytest

from channels.redis import blocking, commands
from tests.redis_link import PATIENT_S


@pytest.fixture(autouse=True)
def _patient_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that a stalling machine leaves open would fail whatever test runs when it is collected."""
    for module in (blocking, commands):
        monkeypatch.setattr(module, "_CLOSE_S", PATIENT_S)
