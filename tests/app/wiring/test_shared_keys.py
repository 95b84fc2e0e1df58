"""The first node brings its keys, all nodes take them; a secret seals them."""

from pathlib import Path

import msgspec
import pytest

from app.data_folder import keys_folder
from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring import shared_keys
from tests.redis_server import RedisServer

SECRET, OTHER = "a" * 32, "b" * 32


class World:
    def __init__(self, folder: Path, redis: RedisServer, prefix: str) -> None:
        self.folder = folder
        self.redis = redis
        self.settings = Settings(redis_url=redis.url, redis_prefix=prefix)

    def node(self, name: str, **changes: str) -> dict[str, str]:
        """Start a node: the keys that it takes, by name."""
        settings = msgspec.structs.replace(self.settings, data_dir=str(self.folder / name), **changes)
        folder = keys_folder(settings)
        assert folder == self.folder / name / "shared"
        return shared_keys.own_files(folder)

    def document(self) -> bytes:
        found = self.redis.command("GET", f"{self.settings.redis_prefix}:shared-keys")
        assert isinstance(found, bytes)
        return found


@pytest.fixture
def world(tmp_path: Path, redis_server: RedisServer, redis_prefix: str, patience: None) -> World:
    return World(tmp_path, redis_server, redis_prefix)


def test_nodes_with_empty_folders_have_the_same_keys_in_private_files(world: World) -> None:
    first = world.node("a")
    assert world.node("b") == first == world.node("a")
    kinds = {name.split("/")[0] for name in first}
    assert kinds == {"keys", "session-keys", "turn.secret", "seal.key"}
    files = [path for path in (world.folder / "b").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_keys_that_the_first_node_had_become_those_of_all(world: World) -> None:
    own = world.folder / "a"
    own.mkdir(mode=0o700)
    before = shared_keys.own_files(own)
    assert world.node("a") == before == world.node("b")


def test_keys_of_a_folder_that_came_later_are_left_alone_and_not_used(world: World) -> None:
    first = world.node("a")
    later = world.folder / "b"
    later.mkdir(mode=0o700)
    before = shared_keys.own_files(later)
    assert world.node("b") == first
    assert shared_keys.own_files(later) == before != first


def test_a_redis_that_lost_them_gets_them_back_from_a_machine_that_had_them(world: World) -> None:
    first = world.node("a")
    world.redis.command("DEL", f"{world.settings.redis_prefix}:shared-keys")
    assert world.node("a") == first == world.node("b")


def test_keys_that_were_shared_anew_take_the_place_of_the_old_ones(world: World) -> None:
    old = world.node("a")
    changed = world.folder / "new"
    changed.mkdir(mode=0o700)
    names = shared_keys.share(world.settings, changed)
    assert world.node("a") == names != old


def test_a_secret_seals_what_is_in_redis(world: World) -> None:
    first = world.node("a", redis_secret=SECRET)
    assert world.node("b", redis_secret=SECRET) == first
    document = world.document()
    assert not any(text.strip().encode() in document for text in first.values())
    with pytest.raises(SettingsError, match=r"^REDIS_SECRET: the keys in Redis are sealed with another one"):
        world.node("c", redis_secret=OTHER)
    with pytest.raises(SettingsError, match=r"^REDIS_SECRET: the keys in Redis are sealed; give the secret"):
        world.node("c")


def test_keys_in_clear_are_not_taken_by_who_has_a_secret_until_they_are_sealed(world: World) -> None:
    first = world.node("a")
    with pytest.raises(SettingsError, match=r"^REDIS_SECRET: .*in clear; `heliograph key share` seals them"):
        world.node("b", redis_secret=SECRET)
    settings = msgspec.structs.replace(world.settings, redis_secret=SECRET)
    shared_keys.share(settings, world.folder / "a")
    assert world.node("b", redis_secret=SECRET) == first


@pytest.mark.parametrize("name", ["../../evil", "keys/../evil", "keys/.lock", "/etc/passwd", "keys/", "other"])
def test_whoever_writes_to_redis_gets_no_other_file_written(world: World, name: str) -> None:
    world.redis.command("SET", f"{world.settings.redis_prefix}:shared-keys", msgspec.json.encode({name: "x"}))
    with pytest.raises(SettingsError, match=r"^REDIS_URL: the keys in Redis have one of the name"):
        world.node("a")


def test_a_document_that_is_spoiled_is_told(world: World) -> None:
    world.redis.command("SET", f"{world.settings.redis_prefix}:shared-keys", "{")
    with pytest.raises(SettingsError, match=r"^REDIS_URL: the keys in Redis cannot be read"):
        world.node("a")


def test_keys_that_lie_in_clear_are_told_of(world: World) -> None:
    told: list[str] = []
    settings = msgspec.structs.replace(world.settings, data_dir=str(world.folder / "a"))
    keys_folder(settings, told.append)
    assert [sentence[:51] for sentence in told] == ["the keys that nodes share lie in Redis in clear; to"]
    keys_folder(msgspec.structs.replace(settings, redis_url="", redis_secret=""), told.append)
    assert len(told) == 1


def test_a_command_does_not_wait_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_keys, "_COMMAND_WAIT_S", 0.0)
    with pytest.raises(CommandError, match=r"^Redis did not answer in 0 s: ") as caught:
        keys_folder(Settings(redis_url="redis://127.0.0.1:1", data_dir=str(tmp_path / "a")))
    assert caught.value.code is Exit.UNREACHABLE


def test_sharing_needs_a_place_and_an_answer(world: World) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL: without it every node has keys of its own"):
        shared_keys.share(Settings(), world.folder)
    with pytest.raises(CommandError, match=r"^the keys in Redis cannot be had: ") as caught:
        shared_keys.share(Settings(redis_url="redis://127.0.0.1:1"), world.folder)
    assert caught.value.code is Exit.UNREACHABLE
