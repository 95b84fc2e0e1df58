"""The URL of Redis: what its forms mean, what is said about others, and that nothing shows the password."""

import pytest

from channels.redis.settings import Kind, RedisSettings, RedisUrlError


def test_a_server_with_login_and_database() -> None:
    settings = RedisSettings.parse("redis://user:p%40ss@redis.example:6380/3")

    assert (settings.kind, settings.addresses, settings.db) == (Kind.SERVER, (("redis.example", 6380),), 3)
    assert (settings.username, settings.password) == ("user", "p@ss")
    assert not settings.is_tls


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", ("localhost", 6379)),
        ("redis://[::1]:7000", ("::1", 7000)),
        ("redis://:only-a-password@h/", ("h", 6379)),
    ],
)
def test_ports_and_hosts(url: str, address: tuple[str, int]) -> None:
    assert RedisSettings.parse(url).addresses == (address,)


def test_tls_with_files() -> None:
    settings = RedisSettings.parse("rediss://h?ca_file=/etc/ca.pem&certificate_file=/c.pem&key_file=/k.pem&db=2")

    assert settings.is_tls
    assert (settings.ca_file, settings.certificate_file, settings.key_file) == ("/etc/ca.pem", "/c.pem", "/k.pem")
    assert settings.db == 2


def test_a_unix_socket() -> None:
    settings = RedisSettings.parse("unix://:secret@/run/redis/redis.sock?db=1")

    assert (settings.socket_path, settings.password, settings.db) == ("/run/redis/redis.sock", "secret", 1)


def test_sentinels_and_the_service_they_watch() -> None:
    settings = RedisSettings.parse("redis+sentinel://:pw@a:26380,b/main/2?sentinel_password=other")

    assert settings.kind is Kind.SENTINEL
    assert settings.addresses == (("a", 26380), ("b", 26379))
    assert (settings.service, settings.db, settings.sentinel_password) == ("main", 2, "other")


def test_a_cluster_has_its_topics_in_one_slot() -> None:
    settings = RedisSettings.parse("rediss+cluster://a:7000,b:7001")

    assert (settings.kind, settings.is_tls) == (Kind.CLUSTER, True)
    assert settings.topic_prefix == "{heliograph}:"


def test_topics_of_two_databases_are_apart() -> None:
    prefixes = {RedisSettings.parse(f"redis://h/{db}").topic_prefix for db in range(3)}

    assert len(prefixes) == 3


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("rediss://user:secret@h:1/2?ca_file=/a", "rediss://h:1/2"),
        ("unix://user:secret@/s", "unix:///s"),
        ("redis+sentinel://user:secret@a,b/main?sentinel_password=secret", "redis+sentinel://a:26379,b:26379/main"),
        ("redis://user:secret@[::1]", "redis://[::1]:6379"),
    ],
)
def test_what_is_shown_holds_no_secret(url: str, place: str) -> None:
    settings = RedisSettings.parse(url)

    assert settings.place == place
    assert "secret" not in f"{settings} {settings!r}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://:secret@h", "begins with redis://"),
        ("redis:secret", "begins with redis://"),
        ("redis://", "names a host, and perhaps a port"),
        ("redis://u:secret@h:99999", "names a host, and perhaps a port"),
        ("redis://u:secret@h:port", "names a host, and perhaps a port"),
        ("redis://u:secret/1@h", "write / as %2F"),
        ("redis://u:#secret@h", "# as %23"),
        ("redis://a,b", "takes one host"),
        ("redis://h/secret", "is a number"),
        ("redis://h/1/2", "ends with the number"),
        ("redis://h?secret=1", "no option of that name"),
        ("unix://secret", "whole path"),
        ("redis+sentinel://h", "names the primary"),
        ("redis+cluster://h/1", "database 0 only"),
        ("redis://:secret@h?ca_file=/ca.pem", "ca_file is for TLS: write rediss://"),
        ("redis+sentinel://:secret@h/main?key_file=/k.pem", r"key_file is for TLS: write rediss\+sentinel://"),
    ],
)
def test_an_error_says_what_to_write_and_holds_no_secret(url: str, words: str) -> None:
    with pytest.raises(RedisUrlError, match=words) as caught:
        RedisSettings.parse(url)

    assert "secret" not in str(caught.value)
