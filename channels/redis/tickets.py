"""One-shot tickets that every node redeems: each is a key that ends by itself and is taken by GETDEL.

Only the digest of its text is in Redis. Of one subject as many may be out as in one process.
"""

import contextlib
import hashlib
import secrets
from typing import Final

import msgspec

from channels.auth.ticket import (
    LIFETIME_S,
    RANDOM_BYTES,
    SUBJECT_LIMIT,
    TEXT_LIMIT,
    Ticket,
    TicketStats,
    digest_of,
    owner_of,
    too_many,
    unknown,
)
from channels.errors import ServiceUnavailableException
from channels.redis.commands import Commands
from channels.redis.failures import answered

# KEYS: those of one subject, by end. ARGV: digest, how long, how many. Answers 0, or the milliseconds to wait.
_COUNT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Ticket).decode


class RedisTickets:
    """The tickets that are out, behind `commands`; every name in Redis begins with `prefix`."""

    def __init__(
        self,
        commands: Commands,
        prefix: str = "heliograph",
        lifetime_s: float = LIFETIME_S,
        subject_limit: int = SUBJECT_LIMIT,
    ) -> None:
        self.lifetime_s = lifetime_s
        self.stats = TicketStats()
        self._commands = commands
        self._prefix = prefix
        self._subject_limit = subject_limit
        self._count = commands.script(_COUNT)

    async def issue(self, ticket: Ticket) -> str:
        """Return 43 characters that `redeem` takes once.

        Raises: ClientLimitExceededException (too many are out), ServiceUnavailableException.
        """
        text = secrets.token_urlsafe(RANDOM_BYTES)
        digest, life_ms = digest_of(text).hex(), round(self.lifetime_s * 1000)
        with answered(_failure):
            wait_ms = await self._count((self._of(ticket),), (digest, life_ms, self._subject_limit))
            if wait_ms:
                self.stats.refused += 1
                raise too_many("tickets_per_subject", self._subject_limit, wait_ms / 1000)
            await self._commands.command("SET", self._key(digest), _encode(ticket), "PX", life_ms)
        self.stats.issued += 1
        return text

    async def redeem(self, text: str) -> Ticket:
        """Take the ticket, whatever comes of the connect.

        Raises: UnrecognizedClientException (there is none), ServiceUnavailableException.
        """
        digest = digest_of(text[: TEXT_LIMIT + 1]).hex()
        with answered(_failure):
            found = await self._commands.command("GETDEL", self._key(digest))
        try:
            ticket = None if found is None else _decode(found)
        except msgspec.DecodeError:
            ticket = None  # a node of another version made it
        if ticket is None:
            self.stats.unknown += 1
            raise unknown()
        with contextlib.suppress(ServiceUnavailableException), answered(_failure):
            await self._commands.command("ZREM", self._of(ticket), digest)
        self.stats.redeemed += 1
        return ticket

    def _key(self, digest: str) -> str:
        return f"{self._prefix}:ticket:{digest}"

    def _of(self, ticket: Ticket) -> str:
        subject = hashlib.sha256("\n".join(owner_of(ticket)).encode()).hexdigest()
        return f"{self._prefix}:tickets-of:{subject}"


def _failure(_: Exception) -> ServiceUnavailableException:
    return ServiceUnavailableException("the place where tickets are kept does not answer: try again")
