"""The Redis that other tests rely on is killed, frozen, emptied and kept as it says.

Sentinels and a cluster are tried by the link, tests/channels/redis/test_link.py.
"""

from pathlib import Path

import pytest

from tests.redis_server import RedisServer


def test_keeps_what_it_should_over_a_restart(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True, password="secret") as server:
        server.command("SET", "key", "value")

        server.restart()
        assert server.command("GET", "key") == b"value"

        server.restart(empty=True)
        assert server.command("GET", "key") is None


def test_frozen_it_is_silent_until_it_goes_on(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        server.stop()
        with pytest.raises(TimeoutError):
            server.command("PING", limit_s=0.02)

        server.cont()
        assert server.command("PING") == b"PONG"
