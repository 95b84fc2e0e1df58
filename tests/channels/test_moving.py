"""Nothing is replaced, nothing is lost, and doing it again changes nothing, whatever was done there meanwhile."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from channels.auth.grant import Statement
from channels.auth.key_ring import AccessKey
from channels.auth.seal import Seal
from channels.channel import Channel
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.key_store import Cursor, KeyStore, Revocation, SealedKey
from channels.moving import (
    Conflict,
    Found,
    Outcome,
    Seals,
    Tally,
    bring_channels,
    bring_keys,
    bring_revocations,
    judge_channel,
    judge_key,
)
from channels.names import ChannelArn
from channels.redis.blocking import Blocking
from channels.redis.key_store import RedisKeyStore
from channels.store import StoreUnavailableError
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

ACCOUNT = "000000000000"
DOOR = Channel(ChannelArn("aws", "us-west-2", ACCOUNT, "door", 1700000000000), "v1", tags={"a": "b"})
CHANGED = msgspec.structs.replace(DOOR, version="v2", message_ttl_s=30)
NAMESAKE = msgspec.structs.replace(DOOR, arn=msgspec.structs.replace(DOOR.arn, created_ms=5))
KEY = AccessKey("AKIA1", ACCOUNT, "hush-AKIA1", (Statement(("kinesisvideo:*",), ("*",)),), "front", 1700000000.25)
HERE, THERE = Seal([b"h" * 32]), Seal([b"t" * 32])
SEALS = Seals(HERE, THERE)
NOW = 1700000100.0


@pytest.mark.parametrize(
    ("brought", "found", "outcome", "reason"),
    [
        (DOOR, Found(), Outcome.MOVED, ""),
        (DOOR, Found(DOOR), Outcome.THERE, ""),
        (DOOR, Found(DOOR, "v1"), Outcome.THERE, ""),
        (DOOR, Found(CHANGED, "v1"), Outcome.THERE, ""),
        (DOOR, Found(None, "v1"), Outcome.THERE, ""),
        (DOOR, Found(NAMESAKE, "v1"), Outcome.THERE, ""),
        (CHANGED, Found(CHANGED, "v1"), Outcome.THERE, ""),
        (CHANGED, Found(DOOR, "v1"), Outcome.CONFLICT, "it was changed here after it had been moved"),
        (CHANGED, Found(None, "v1"), Outcome.CONFLICT, "it was changed here after it had been moved"),
        (DOOR, Found(CHANGED), Outcome.CONFLICT, "it is there in another version"),
        (DOOR, Found(NAMESAKE), Outcome.CONFLICT, f"another channel has the name: {NAMESAKE.arn}"),
    ],
)
def test_a_channel_is_moved_once_and_replaces_nothing(
    brought: Channel, found: Found, outcome: Outcome, reason: str
) -> None:
    verdict = judge_channel(brought, found)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.THERE),
        ({"secret": ""}, Outcome.THERE),  # revoked there
        ({"secret": "another"}, Outcome.CONFLICT),
        ({"account": "1" * 12}, Outcome.CONFLICT),
        ({"statements": ()}, Outcome.CONFLICT),
        ({"created_s": 1.0}, Outcome.CONFLICT),
    ],
)
def test_an_access_key_is_there_when_it_is_the_same(changes: dict[str, object], outcome: Outcome) -> None:
    assert judge_key(KEY, msgspec.structs.replace(KEY, **changes)).outcome is outcome


class Catalog:
    """A target of channels in memory that notes how many it is brought at once."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.batches: list[int] = []

    async def bring(self, channels: Sequence[Channel], *, is_trial: bool) -> tuple[Found, ...]:
        self.batches.append(len(channels))
        found = tuple(Found(self.channels.get(each.arn.name)) for each in channels)
        if not is_trial:
            self.channels |= {each.arn.name: each for each in channels if each.arn.name not in self.channels}
        return found


async def test_channels_come_in_batches_and_are_counted() -> None:
    many = [
        msgspec.structs.replace(DOOR, arn=msgspec.structs.replace(DOOR.arn, name=f"c{number}")) for number in range(450)
    ]
    target = Catalog()
    assert await bring_channels(many, target, is_trial=True) == Tally(moved=450)
    assert target.channels == {}
    assert await bring_channels(many, target, is_trial=False) == Tally(moved=450)
    assert list(target.channels.values()) == many
    many[1] = msgspec.structs.replace(many[1], version="v9")
    conflict = Conflict(str(many[1].arn), "it is there in another version")
    assert await bring_channels(many, target, is_trial=False) == Tally(there=449, conflicts=[conflict])
    assert target.batches[:3] == [200, 200, 50]


