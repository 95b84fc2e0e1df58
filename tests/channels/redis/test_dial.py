"""Connections for messages are opened in every way that a URL names, and refused with the server's words."""

from pathlib import Path

import pytest

from channels.redis.dial import Dialer, encode, tls_context
from channels.redis.settings import RedisSettings, RedisUrlError
from channels.redis.wire import Post, RefusedError, Wire, WireStats
from tests import certificates
from tests.redis_link import quick_settings
from tests.redis_server import RedisServer


class Owner:
    """Takes nothing."""

    stats = WireStats()

    def received(self, topic: bytes, payload: bytes) -> None: ...

    def unheard(self, post: Post) -> None: ...

    def ended(self) -> None: ...


async def opened(settings: RedisSettings) -> Wire:
    address = settings.addresses[0] if settings.addresses else None
    return await Dialer(settings).open(address, "test", Owner())


async def test_it_answers_and_has_a_name(redis_server: RedisServer, redis_prefix: str) -> None:
    wire = await opened(quick_settings(redis_server.url, client_name=redis_prefix, limit_s=5.0))

    assert await wire.send(encode("CLIENT", "GETNAME")) == f"{redis_prefix}-test".encode()
    assert f"{redis_prefix}-test" in redis_server.clients()
    wire.abort()


async def test_over_a_unix_socket_with_a_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", password="right") as server:
        wire = await opened(RedisSettings.parse(f"unix://:right@{server.socket_path}"))
        assert await wire.send(encode("ECHO", b"\x00\xff")) == b"\x00\xff"
        wire.abort()

        for url in (server.url.replace("right", "wrong"), server.url.replace(":right@", "")):
            with pytest.raises(RefusedError, match=r"WRONGPASS|NOAUTH"):
                await opened(RedisSettings.parse(url))


async def test_over_tls_to_a_server_that_is_known(tmp_path: Path) -> None:
    files = certificates.made(tmp_path)
    with RedisServer(tmp_path / "redis", tls=(files.pair.certificate, files.pair.key)) as server:
        assert server.url.startswith("rediss://")
        wire = await opened(RedisSettings.parse(f"{server.url}?ca_file={files.ca}"))
        assert await wire.send(encode("PING")) == b"PONG"
        wire.abort()

        with pytest.raises(OSError, match="certificate verify failed"):
            await opened(RedisSettings.parse(server.url))


def test_a_file_of_the_url_that_cannot_be_used_is_told_by_its_option(tmp_path: Path) -> None:
    files, empty = certificates.made(tmp_path), tmp_path / "empty.pem"
    empty.touch()
    pair, wrong = files.pair, certificates.made(tmp_path / "other").pair

    for options, words in (
        (f"ca_file={tmp_path}/none", r"^ca_file .*/none: cannot be read: No such file"),
        (f"ca_file={empty}", r"^ca_file .*/empty.pem: holds no PEM certificate"),
        (
            f"certificate_file={pair.certificate}",
            r"^certificate_file and key_file, \S+: holds no PEM certificate or key",
        ),
        (
            f"certificate_file={pair.certificate}&key_file={wrong.key}",
            r" and \S+: holds no PEM certificate or key that",
        ),
    ):
        with pytest.raises(RedisUrlError, match=words):
            tls_context(RedisSettings.parse(f"rediss://h?{options}"))
    assert tls_context(RedisSettings.parse("redis://h")) is None
