"""Fixtures of the tests of keys and of where they are kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from channels.embedded.key_store import SqliteKeyStore


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
def key_store(key_file: Path) -> Iterator[SqliteKeyStore]:
    made = SqliteKeyStore(key_file, timeout_s=0.05)
    yield made
    made.close()