async def test_a_move_that_was_broken_off_is_done_again_and_does_the_rest() -> None:
    class Failing(Catalog):
        async def bring(self, channels: Sequence[Channel], *, is_trial: bool) -> tuple[Found, ...]:
            if len(self.batches) == 1:
                self.batches.append(0)
                raise StoreUnavailableError("away")
            return await super().bring(channels, is_trial=is_trial)

    many = [
        msgspec.structs.replace(DOOR, arn=msgspec.structs.replace(DOOR.arn, name=f"c{number}")) for number in range(300)
    ]
    target = Failing()
    with pytest.raises(StoreUnavailableError):
        await bring_channels(many, target, is_trial=False)
    assert await bring_channels(many, target, is_trial=False) == Tally(moved=100, there=200)


@pytest.fixture
def source() -> Iterator[KeyStore]:
    made = SqliteKeyStore(MEMORY)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "redis"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyStore]:
    made: SqliteKeyStore | RedisKeyStore
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        made = RedisKeyStore(Blocking(patient_settings(server.url)), request.getfixturevalue("redis_prefix"))
    else:
        made = SqliteKeyStore(tmp_path / "keys.sqlite")
    yield made
    made.close()


def sealed(key: AccessKey, seal: Seal) -> SealedKey:
    text = seal.close(key.secret, key.id, key.account)
    return SealedKey(key.id, key.account, text, key.statements, key.description, key.created_s)


def named(identity: str) -> AccessKey:
    return msgspec.structs.replace(KEY, id=identity, secret=f"hush-{identity}")


def bring(source: KeyStore, target: KeyStore, *, is_trial: bool = False) -> tuple[Tally, Tally]:
    revocations = bring_revocations(source, target, NOW, is_trial=is_trial)
    return revocations, bring_keys(source, target, SEALS, is_trial=is_trial)


def test_keys_and_revocations_arrive_with_their_times_and_secrets_sealed_anew(
    source: KeyStore, target: KeyStore
) -> None:
    for identity in ("AKIA2", "AKIA1", "AKIA3"):
        source.add(sealed(named(identity), HERE))
    source.revoke("AKIA1", 1700000050.5)
    source.revoke("a token's jti", 1700000051.0)
    source.revoke("ASIA1", 1700000052.0, forget_s=NOW + 1)
    assert bring(source, target, is_trial=True) == (Tally(moved=3), Tally(moved=3))
    assert (target.list(), target.revocations()) == ((), ())
    assert bring(source, target) == (Tally(moved=3), Tally(moved=3))
    assert target.revocations() == source.revocations()
    good, revoked, last = target.list()
    assert [each.id for each in (good, revoked, last)] == ["AKIA2", "AKIA1", "AKIA3"]
    assert THERE.open(good.sealed, "AKIA2", ACCOUNT) == "hush-AKIA2"
    assert (good.statements, good.description, good.created_s) == (KEY.statements, "front", 1700000000.25)
    assert (revoked.sealed, revoked.revoked_s) == ("", 1700000050.5)
    assert [each.id for each in target.read(Cursor()).keys] == ["AKIA2", "AKIA3"]


def test_a_second_time_changes_nothing(source: KeyStore, target: KeyStore) -> None:
    source.add(sealed(KEY, HERE))
    source.add(sealed(named("AKIA2"), HERE))
    source.revoke("AKIA2", 1.0)
    bring(source, target)
    mark = target.mark()
    assert bring(source, target) == (Tally(there=1), Tally(there=2))
    assert target.mark() == mark


def test_what_was_revoked_there_stays_revoked_and_what_was_revoked_here_ends_there(
    source: KeyStore, target: KeyStore
) -> None:
    for identity in ("AKIA1", "AKIA2"):
        source.add(sealed(named(identity), HERE))
    target.revoke("AKIA3", 2.0)
    bring(source, target)
    target.revoke("AKIA1", 2.0)
    source.revoke("AKIA2", 3.0)
    source.add(sealed(named("AKIA3"), HERE))
    assert bring(source, target) == (Tally(moved=1), Tally(moved=1, there=2))
    assert [(each.id, each.sealed, each.revoked_s) for each in target.list()] == [
        ("AKIA1", "", 2.0),
        ("AKIA2", "", 3.0),
        ("AKIA3", "", 2.0),
    ]
    assert source.revocations() == (Revocation("AKIA2", 3.0),)


def test_a_revocation_that_may_be_forgotten_is_not_brought(source: KeyStore, target: KeyStore) -> None:
    source.revoke("ASIA1", 1.0, forget_s=NOW - 1)
    assert bring(source, target) == (Tally(), Tally())
    assert target.revocations() == ()


def test_another_key_of_the_id_and_a_secret_that_does_not_open_are_told_without_it(
    source: KeyStore, target: KeyStore
) -> None:
    source.add(sealed(KEY, HERE))
    source.add(sealed(named("AKIA2"), Seal([b"l" * 32])))
    target.add(sealed(msgspec.structs.replace(KEY, secret="hush-hush"), THERE))
    before = target.list()
    _, keys = bring(source, target)
    assert [each.name for each in keys.conflicts] == ["AKIA1", "AKIA2"]
    assert keys.conflicts[0].reason == "another access key has the id"
    assert "which is not here" in keys.conflicts[1].reason
    assert target.list() == before
    assert "hush" not in str(keys) + str(SEALS)
