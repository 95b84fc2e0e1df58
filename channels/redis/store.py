"""Catalog of channels in Redis: one hash of records and one index of names per account and region.

A record is found by name and the names of an account are counted, so the keys of a region's account lie together
(`{catalog:ACCOUNT:REGION}`), not with each channel's connections. Every write is one script: it happens whole or not.
Which channels were brought from the catalog of a service that was alone is remembered with the version that they had:
one that is deleted here later does not come back when somebody brings the same again.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from channels.channel import Channel, ChannelStatus, ChannelType
from channels.errors import (
    AccountChannelLimitExceededException,
    InvalidArgumentException,
    Limit,
    ResourceInUseException,
    ResourceNotFoundException,
    VersionMismatchException,
)
from channels.moving import Found
from channels.names import ChannelArn
from channels.redis.commands import Call, Commands, Script
from channels.redis.failures import answered, is_refused
from channels.store import Page, StoreUnavailableError

# KEYS: records, names. ARGV: name, record, limit.
_CREATE: Final = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return -2 end
local count = redis.call('HLEN', KEYS[1])
if count >= tonumber(ARGV[3]) then return count end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return -1
"""
_DONE: Final = -1
_TAKEN: Final = -2
# The head of replace and delete. KEYS: records, names. ARGV: name, ARN, version expected or ''.
_FIND: Final = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local record = old and cjson.decode(old)
if not record or record.arn ~= ARGV[2] then return 'missing' end
if ARGV[3] ~= '' and record.version ~= ARGV[3] then return 'changed' end
"""
# ARGV: the new record, too.
_REPLACE: Final = f"""{_FIND}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
return 'done'
"""
_DELETE: Final = f"""{_FIND}
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'done'
"""
# KEYS: records, names. ARGV: from, to, how many.
_LIST: Final = """
local found = {}
for i, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
  found[i] = redis.call('HGET', KEYS[1], name)
