"""Who starts with Redis on the folder of a service that was alone is told once what is missing, and how to bring it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from app.settings import Settings
from app.wiring import left_behind, redis_start
from channels.channel import Channel
from channels.embedded.store import SqliteStore
from channels.names import ChannelArn
from channels.redis.blocking import Blocking
from channels.redis.store import RedisStore
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

DOOR = Channel(ChannelArn("aws", "us-west-2", "0" * 12, "door", 1700000000000), "v1")


@pytest.fixture
def server(redis_server: RedisServer, redis_prefix: str, patience: None) -> Iterator[Blocking]:
    made = Blocking(patient_settings(redis_server.url, prefix=redis_prefix))
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "catalog.sqlite")
    asyncio.run(store.create(DOOR, 10))
    store.close()
    return tmp_path


def told(server: Blocking, folder: Path) -> list[str]:
    sentences: list[str] = []
    left_behind.tell(server, folder, sentences.append)
    return sentences


def bring(server: Blocking) -> None:
    server.run(lambda commands: RedisStore(commands, server.settings.prefix).bring([DOOR], is_trial=False))


def delete(server: Blocking) -> None:
    server.run(lambda commands: RedisStore(commands, server.settings.prefix).delete(DOOR.arn, None))


def test_channels_that_only_the_folder_has_are_told_until_they_are_moved(server: Blocking, folder: Path) -> None:
    (sentence,) = told(server, folder)
    assert sentence.startswith(f"the channels and access keys of {folder} are not in redis://")
    assert "`heliograph move`" in sentence
    bring(server)
    assert told(server, folder) == []
    delete(server)
    assert told(server, folder) == []


def test_a_move_that_was_broken_off_is_told(server: Blocking, folder: Path) -> None:
    bring(server)
    store = SqliteStore(folder / "catalog.sqlite")
    asyncio.run(store.create(msgspec.structs.replace(DOOR, arn=msgspec.structs.replace(DOOR.arn, name="gate")), 10))
    store.close()
    assert len(told(server, folder)) == 1


def break_off(folder: Path) -> None:
    (folder / "catalog.sqlite").write_bytes(b"no database" * 1000)


def remove(folder: Path) -> None:
    (folder / "catalog.sqlite").unlink()


def empty(folder: Path) -> None:
    remove(folder)
    SqliteStore(folder / "catalog.sqlite").close()


@pytest.mark.parametrize("change", [break_off, remove, empty])
def test_a_folder_without_channels_or_one_that_cannot_be_read_stops_nobody(
    server: Blocking, folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    before = sorted(folder.iterdir())
    assert told(server, folder) == []
    assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("patience")
def test_a_start_tells_it(redis_server: RedisServer, redis_prefix: str, folder: Path) -> None:
    sentences: list[str] = []
    settings = Settings(
        data_dir=str(folder), redis_url=redis_server.url, redis_prefix=redis_prefix, redis_allow_unsafe=True
    )
    redis_start.prepare(settings, sentences.append)
    assert any("`heliograph move`" in sentence for sentence in sentences)
