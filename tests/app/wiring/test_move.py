"""A data folder into Redis: what nodes then have, what stays where something else is, and what is refused."""

import asyncio
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from app.cli_token import load_keys, token_settings
from app.data_folder import keys_folder, open_data_folder, served_alone
from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring import shared_keys
from app.wiring.access import AccessKeys, AccessOrder
from app.wiring.move import Report, judge_files, move
from channels.auth.key_ring import AccessKey
from channels.channel import Channel
from channels.embedded.store import SqliteStore
from channels.moving import Conflict, Tally
from channels.names import ChannelArn
from channels.redis.blocking import Blocking
from channels.redis.commands import Commands
from channels.redis.store import RedisStore
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

ACCOUNT, REGION = "000000000000", "us-west-2"
DOOR = Channel(ChannelArn("aws", REGION, ACCOUNT, "door", 1700000000000), "v3", message_ttl_s=30, tags={"a": "b"})
GATE = Channel(ChannelArn("aws", "eu-west-1", "1" * 12, "gate", 1700000000001), "v1")
KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", ACCOUNT, "s" * 40, (), "front", 1700000000.25)
REVOKED = msgspec.structs.replace(KEY, id="AKIAREVOKED700000000")
MOVED, THERE = Tally(moved=2), Tally(there=2)


class World:
    """Data folders and a Redis of their own prefix, which may lose what it has: that is allowed here."""

    def __init__(self, folder: Path, redis: RedisServer, prefix: str) -> None:
        self.folder = folder
        self.redis = redis
        self.settings = Settings(redis_url=redis.url, redis_prefix=prefix, redis_allow_unsafe=True)
        self.told: list[str] = []

    def of(self, name: str, **changes: object) -> Settings:
        return msgspec.structs.replace(self.settings, data_dir=str(self.folder / name), **changes)

    def alone(self, name: str, *channels: Channel) -> Path:
        """A folder as a service that was alone leaves it: channels, a key, a revoked one, a revoked token."""
        settings = self.of(name, redis_url="")
        folder = keys_folder(settings)
        fill(folder, *channels)
        shared_keys.own_files(folder)
        access = AccessKeys(AccessOrder.of(settings, folder), load_keys(folder)[-1], token_settings(settings))
        for key in (KEY, REVOKED):
            access.ring.add(key)
        for credential_id in (REVOKED.id, "a token's jti"):
            access.ring.revoke(credential_id, time.time())
        access.close()
        return folder

    def move(self, name: str, *, is_trial: bool = False, **changes: object) -> Report:
        return move(self.of(name, **changes), self.told.append, is_trial=is_trial)

    def access(self, name: str) -> AccessKeys:
        """The access keys as a node sees them that starts with this folder."""
        settings = self.of(name)
        folder = keys_folder(settings)
        return AccessKeys(AccessOrder.of(settings, folder), load_keys(folder)[-1], token_settings(settings))

    def channel(self, arn: ChannelArn) -> Channel | None:
        server = Blocking(patient_settings(self.redis.url))
        try:
            return server.run(lambda commands: RedisStore(commands, self.settings.redis_prefix).get(arn))
        finally:
            server.close()

    def contents(self) -> dict[bytes, object]:
        """All that Redis has."""
        keys = self.redis.command("KEYS", f"{self.settings.redis_prefix}:*")
        assert isinstance(keys, list)
        return {key: self.redis.command("DUMP", key) for key in sorted(keys) if isinstance(key, bytes)}


def fill(folder: Path, *channels: Channel) -> None:
    async def create(catalog: SqliteStore) -> None:
        for channel in channels:
            await catalog.create(channel, 10)

    catalog = SqliteStore(folder / "catalog.sqlite")
    asyncio.run(create(catalog))
    catalog.close()


def spoil(world: World) -> None:
    """Put something else in the place of the names, as no program of ours does."""
    world.redis.command("SET", f"{world.settings.redis_prefix}:{{catalog:{ACCOUNT}:{REGION}}}:channels", "spoiled")


