"""Whether Redis is there and fit is told before anything is served, in a sentence that says what to do."""

import contextlib
import threading
from pathlib import Path

import msgspec
import pytest

from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring import redis_start
from app.wiring.redis_start import places, prepare, require_version, wait_for
from channels.redis.blocking import Blocking
from channels.redis.settings import Kind, RedisSettings
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer, Sentinel

AWAY = "redis://user:secret@127.0.0.1:1"


def test_one_url_is_for_all_and_two_take_its_place() -> None:
    assert places(Settings()) is None
    both = places(Settings(redis_url="redis://a:1/2", redis_prefix="p"))
    assert both is not None
    assert both.presence == both.catalog
    assert (both.catalog.place, both.catalog.prefix) == ("redis://a:1/2", "p")
    apart = places(Settings(redis_url="redis://a", presence_url="redis+sentinel://b,c/main"))
    assert apart is not None
    assert apart.presence is not None
    assert (apart.catalog.place, apart.presence.place) == ("redis://a:6379", "redis+sentinel://b:26379,c:26379/main")
    alone = places(Settings(catalog_url="redis://a"))
    assert alone is not None
    assert alone.presence is None


@pytest.mark.parametrize("name", ["redis_url", "catalog_url"])
def test_a_url_that_leads_nowhere_is_told_by_its_setting_without_its_password(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name.upper()}: the database of a Redis URL is a number") as caught:
        places(Settings(**{name: "redis://:secret@host/zero"}))
    assert "secret" not in str(caught.value)
    assert caught.value.code is Exit.USAGE


def test_a_server_that_is_away_is_waited_for_and_then_given_up() -> None:
    told: list[str] = []
    server = Blocking(RedisSettings.parse(AWAY))
    for limit_s in (0.1, 1.0, 10.0):  # where a machine stalls as long, there is no second try and nothing is told
        words = rf"^Redis did not answer in {limit_s:g} s: .*:1.*; --redis or HELIOGRAPH_REDIS_URL"
        with pytest.raises(CommandError, match=words):
            wait_for(server, told.append, limit_s)
        if told:
            break
    with pytest.raises(CommandError) as caught:
        wait_for(server, told.append, 0.0)
    server.close()
    assert caught.value.code is Exit.UNREACHABLE
    assert told[0].startswith("waiting for Redis: ")
    assert "secret" not in f"{told}{caught.value}"


def test_a_server_that_comes_late_is_found(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        redis.kill()
        server = Blocking(patient_settings(redis.url))
        is_told, is_found = threading.Event(), threading.Event()

        def start() -> None:
            assert is_told.wait(10)
            redis.start()
            assert is_found.wait(10)  # a server ends with the thread that started it

        starting = threading.Thread(target=start)
        starting.start()
        wait_for(server, lambda _: is_told.set())
        server.close()
        is_found.set()
        starting.join()


@pytest.mark.parametrize(
    ("url", "words"),
    [("redis://:wrong@{}", "WRONGPASS|invalid username-password"), ("redis://{}", "Authentication required")],
)
def test_a_password_that_is_wrong_or_missing_is_told_at_once(tmp_path: Path, url: str, words: str) -> None:
    with RedisServer(tmp_path, password="right") as redis:
        settings = Settings(redis_url=url.format(f"127.0.0.1:{redis.port}"))
        with pytest.raises(SettingsError, match=f"^REDIS_URL: .*({words})") as caught:
            prepare(settings, lambda _: None)
    assert "wrong" not in str(caught.value)


def test_another_kind_of_server_than_the_url_names_is_told_with_what_to_write(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    told: list[str] = []
    cluster = Settings(redis_url=redis_server.url.replace("redis:", "redis+cluster:"))
    with pytest.raises(SettingsError, match=r"^REDIS_URL: .* is none of a Cluster: write redis://"):
        prepare(cluster, told.append)
    with (
        Sentinel(tmp_path / "sentinel", redis_server) as sentinel,
        pytest.raises(SettingsError, match=r"^REDIS_URL: .* is a Sentinel: write redis\+sentinel://"),
    ):
        prepare(Settings(redis_url=sentinel.url), told.append)
    assert told == []
    with RedisServer(tmp_path / "node", appendonly=True, options=("--cluster-enabled", "yes")) as node:
        prepare(Settings(redis_url=node.url), told.append)
    assert "is a node of a Cluster: write redis+cluster://" in told[0]


def test_a_file_for_tls_that_is_not_there_is_told_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^PRESENCE_URL: ca_file .*/none: cannot be read"):
        places(Settings(redis_url="redis://h", presence_url=f"rediss://h?ca_file={tmp_path}/none"))


def test_a_catalog_that_may_be_lost_is_refused_or_told(redis_server: RedisServer) -> None:
    with pytest.raises(
        SettingsError, match=r"^REDIS_URL: .* its appendonly is `no`.*: set `appendonly yes`; or allow it with --redis-"
    ):
        prepare(Settings(redis_url=redis_server.url), lambda _: None)
    told: list[str] = []
    prepare(Settings(redis_url=redis_server.url, redis_allow_unsafe=True), told.append)
    (sentence,) = told
    assert "set `appendonly yes`" in sentence


def test_a_catalog_that_does_not_tell_is_only_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    with RedisServer(tmp_path, appendonly=True) as redis:
        redis.command("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-config", "-info")
        prepare(Settings(redis_url=redis.url.replace("redis://", "redis://u:p@")), told.append)
    assert "it does not tell its appendonly: see that it is `yes`" in told[0]


def test_only_the_catalog_has_to_last(tmp_path: Path, redis_server: RedisServer) -> None:
    told: list[str] = []
    with RedisServer(tmp_path, appendonly=True) as catalog:
        prepare(Settings(catalog_url=catalog.url, presence_url=redis_server.url), told.append)
    prepare(Settings(), told.append)
    assert told == []


def test_a_presence_that_drops_keys_is_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        RedisServer(tmp_path / "catalog", appendonly=True) as catalog,
        RedisServer(tmp_path / "presence", maxmemory_policy="allkeys-lru") as presence,
    ):
        prepare(Settings(catalog_url=catalog.url, presence_url=presence.url), told.append)
    (sentence,) = told
    assert sentence.startswith(f"presence and messages are kept in {presence.url}, but its maxmemory-policy is `allkey")
    assert sentence.endswith("set `maxmemory-policy noeviction`")


def test_a_redis_that_is_too_old_is_refused_with_what_to_install(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_start, "_FROM", (99, 0))  # newer than any that is there
    with pytest.raises(
        SettingsError, match=rf"^REDIS_URL: {redis_server.url} is Redis \d+\.\d+: install 6\.2 or later"
    ):
        prepare(Settings(redis_url=redis_server.url), lambda _: None)

    with contextlib.closing(Blocking(patient_settings(redis_server.url))) as server:
        server.settings = msgspec.structs.replace(server.settings, kind=Kind.CLUSTER)
        require_version(server)
        monkeypatch.setattr(redis_start, "_CLUSTER_FROM", (99, 0))
        with pytest.raises(SettingsError, match=r"install 7\.0 or later, for a Cluster$"):
            require_version(server)


def test_a_redis_that_does_not_tell_its_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_start, "_FROM", (99, 0))
    with RedisServer(tmp_path) as redis, contextlib.closing(Blocking(patient_settings(redis.url))) as server:
        redis.command("ACL", "SETUSER", "default", "-info")
        require_version(server)
        redis.kill()
        require_version(server)