end
return found
"""
# KEYS: records, names, those that were brought. ARGV: name, record, `name/creation time`, version, '1' to bring it.
_BRING: Final = """
local record, version = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[3], ARGV[3])
if ARGV[5] == '1' and not record and not version then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
end
return {record, version}
"""
_AFTER_EVERY_NAME: Final = "\x7f"  # names are ASCII
_CHECK_S: Final = 60
_RECORDS: Final = "channels"


class _Record(msgspec.Struct, frozen=True):
    """A channel as it is stored, in JSON: the scripts read `arn` and `version`, people the rest."""

    arn: str
    version: str
    message_ttl_s: int
    type: ChannelType
    status: ChannelStatus
    tags: dict[str, str]


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(_Record).decode


class RedisStore:
    """Catalog of channels behind `commands`; every name in Redis begins with `prefix`.

    An acknowledged write survives `kill -9` of the server where that keeps an append-only file.
    Raises: StoreUnavailableError, from every method and within the time limit of the commands.
    """

    def __init__(self, commands: Commands, prefix: str = "heliograph") -> None:
        self._commands = commands
        self._prefix = prefix
        self._create = commands.script(_CREATE)
        self._replace = commands.script(_REPLACE)
        self._delete = commands.script(_DELETE)
        self._list = commands.script(_LIST)
        self._bring = commands.script(_BRING)

    async def create(self, channel: Channel, account_limit: int) -> None:
        """Add a channel. Raises: ResourceInUseException (name taken), AccountChannelLimitExceededException."""
        arn = channel.arn
        with answered(_failure):
            answer = await self._create(
                self._keys(arn.account, arn.region), (arn.name, _record(channel), account_limit)
            )
        if answer == _TAKEN:
            raise ResourceInUseException(f"a channel named {arn.name} exists already")
        if answer != _DONE:
            raise AccountChannelLimitExceededException(
                f"the account holds {answer} channels in {arn.region}, as many as it may: delete one",
                Limit("channels_per_account", account_limit),
            )

    async def get(self, arn: ChannelArn) -> Channel | None:
        """The channel of exactly this incarnation."""
        channel = await self.get_by_name(arn.account, arn.region, arn.name)
        return channel if channel is not None and channel.arn == arn else None

    async def get_by_name(self, account: str, region: str, name: str) -> Channel | None:
        """The living channel of this name."""
        records, _ = self._keys(account, region)
        with answered(_failure):
            found = await self._commands.command("HGET", records, name)
        return None if found is None else _channel(found)

    async def list(self, account: str, region: str, prefix: str, after: str, limit: int) -> Page:
        """Up to `limit` channels in name order whose name begins with `prefix` and sorts after `after`."""
        first = f"({after}" if after and after >= prefix else f"[{prefix}" if prefix else "-"
        last = f"({prefix}{_AFTER_EVERY_NAME}"
        with answered(_failure):
            records = await self._list(self._keys(account, region), (first, last, limit + 1))
        found = tuple(_channel(record) for record in records)
        return Page(found[:limit], found[limit - 1].arn.name if len(found) > limit else None)

    async def replace(self, channel: Channel, expected_version: str) -> None:
        """Put a new state in the place of the version expected.

        Raises: ResourceNotFoundException, VersionMismatchException.
        """
        await self._change(self._replace, channel.arn, expected_version, _record(channel))

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        """Remove the channel. Raises: ResourceNotFoundException, VersionMismatchException."""
        await self._change(self._delete, arn, expected_version or "")

    async def bring(self, channels: Sequence[Channel], *, is_trial: bool) -> tuple[Found, ...]:
        """Put in each channel as it is, unless it was brought before or its name is taken; return what was found.

        There is no limit for an account. A trial only looks.
        """
        with answered(_failure):
            answers = await self._bring.many([self._brought(channel, is_trial) for channel in channels])
        return tuple(
            Found(None if record is None else _channel(record), None if version is None else version.decode())
            for record, version in answers
        )

    async def check(self) -> None:
        """Prove that the catalog can be written: no replica, memory and disk in order."""
        with answered(_failure):
            await self._commands.command("SET", f"{self._prefix}:catalog-check", 1, "EX", _CHECK_S)

    async def _change(self, script: Script, arn: ChannelArn, expected_version: str, *more: bytes) -> None:
        with answered(_failure):
            answer = await script(self._keys(arn.account, arn.region), (arn.name, str(arn), expected_version, *more))
        if answer == b"missing":
            raise ResourceNotFoundException(f"there is no channel {arn}")
        if answer == b"changed":
            raise VersionMismatchException("the channel has changed since: describe it again")

    def _brought(self, channel: Channel, is_trial: bool) -> Call:
        arn = channel.arn
        records, names = self._keys(arn.account, arn.region)
        incarnation = f"{arn.name}/{arn.created_ms}"
        return (
            (records, names, records.removesuffix(_RECORDS) + "brought"),
            (arn.name, _record(channel), incarnation, channel.version, int(not is_trial)),
        )

    def _keys(self, account: str, region: str) -> tuple[str, str]:
        place = f"{self._prefix}:{{catalog:{account}:{region}}}"
        return f"{place}:{_RECORDS}", f"{place}:names"


def _failure(error: Exception) -> StoreUnavailableError:
    verb = "cannot be used" if is_refused(error) else "does not answer"
    return StoreUnavailableError(f"the catalog in Redis {verb}: {error}")


def _record(channel: Channel) -> bytes:
    return _encode(
        _Record(str(channel.arn), channel.version, channel.message_ttl_s, channel.type, channel.status, channel.tags)
    )


def _channel(record: bytes) -> Channel:
    try:
        found = _decode(record)
        arn = ChannelArn.parse(found.arn)
    except (msgspec.DecodeError, InvalidArgumentException) as error:  # somebody spoiled it
        raise StoreUnavailableError(f"the catalog in Redis cannot be used: {error}") from error
    return Channel(arn, found.version, found.message_ttl_s, found.type, found.status, found.tags)