@pytest.fixture
def world(tmp_path: Path, redis_server: RedisServer, redis_prefix: str, patience: None) -> World:
    return World(tmp_path, redis_server, redis_prefix)


def of_folder(path: Path) -> dict[str, bytes]:
    """What the service keeps there, without locks."""
    files = (each for each in path.rglob("*") if each.is_file() and not each.name.endswith(".lock"))
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


def test_a_node_has_all_that_the_folder_had(world: World) -> None:
    folder = world.alone("old", DOOR, GATE)
    before = of_folder(folder)
    report = world.move("old")
    assert (report.channels, report.access_keys, report.revocations) == (MOVED, MOVED, MOVED)
    assert report.shared_keys == Tally(moved=4)
    assert (report.source, report.target) == (str(folder), world.redis.url)
    assert (world.channel(DOOR.arn), world.channel(GATE.arn)) == (DOOR, GATE)
    node = world.access("new")
    assert node.ring.find(KEY.id) == KEY
    assert (node.ring.find(REVOKED.id), node.ring.is_revoked("a token's jti")) == (None, True)
    node.close()
    assert load_keys(world.folder / "new" / "shared") == load_keys(folder)
    assert of_folder(folder) == before
    assert {each.stat().st_mode & 0o077 for each in folder.rglob("*")} == {0}


def test_a_trial_and_a_second_time_change_nothing(world: World) -> None:
    folder = world.alone("old", DOOR, GATE)
    with served_alone(folder):  # a trial may be made while the service runs
        trial = world.move("old", is_trial=True)
    assert world.contents() == {}
    assert msgspec.structs.replace(world.move("old"), is_trial=True) == trial
    contents = world.contents()
    for is_trial in (True, False):
        again = world.move("old", is_trial=is_trial)
        assert (again.channels, again.access_keys, again.revocations) == (THERE, THERE, THERE)
        assert again.shared_keys == Tally(there=4)
    assert world.contents() == contents


def test_what_nodes_did_since_stays(world: World) -> None:
    world.alone("old", DOOR, GATE)
    world.move("old")
    server = Blocking(patient_settings(world.redis.url))
    changed = msgspec.structs.replace(DOOR, version="v4", tags={})

    async def change(commands: Commands) -> None:
        store = RedisStore(commands, world.settings.redis_prefix)
        await store.replace(changed, "v3")
        await store.delete(GATE.arn, None)

    server.run(change)
    server.close()
    assert world.move("old").channels == THERE
    assert (world.channel(DOOR.arn), world.channel(GATE.arn)) == (changed, None)


def test_into_a_redis_of_others_keys_are_sealed_anew_and_what_nodes_would_refuse_is_told(world: World) -> None:
    world.access("first").close()  # the first node brings its keys
    folder = world.alone("old", DOOR)
    report = world.move("old")
    assert (report.channels, report.access_keys, report.revocations) == (Tally(moved=1), MOVED, MOVED)
    assert (report.shared_keys.moved, report.shared_keys.there) == (0, 0)
    reasons = {each.name.split("/")[0]: each.reason for each in report.shared_keys.conflicts}
    assert {name: reason[:23] for name, reason in reasons.items()} == {
        "keys": "nodes share other keys,",
        "session-keys": "nodes share other keys,",
        "turn.secret": "nodes share another sec",
    }
    node = world.access("second")
    assert node.ring.find(KEY.id) == KEY
    node.close()
    assert world.move("old").access_keys == THERE
    assert load_keys(folder) != load_keys(world.folder / "second" / "shared")


def test_two_folders_meet_in_one_redis_and_the_first_has_the_name(world: World) -> None:
    world.alone("old", DOOR)
    namesake = msgspec.structs.replace(GATE, arn=msgspec.structs.replace(DOOR.arn, created_ms=5))
    shutil.copytree(world.folder / "old", world.folder / "other")
    (world.folder / "other" / "catalog.sqlite").unlink()
    fill(world.folder / "other", namesake, GATE)
    world.move("old")
    report = world.move("other")
    conflict = Conflict(str(namesake.arn), f"another channel has the name: {DOOR.arn}")
    assert report.channels == Tally(moved=1, conflicts=[conflict])
    assert (world.channel(DOOR.arn), world.channel(namesake.arn), world.channel(GATE.arn)) == (DOOR, None, GATE)


