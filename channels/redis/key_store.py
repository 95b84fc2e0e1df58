"""Access keys and revocations in Redis, for the command line and for the thread that tells a node what is new.

It blocks, though not for long. A number is never given twice, not even after the server lost its last
writes: it is the server's time in microseconds, or one more than the last where that is higher.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from channels.auth.grant import Statement
from channels.key_store import Changes, Cursor, KeyExistsError, Revocation, SealedKey
from channels.redis.blocking import Blocking
from channels.redis.failures import answered, is_refused
from channels.store import StoreUnavailableError

_NEXT: Final = """
local function take()
  local now = redis.call('TIME')
  local number = math.max(now[1] * 1000000 + now[2], tonumber(redis.call('GET', KEYS[1]) or 0) + 1)
  local text = string.format('%.0f', number)
  redis.call('SET', KEYS[1], text)
  return text
end
"""
# KEYS: last number, keys, secrets, keys by number. ARGV: id, key, sealed secret.
_ADD: Final = (
    _NEXT
    + """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[4], take(), ARGV[1])
return 1
"""
)
# KEYS: last number, secrets, revocations, those by number, those by end. ARGV: id, now, end or ''.
_REVOKE: Final = (
    _NEXT
    + """
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', '(' .. ARGV[2])) do
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZREM', KEYS[5], id)
end
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('ZADD', KEYS[4], take(), ARGV[1])
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[5], ARGV[3], ARGV[1]) end
return 1
"""
)
# KEYS: keys, secrets, keys by number, revocations, those by number. ARGV: last number of a key, of a revocation.
_READ: Final = """
local rows, revoked, last = {}, {}, {ARGV[1], ARGV[2]}
local added = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf', 'WITHSCORES')
for i = 1, #added, 2 do
  rows[#rows + 1] = {added[i], redis.call('HGET', KEYS[1], added[i]), redis.call('HGET', KEYS[2], added[i]),
    redis.call('HGET', KEYS[4], added[i])}
  last[1] = added[i + 1]
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[5], '(' .. ARGV[2], '+inf', 'WITHSCORES')
for i = 1, #gone, 2 do
  revoked[#revoked + 1] = gone[i]
  last[2] = gone[i + 1]
end
return {rows, revoked, last[1], last[2]}
"""
# KEYS: revocations, those by number, those by end.
_REVOCATIONS: Final = """
local found = {}
for i, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  found[i] = {id, redis.call('HGET', KEYS[1], id), redis.call('ZSCORE', KEYS[3], id)}
end
return found
"""
Row = tuple[bytes, bytes, bytes | None, bytes | None]


class _Record(msgspec.Struct, frozen=True):
    """A key as it is stored, in JSON, but for its id and its sealed secret."""

    account: str
    statements: tuple[Statement, ...]
    description: str
    created_s: float


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Record).decode


class RedisKeyStore:
    """Key store behind `server`; every name begins with `prefix`.

    Raises: StoreUnavailableError, from every method and within the time limit of a command.
    """

    def __init__(self, server: Blocking, prefix: str = "heliograph") -> None:
        self._server = server
        self._place = f"{prefix}:{{access-keys}}:"

    def add(self, key: SealedKey) -> None:
        """Add a key. Raises: KeyExistsError."""
        record = _encode(_Record(key.account, key.statements, key.description, key.created_s))
        if not self._run(_ADD, ("last", "keys", "secrets", "keys-by-number"), (key.id, record, key.sealed)):
            raise KeyExistsError(f"there is an access key {key.id} already, perhaps a revoked one: take another id")

    def list(self, account: str | None = None) -> tuple[SealedKey, ...]:
        """All keys, or those of one account, in the order they were added; the revoked ones among them."""
        keys = (_key(row) for row in self._changes(Cursor())[0])
        return tuple(key for key in keys if account in (None, key.account))

    def revoke(self, credential_id: str, now_wall: float, forget_s: float | None = None) -> bool:
        """Note that a credential is no longer good, and erase its secret when it is a key; False when it was noted.

        Past `forget_s` (epoch seconds) it may be forgotten; None keeps it for ever.
        """
        names = ("last", "secrets", "revocations", "revocations-by-number", "forget")
        arguments = (credential_id, repr(now_wall), "" if forget_s is None else repr(forget_s))
        return bool(self._run(_REVOKE, names, arguments))

    def revocations(self) -> tuple[Revocation, ...]:
        """All that was revoked and is not forgotten, in that order."""
        names = ("revocations", "revocations-by-number", "forget")
        found = ((identity.decode(), *times) for identity, *times in self._run(_REVOCATIONS, names, ()))
        return tuple(
            Revocation(identity, float(revoked_s), None if forget_s is None else float(forget_s))
            for identity, revoked_s, forget_s in found
        )

    def mark(self) -> object:
        """A value that is another one after every write, by whomever; cheap."""
        with answered(_failure):
            return self._server.run(lambda commands: commands.command("GET", f"{self._place}last"))

    def read(self, cursor: Cursor) -> Changes:
        """What came after `cursor`."""
        rows, revoked, last_key, last_revocation = self._changes(cursor)
        keys = tuple(_key(row) for row in rows if row[3] is None)
        return Changes(keys, tuple(each.decode() for each in revoked), Cursor(int(last_key), int(last_revocation)))

    def close(self) -> None:
        """Close the connections; may be called again."""
        self._server.close()

    def _changes(self, cursor: Cursor) -> tuple[Sequence[Row], Sequence[bytes], bytes, bytes]:
        names = ("keys", "secrets", "keys-by-number", "revocations", "revocations-by-number")
        found: tuple[Sequence[Row], Sequence[bytes], bytes, bytes] = self._run(
            _READ, names, (cursor.keys, cursor.revocations)
        )
        return found

    def _run(self, script: str, names: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        keys = [self._place + name for name in names]
        with answered(_failure):
            return self._server.run(lambda commands: commands.script(script)(keys, arguments))


def _failure(error: Exception) -> StoreUnavailableError:
    verb = "cannot be used" if is_refused(error) else "does not answer"
    return StoreUnavailableError(f"the key store in Redis {verb}: {error}")


def _key(row: Row) -> SealedKey:
    """One whose record somebody spoiled is given without a secret, as no key to sign with: the others are good."""
    identity, record, sealed, revoked = row
    revoked_s = None if revoked is None else float(revoked)
    try:
        found = _decode(record)
    except msgspec.DecodeError:
        return SealedKey(identity.decode(), "", "", (), "", 0.0, revoked_s)
    secret = "" if sealed is None else sealed.decode()
    return SealedKey(
        identity.decode(), found.account, secret, found.statements, found.description, found.created_s, revoked_s
    )