def test_with_a_secret_what_nodes_share_is_sealed(world: World) -> None:
    folder = world.alone("old")
    world.move("old", redis_secret="a" * 32)
    document = world.redis.command("GET", f"{world.settings.redis_prefix}:shared-keys")
    assert isinstance(document, bytes)
    assert (folder / "turn.secret").read_bytes().strip() not in document
    assert not any("in clear" in sentence for sentence in world.told)
    with pytest.raises(SettingsError, match=r"^REDIS_SECRET: the keys in Redis are sealed; give the secret"):
        world.move("old")
    assert any("in clear" in sentence for sentence in world.told)


def test_a_folder_with_nothing_or_with_channels_alone(world: World) -> None:
    with pytest.raises(SettingsError, match=r"^DATA_DIR: .*/none has no channels and no access keys"):
        world.move("none")
    assert not (world.folder / "none").exists()
    folder = open_data_folder(world.of("channels"))
    fill(folder, DOOR)
    assert world.move("channels").channels == Tally(moved=1)
    assert not (folder / "keys.sqlite").exists()


def test_a_service_that_runs_is_not_moved(world: World) -> None:
    folder = world.alone("old", DOOR)
    with served_alone(folder), pytest.raises(SettingsError, match=r"^DATA_DIR: another `heliograph serve`"):
        world.move("old")
    assert world.contents() == {}


def test_a_redis_that_may_lose_it_is_refused_unless_that_is_allowed(world: World) -> None:
    world.alone("old", DOOR)
    with pytest.raises(SettingsError, match="its appendonly is `no`"):
        world.move("old", redis_allow_unsafe=False)
    assert world.contents() == {}
    world.move("old")
    assert any("its appendonly is `no`" in sentence for sentence in world.told)


def test_without_a_redis_or_with_one_that_refuses(world: World) -> None:
    world.alone("old", DOOR)
    with pytest.raises(SettingsError, match=r"^REDIS_URL: it says where to move to"):
        world.move("old", redis_url="")
    spoil(world)
    with pytest.raises(CommandError, match=r"^the catalog in Redis cannot be used: .*; do it again") as failed:
        world.move("old")
    assert failed.value.code is Exit.UNREACHABLE


def test_a_catalog_that_cannot_be_read_is_told(world: World) -> None:
    folder = world.alone("old", DOOR)
    (folder / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(SettingsError, match=r"^DATA_DIR: the catalog .* cannot be used: file is not a database"):
        world.move("old")
    assert world.contents() == {}


OWN = {"keys/a.pem": "A", "session-keys/a.secret": "S", "turn.secret": "t1\nt2\n", "seal.key": "x"}


@pytest.mark.parametrize(
    ("found", "moved", "there", "conflicts"),
    [
        (None, 4, 0, []),
        (OWN, 0, 4, []),
        ({**OWN, "turn.secret": "t2\nt1\nt3\n", "keys/b.pem": "B"}, 0, 4, []),
        ({**OWN, "keys/a.pem": "B"}, 0, 3, ["keys/a.pem"]),
        ({**OWN, "turn.secret": "t2\n"}, 0, 3, ["turn.secret"]),
        ({"keys/a.pub": "public half of A"}, 0, 1, ["session-keys/a.secret", "turn.secret"]),
    ],
)
def test_keys_that_nodes_share_are_those_of_the_folder_or_conflict(
    found: dict[str, str] | None, moved: int, there: int, conflicts: list[str]
) -> None:
    tally = judge_files(OWN, found)
    assert (tally.moved, tally.there, [each.name for each in tally.conflicts]) == (moved, there, conflicts)
